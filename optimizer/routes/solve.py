"""Routes: which vehicle makes which visits in what order, at the least cost.

Few visits with narrow windows: every feasible route is listed, and the best choice is proven by
CP-SAT. Else PyVRP searches (`optimizer.routes.search`), from one seed or several, and CP-SAT
chooses the best mixture of the routes that it has met. A visit that cannot be made is left out at
its price and the plan says why. A lower bound is proven for every plan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from optimizer.routes.bound import BY_ASSIGNMENT, assignment_bound_dkk
from optimizer.routes.explanation import routes_explanation, unserved_reason
from optimizer.routes.problem import (
    RouteProblem,
    feasible,
    route_problem_of,
    routes_hash,
    times_of,
    ways_of,
)
from optimizer.routes.search import Clock, Guard, RouteTask, searched
from optimizer.routes.set_partitioning import Limit, Routes, all_routes, choose, total_dkk
from optimizer.travel import Geodesic
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.plan import SolverStatus
from schemas.plans.routes import (
    RouteInputs,
    RouteProgress,
    RouteSearch,
    RoutesPlan,
    RouteStop,
    UnservedVisit,
    VehicleRoute,
)
from schemas.plans.travel import Travel, TravelMatrix

BY_ENUMERATION: Final = "all feasible routes were listed, and CP-SAT chose among them"

_CHOOSING_SHARE: Final = 0.08
"""Of the time limit, for choosing among the routes that the searches have met."""
_PROVEN_DKK: Final = 0.005
"""Half an øre: so near the bound a plan is optimal."""

RoutesCallback = Callable[[RouteProgress], None]


def plan_routes(
    inputs: RouteInputs,
    search: RouteSearch,
    travel: Travel | None = None,
    *,
    clock: Clock | None = None,
    progress: RoutesCallback | None = None,
) -> RoutesPlan:
    """Plan: the best routes found within the limit, with what is proven about them.

    Ways are geodesic unless `travel` knows better. `progress` is called some hundred times with
    the state of the first chain. `clock` is needed for `search.wall_limit_s`, and counts seconds.
    Raises `schemas.plans.travel.TravelError` where ways cannot be had, and `ValueError` for a guard
    without a clock.
    """
    guard = None
    if search.wall_limit_s is not None:
        if clock is None:
            raise ValueError(
                f"wall_limit_s is {search.wall_limit_s} and there is no clock; pass time.monotonic"
            )
        guard = Guard(clock, clock(), search.wall_limit_s)
    ways = ways_of(inputs, travel if travel is not None else Geodesic())
    problem = route_problem_of(inputs, ways)
    solution = _solve(problem, search, guard, progress)
    return _described(inputs, ways, problem, search, solution)


class _Solution:
    """Routes by vehicle and what is known about them."""

    def __init__(self, routes: Routes, *, iterations: int, cut_short: bool) -> None:
        self.routes = routes
        self.iterations = iterations
        self.cut_short = cut_short
        self.bound_dkk = 0.0
        self.bound_by = BY_ASSIGNMENT


def _solve(
    problem: RouteProblem,
    search: RouteSearch,
    guard: Guard | None,
    progress: RoutesCallback | None,
) -> _Solution:
    nothing: Routes = ((),) * problem.vehicles
    everything = all_routes(problem)
    if everything is not None:
        wall_s = None if guard is None else guard.left_s() / 2
        limit = Limit(search.seed, search.time_limit_s, wall_s)
        cover = choose(problem, everything, nothing, limit)
        if cover.proven:
            solution = _Solution(cover.routes, iterations=0, cut_short=False)
            solution.bound_dkk, solution.bound_by = cover.bound_dkk, BY_ENUMERATION
            return solution

    def tell(share: float, iterations: int, best_dkk: float, unserved: int) -> None:
        if progress is not None:
            progress(
                RouteProgress(
                    share=min(1.0, share),
                    iterations=iterations,
                    best_dkk=best_dkk,
                    unserved=unserved,
                )
            )

    choosing_s = _CHOOSING_SHARE * search.time_limit_s
    before = None
    if guard is not None:
        before = replace(guard, limit_s=guard.limit_s * (1 - _CHOOSING_SHARE))
    task = RouteTask(problem, search.time_limit_s - choosing_s, before)
    results = searched(task, search.seed, search.chains, tell)
    best = min(results, key=lambda result: result.cost_dkk).routes
    candidates = dict.fromkeys(route for result in results for route in result.pool)
    wall_s = None if guard is None else guard.left_s()
    cover = choose(problem, candidates, best, Limit(search.seed, choosing_s, wall_s))
    solution = _Solution(
        cover.routes,
        iterations=sum(result.iterations for result in results),
        cut_short=cover.cut_short or any(result.cut_short for result in results),
    )
    solution.bound_dkk = assignment_bound_dkk(problem)
    return solution


def _described(
    inputs: RouteInputs,
    ways: Mapping[VehicleType, TravelMatrix],
    problem: RouteProblem,
    search: RouteSearch,
    solution: _Solution,
) -> RoutesPlan:
    routes = solution.routes
    objective_dkk = total_dkk(problem, routes)
    served = {visit for visits in routes for visit in visits}
    bound_dkk = min(solution.bound_dkk, objective_dkk)
    proven = objective_dkk - bound_dkk <= _PROVEN_DKK or solution.bound_by is BY_ENUMERATION
    if proven:
        bound_dkk = objective_dkk
    return RoutesPlan(
        municipality_id=inputs.municipality_id,
        inputs_hash=routes_hash(inputs, ways),
        search=search,
        iterations=solution.iterations,
        cut_short=solution.cut_short,
        status=SolverStatus.OPTIMAL if proven else SolverStatus.FEASIBLE,
        objective_dkk=objective_dkk,
        bound_dkk=bound_dkk,
        bound_by=solution.bound_by,
        timezone=inputs.timezone,
        gap=(objective_dkk - bound_dkk) / objective_dkk if objective_dkk else 0.0,
        routes=tuple(
            _route(inputs, problem, vehicle, visits)
            for vehicle, visits in enumerate(routes)
            if visits
        ),
        unserved=tuple(
            UnservedVisit(
                visit_id=inputs.visits[visit].visit_id,
                reason=unserved_reason(inputs, problem, routes, visit),
            )
            for visit in range(problem.visits)
            if visit not in served
        ),
        explanation=routes_explanation(inputs, problem, routes),
    )


def _route(
    inputs: RouteInputs, problem: RouteProblem, vehicle: int, visits: tuple[int, ...]
) -> VehicleRoute:
    """Return a route with its times. Raises `RuntimeError` when it breaks a rule of its inputs."""
    times = times_of(problem, vehicle, visits)
    vehicle_id = inputs.vehicles[vehicle].vehicle_id
    if times is None or not feasible(problem, vehicle, visits):
        raise RuntimeError(f"the search gave {vehicle_id} a route that it cannot drive: {visits}")
    profile = problem.profile[vehicle]
    stops: list[RouteStop] = []
    before = problem.start[vehicle]
    for visit, arrives_s, begins_s in zip(visits, times.arrives_s, times.begins_s, strict=True):
        stops.append(
            RouteStop(
                visit_id=inputs.visits[visit].visit_id,
                distance_m=float(problem.distance_m[profile, before, visit]),
                travel_s=float(problem.duration_s[profile, before, visit]),
                arrives_at=problem.at(arrives_s),
                begins_at=problem.at(begins_s),
                departs_at=problem.at(begins_s + problem.service_s[visit]),
            )
        )
        before = visit
    home_s = float(problem.duration_s[profile, before, problem.end[vehicle]])
    service_s = sum(problem.service_s[visit] for visit in visits)
    driving_s = sum(stop.travel_s for stop in stops) + home_s
    duration_s = times.returns_s - times.departs_s
    return VehicleRoute(
        vehicle_id=vehicle_id,
        stops=tuple(stops),
        departs_at=problem.at(times.departs_s),
        returns_at=problem.at(times.returns_s),
        distance_m=problem.distance_of_m(vehicle, visits),
        driving_s=driving_s,
        service_s=service_s,
        waiting_s=max(0.0, duration_s - driving_s - service_s),
        duration_s=duration_s,
        load=sum(problem.demand[visit] for visit in visits),
        cost_dkk=problem.cost_dkk(vehicle, visits),
    )
