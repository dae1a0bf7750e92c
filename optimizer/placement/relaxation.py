"""What an integer program's linear relaxation proves: GLOP's duals, and a bound that they give."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from ortools.glop import parameters_pb2
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt
from ortools.util.python.solve_interrupter import SolveInterrupter

from optimizer.placement.program import Program
from optimizer.search import Search
from optimizer.work_budget import Floats, Ints

_NO_ANSWER: Final = frozenset(
    # All columns have two ends: nothing is unbounded.
    {
        mathopt.TerminationReason.INFEASIBLE,
        mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED,
    }
)


@dataclass(frozen=True, slots=True)
class Relaxed:
    """What a program's duals prove, and the values that the relaxation ended with."""

    bound: float
    reduced: Floats
    values: Floats


def relaxation(program: Program, search: Search) -> Relaxed | None:
    """Return what the linear relaxation proves; None if even that has no answer.

    Raises `SearchCancelledError` when cancelled meanwhile.
    """
    model = mathopt.Model.from_model_proto(_model_proto(program))
    interrupter = SolveInterrupter()
    with search.cancellation.stopping(interrupter.interrupt):
        search.tell(0.1, f"relaxation of {len(program.upper)} columns")
        result = mathopt.solve(
            model,
            mathopt.SolverType.GLOP,
            params=mathopt.SolveParameters(
                glop=parameters_pb2.GlopParameters(max_deterministic_time=search.time_limit_s)
            ),
            interrupter=interrupter,
        )
    if result.termination.reason in _NO_ANSWER:
        return None
    duals, values = np.zeros(len(program.rows)), np.zeros(len(program.upper))
    if result.has_dual_feasible_solution():
        for row, dual in result.dual_values().items():
            duals[row.id] = dual
    if result.has_primal_feasible_solution():
        for variable, value in result.variable_values().items():
            values[variable.id] = value
    return _proven(program, duals, values)


def _proven(program: Program, duals: Floats, values: Floats) -> Relaxed:
    """Return the Lagrangian bound of duals, which holds whatever they are."""
    low = np.array([-math.inf if bound is None else bound for bound in program.lowest])
    high = np.array([math.inf if bound is None else bound for bound in program.highest])
    ends = np.where(duals > 0, low, high)
    duals = np.where(np.isfinite(ends), duals, 0.0)
    rows, columns, factors = _entries(program)
    reduced: Floats = np.array(program.cost, dtype=np.float64)
    reduced -= np.bincount(columns, weights=factors * duals[rows], minlength=len(program.upper))
    bound = float(np.sum(duals * np.where(np.isfinite(ends), ends, 0.0)))
    bound += float(np.sum(np.minimum(0.0, reduced * np.array(program.upper))))
    return Relaxed(bound, reduced, values)


def _entries(program: Program) -> tuple[Ints, Ints, Floats]:
    """Return row, column and factor of everything in the rows, by row and column."""
    rows = np.repeat(np.arange(len(program.rows)), [len(row[0]) for row in program.rows])
    columns = np.array([column for row in program.rows for column in row[0]], dtype=np.int64)
    factors = np.array([factor for row in program.rows for factor in row[1]], dtype=float)
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], factors[order]


def _model_proto(program: Program) -> model_pb2.ModelProto:
    proto = model_pb2.ModelProto()
    count = len(program.upper)
    proto.variables.ids.extend(range(count))
    proto.variables.lower_bounds.extend([0.0] * count)
    proto.variables.upper_bounds.extend(map(float, program.upper))
    proto.variables.integers.extend([False] * count)
    priced = [column for column, cost in enumerate(program.cost) if cost]
    proto.objective.linear_coefficients.ids.extend(priced)
    proto.objective.linear_coefficients.values.extend(
        float(program.cost[bound]) for bound in priced
    )
    proto.linear_constraints.ids.extend(range(len(program.rows)))
    proto.linear_constraints.lower_bounds.extend(
        -math.inf if bound is None else float(bound) for bound in program.lowest
    )
    proto.linear_constraints.upper_bounds.extend(
        math.inf if bound is None else float(bound) for bound in program.highest
    )
    rows, columns, factors = _entries(program)
    proto.linear_constraint_matrix.row_ids.extend(rows.tolist())
    proto.linear_constraint_matrix.column_ids.extend(columns.tolist())
    proto.linear_constraint_matrix.coefficients.extend(factors.tolist())
    return proto
