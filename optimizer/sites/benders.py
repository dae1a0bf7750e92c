"""Benders' decomposition of choosing sites: the solver chooses sites, cuts say what serving costs.

The master has a share of each site and an estimate of what each group of clients costs. For given
shares the cheapest way to serve a client is known without a solver, and its dual is a cut: a client
whose nearest sites have shares of 1 together up to the cost `D` costs at least `D` less what each
nearer site would save of it (Magnanti and Wong 1981; Duran-Mateluna, Ales and Elloumi 2023). Cuts
are added to the linear relaxation until none is violated, sites are fixed by their reduced costs,
and what is left is a small MIP. GLOP and SCIP of the OR-Tools wheel, one thread each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from ortools.math_opt.python import mathopt

from optimizer.work_budget import Floats, Ints, WorkBudget

_MOST_GROUPS: Final = 1_000
"""Clients beyond so many share estimates: those with the same nearest sites (tried from 60 to all
20,000 of a municipality's)."""
_DEEPEST: Final = 4
_SHARE_TOLERANCE: Final = 1e-9
_CUT_TOLERANCE: Final = 1e-8
_PASSES: Final = 6
_CELLS_PER_PIVOT: Final = 20
_NODE_S: Final = 0.05
"""Deterministic seconds of a node of SCIP's for 1,000 cuts (measured: 0.03 to 0.1)."""
_OPEN: Final = 0.5


@dataclass(frozen=True, slots=True)
class RelaxedLocation:
    """What the solver says: a lower bound, the shares of the sites and what using one more costs.

    `is_tight` says that no cut is violated: the bound is that of the whole problem.
    """

    bound: float
    shares: Floats
    reduced: Floats
    is_tight: bool


class Master:
    """The master problem, which learns of violated cuts whenever it is solved.

    `costs` is clients x sites; `count` sites, or as many as pay.
    """

    def __init__(
        self, costs: Floats, opening: Floats, count: int | None, seed: int, effort: WorkBudget
    ) -> None:
        order = costs.argsort(axis=1, kind="stable")
        group = _groups(order)
        rank = group.argsort(kind="stable")
        self._costs, self._order = costs[rank], order[rank]
        self._sorted = np.take_along_axis(self._costs, self._order, axis=1)
        self._starts = np.flatnonzero(np.diff(group[rank], prepend=-1))
        self._seed, self._effort, self._cuts = seed, effort, 0
        sites = costs.shape[1]
        self._model = mathopt.Model()
        self._open = [self._model.add_variable(lb=0.0, ub=1.0) for _ in range(sites)]
        least = np.add.reduceat(self._sorted[:, 0], self._starts)
        self._served = [self._model.add_variable(lb=value) for value in least.tolist()]
        for site, price in zip(self._open, opening.tolist(), strict=True):
            self._model.objective.set_linear_coefficient(site, price)
        for served in self._served:
            self._model.objective.set_linear_coefficient(served, 1.0)
        number = self._model.add_linear_constraint(lb=count or 1, ub=count or sites)
        for site in self._open:
            number.set_coefficient(site, 1.0)
        self._cut(np.full(sites, (count or 1) / sites))
        self._relaxation = mathopt.IncrementalSolver(self._model, mathopt.SolverType.GLOP)

    def relaxed(self) -> RelaxedLocation | None:
        """Return the optimum of the linear relaxation so far; None where fixing left nothing.

        Raises `RuntimeError` when the solver gives up.
        """
        result = self._relaxation.solve()
        if result.termination.reason is mathopt.TerminationReason.INFEASIBLE:
            return None
        if result.termination.reason is not mathopt.TerminationReason.OPTIMAL:
            raise RuntimeError(f"GLOP ended as {result.termination.reason.name} on the relaxation")
        pivots = result.solve_stats.simplex_iterations
        self._effort.spend(_CELLS_PER_PIVOT * pivots * (self._cuts + len(self._open)))
        shares = np.array(result.variable_values(self._open))
        is_tight = not self._cut(shares, np.array(result.variable_values(self._served)))
        reduced = np.array(result.reduced_costs(self._open))
        return RelaxedLocation(result.objective_value(), shares, reduced, is_tight)

    def fix(self, opened: Ints, closed: Ints) -> None:
        """Fix sites that are in, or out, of all that is still looked for."""
        for site in opened.tolist():
            self._open[site].lower_bound = 1.0
        for site in closed.tolist():
            self._open[site].upper_bound = 0.0

    def whole(self) -> tuple[float, list[Ints], bool] | None:
        """Return a bound for whole sites, what SCIP met, and whether the bound is the optimum.

        As many nodes as the effort has left for, one at least. None where fixing left nothing.
        """
        node_s = _NODE_S * max(1.0, self._cuts / 1000)
        left_s = self._effort.limit_s - self._effort.spent_s
        for site in self._open:
            site.integer = True
        result = mathopt.solve(
            self._model,
            mathopt.SolverType.GSCIP,
            params=mathopt.SolveParameters(
                threads=1,
                random_seed=self._seed % 2**31,
                node_limit=max(1, int(left_s / node_s)),
                relative_gap_tolerance=0.0,
                absolute_gap_tolerance=0.0,
            ),
        )
        reason = result.termination.reason
        if reason is mathopt.TerminationReason.INFEASIBLE:
            return None
        self._effort.spent_s += node_s * max(1, result.solve_stats.node_count)
        is_tight = reason is mathopt.TerminationReason.OPTIMAL
        met: list[Ints] = []
        for solution in result.solutions:
            values = solution.primal_solution.variable_values
            shares = np.rint([values[value] for value in self._open])
            violated = self._cut(shares, np.array([values[value] for value in self._served]))
            is_tight = is_tight and not (violated and not met)
            met.append(np.flatnonzero(shares > _OPEN))
        return result.termination.objective_bounds.dual_bound, met, is_tight

    def _cut(self, shares: Floats, served: Floats | None = None) -> int:
        """Add the cuts that shares and estimates violate, all without estimates; return how many.

        A client is served by its nearest sites until their shares are 1 together.
        """
        self._effort.spend(_PASSES * self._costs.size)
        before = (np.cumsum(shares[self._order], axis=1) < 1 - _SHARE_TOLERANCE).sum(axis=1)
        last = np.minimum(before, self._costs.shape[1] - 1)
        farthest = self._sorted[np.arange(len(last)), last]
        saved = np.maximum(farthest[:, None] - self._costs, 0)
        saves = np.add.reduceat(saved, self._starts, axis=0)
        costs = np.add.reduceat(farthest, self._starts)
        cost = costs - saves @ shares
        violated = np.arange(len(cost))
        if served is not None:
            violated = np.flatnonzero(cost - served > _CUT_TOLERANCE * np.maximum(1, cost))
        for group in violated.tolist():
            cut = self._model.add_linear_constraint(lb=float(costs[group]))
            cut.set_coefficient(self._served[group], 1.0)
            for site in np.flatnonzero(saves[group]).tolist():
                cut.set_coefficient(self._open[site], float(saves[group, site]))
        self._cuts += len(violated)
        return len(violated)


def _groups(order: Ints) -> Ints:
    """Return the group of each client: its own, or that of those with the same nearest sites."""
    if len(order) <= _MOST_GROUPS:
        return np.arange(len(order))
    for depth in range(_DEEPEST, 0, -1):
        _, group = np.unique(order[:, :depth], axis=0, return_inverse=True)
        if group.max() < _MOST_GROUPS:
            break
    return np.asarray(group.reshape(-1), dtype=np.int64)
