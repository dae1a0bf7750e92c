"""Routes chosen from many: each visit on one route at most, each vehicle on one (CP-SAT).

Chosen from all feasible routes the answer is the optimum, and proven: possible where few visits
meet narrow windows. Chosen from what the searches have met it is the best mixture of those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ortools.sat.python import cp_model

from optimizer.routes.problem import TOLERANCE_S, RouteProblem, feasible

Candidate = tuple[int, tuple[int, ...]]
"""Kind of vehicle, visits in order."""
Routes = tuple[tuple[int, ...], ...]
"""Visits in order, by vehicle."""

MOST_SEQUENCES: Final = 20_000
"""Beyond so many feasible sequences not all of them are gone through."""

_UNITS_PER_DKK: Final = 10_000
_LARGEST_DKK: Final = 1e12
"""CP-SAT counts in whole numbers of 63 bits."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How long CP-SAT may choose: its deterministic time, and where there is a guard the wall's."""

    seed: int
    deterministic_s: float
    wall_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cover:
    """Routes by vehicle, and a bound of the cost of any choice from the same routes."""

    routes: Routes
    proven: bool
    bound_dkk: float
    cut_short: bool
    """The wall ended it before its deterministic time did."""


def unserved_dkk(problem: RouteProblem, routes: Routes) -> float:
    """Return the price of the visits that are on none of the routes."""
    served = {visit for visits in routes for visit in visits}
    return sum(price for visit, price in enumerate(problem.unserved_dkk) if visit not in served)


def total_dkk(problem: RouteProblem, routes: Routes) -> float:
    """Return what routes cost, unserved visits included: the objective."""
    driven = sum(problem.cost_dkk(vehicle, visits) for vehicle, visits in enumerate(routes))
    return driven + unserved_dkk(problem, routes)


def all_routes(problem: RouteProblem, most: int = MOST_SEQUENCES) -> list[Candidate] | None:
    """Return every feasible route, of each set of visits the cheapest; None where too many.

    Ways that break the rule that a detour is never shorter are respected: a sequence is only given
    up where it is late or too heavy, which further visits cannot mend.
    """
    cheapest: dict[tuple[int, frozenset[int]], tuple[float, tuple[int, ...]]] = {}
    kinds = sorted(set(problem.kind))
    begun = (
        (kind, visits) for kind in kinds for visits in _sequences(problem, problem.kind.index(kind))
    )
    sequences = list(islice(begun, most + 1))
    if len(sequences) > most:
        return None
    for kind, visits in sequences:
        vehicle = problem.kind.index(kind)
        if feasible(problem, vehicle, visits):
            key = kind, frozenset(visits)
            cost_dkk = problem.cost_dkk(vehicle, visits)
            if key not in cheapest or cost_dkk < cheapest[key][0]:
                cheapest[key] = cost_dkk, visits
    return [(kind, visits) for (kind, _), (_, visits) in cheapest.items()]


def _sequences(problem: RouteProblem, vehicle: int) -> Iterator[tuple[int, ...]]:
    """Yield what a vehicle can begin with, in the order of a depth-first search."""
    way_s = problem.duration_s[problem.profile[vehicle]].tolist()
    mine = [index for index in range(problem.visits) if problem.allowed[index, vehicle]]
    stack: list[tuple[tuple[int, ...], float, float]] = [
        ((), problem.shift_from_s[vehicle], problem.capacity[vehicle])
    ]
    while stack:
        visits, now_s, free = stack.pop()
        at = visits[-1] if visits else problem.start[vehicle]
        for visit in mine:
            begins_s = max(now_s + way_s[at][visit], problem.earliest_s[visit])
            if (
                visit not in visits
                and problem.demand[visit] <= free
                and begins_s
                <= min(problem.latest_s[visit], problem.shift_to_s[vehicle]) + TOLERANCE_S
            ):
                extended = (*visits, visit)
                yield extended
                stack.append(
                    (extended, begins_s + problem.service_s[visit], free - problem.demand[visit])
                )


def choose(
    problem: RouteProblem,
    candidates: Iterable[Candidate],
    incumbent: Routes,
    limit: Limit,
) -> Cover:
    """Return the cheapest choice found among candidates and known routes, at least as good.

    The bound holds for these candidates only.
    Raises `ValueError` where costs are beyond what the solver can count.
    """
    known_dkk = total_dkk(problem, incumbent)
    if not known_dkk < _LARGEST_DKK / _UNITS_PER_DKK:
        raise ValueError(
            f"routes cost {known_dkk:.3g} DKK; the limit is {_LARGEST_DKK / _UNITS_PER_DKK:.3g} "
            "DKK; give prices in the right unit"
        )
    options = _cheapest(problem, candidates, incumbent)
    model = cp_model.CpModel()
    chosen = {key: model.new_bool_var(f"route {number}") for number, key in enumerate(options)}
    absent = [model.new_bool_var(f"visit {visit} absent") for visit in range(problem.visits)]
    at: list[list[Any]] = [[visit] for visit in absent]
    of_kind: dict[int, list[Any]] = {kind: [] for kind in set(problem.kind)}
    for (kind, members), variable in chosen.items():
        of_kind[kind].append(variable)
        for visit in sorted(members):
            at[visit].append(variable)
    for variables in at:
        model.add_exactly_one(variables)
    for kind, count in Counter(problem.kind).items():
        model.add(sum(of_kind[kind]) <= count)
    model.minimize(
        sum(_units(cost_dkk) * chosen[key] for key, (cost_dkk, _) in options.items())
        + sum(_units(problem.unserved_dkk[visit]) * absence for visit, absence in enumerate(absent))
    )
    _hint(model, problem, incumbent, chosen, absent)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = limit.seed % 2**31
    solver.parameters.max_deterministic_time = limit.deterministic_s
    if limit.wall_s is not None:
        solver.parameters.max_time_in_seconds = limit.wall_s
    solver.parameters.linearization_level = 2
    status = solver.solve(model)
    cut_short = limit.wall_s is not None and solver.wall_time >= limit.wall_s
    if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        return Cover(incumbent, proven=False, bound_dkk=0.0, cut_short=cut_short)
    picked = [(key[0], options[key][1]) for key, visit in chosen.items() if solver.value(visit)]
    routes = _given_out(problem, picked)
    bound_dkk = (solver.best_objective_bound - _rounding(problem)) / _UNITS_PER_DKK
    if total_dkk(problem, routes) > known_dkk:
        routes = incumbent
    proven = status == cp_model.OPTIMAL
    return Cover(
        routes, proven=proven, bound_dkk=max(0.0, bound_dkk), cut_short=cut_short and not proven
    )


def _hint(
    model: cp_model.CpModel,
    problem: RouteProblem,
    routes: Routes,
    chosen: Mapping[tuple[int, frozenset[int]], Any],
    absent: Sequence[Any],
) -> None:
    """Let the solver start from known routes."""
    served = {visit for visits in routes for visit in visits}
    for visit, number in enumerate(absent):
        model.add_hint(number, visit not in served)
    hinted = {(problem.kind[vehicle], frozenset(visits)) for vehicle, visits in enumerate(routes)}
    for key, variable in chosen.items():
        model.add_hint(variable, key in hinted)


def _cheapest(
    problem: RouteProblem, candidates: Iterable[Candidate], routes: Routes
) -> Mapping[tuple[int, frozenset[int]], tuple[float, tuple[int, ...]]]:
    """Return of each kind and set of visits the cheapest order."""
    cheapest: dict[tuple[int, frozenset[int]], tuple[float, tuple[int, ...]]] = {}
    driven = [(problem.kind[vehicle], visits) for vehicle, visits in enumerate(routes) if visits]
    for kind, visits in (*candidates, *driven):
        key = kind, frozenset(visits)
        cost_dkk = problem.cost_dkk(problem.kind.index(kind), visits)
        if key not in cheapest or (cost_dkk, visits) < cheapest[key]:
            cheapest[key] = cost_dkk, visits
    return cheapest


def _given_out(problem: RouteProblem, picked: Iterable[Candidate]) -> Routes:
    """Give each picked route to the first free vehicle of its kind."""
    routes: list[tuple[int, ...]] = [()] * problem.vehicles
    free = list(range(problem.vehicles))
    for kind, visits in sorted(picked):
        vehicle = next(visit for visit in free if problem.kind[visit] == kind)
        free.remove(vehicle)
        routes[vehicle] = visits
    return tuple(routes)


def _units(dkk: float) -> int:
    return round(dkk * _UNITS_PER_DKK)


def _rounding(problem: RouteProblem) -> float:
    """Return how far a sum of rounded costs may be off: half a unit a route and absent visit."""
    return 0.5 * (problem.vehicles + problem.visits) + 1
