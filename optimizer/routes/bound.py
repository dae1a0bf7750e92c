"""What routes must cost at least: an assignment of each place to the place after it.

Each visit is left for one other place or not made at all, and each vehicle's start is left for a
visit or for its end. Routes are such an assignment, with more rules; the cheapest assignment is
thus a lower bound of their cost. A leg has the price of the cheapest vehicle that may make it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from ortools.graph.python import min_cost_flow

from optimizer.routes.problem import NO_WAY, TOLERANCE_S, RouteProblem

BY_ASSIGNMENT: Final = (
    "the cheapest assignment of a next place to each visit, which routes cannot undercut; "
    "it is far from tight, so that the gap is mostly the bound's"
)

_UNITS_PER_DKK: Final = 1_000


def assignment_bound_dkk(problem: RouteProblem) -> float:
    """Return a proven lower bound of the objective, unserved visits included.

    Raises `RuntimeError` when the solver finds no assignment: there always is one.
    """
    if not problem.visits:
        return 0.0
    leg, start, end = _cheapest_legs(problem)
    visits = problem.visits
    places = visits + 1
    price = np.full((places, places), np.inf)
    price[:visits, :visits] = leg
    price[np.arange(visits), np.arange(visits)] = problem.unserved_dkk
    price[visits, :visits] = start
    price[:visits, visits] = end
    price[visits, visits] = 0.0
    tails, heads = np.nonzero(np.isfinite(price))
    flow = min_cost_flow.SimpleMinCostFlow()
    capacity = np.ones(len(tails), dtype=np.int64)
    capacity[(tails == visits) | (heads == visits)] = 1
    capacity[(tails == visits) & (heads == visits)] = problem.vehicles
    # Rounded down: the bound must not be above what it bounds.
    units = np.floor(price[tails, heads] * _UNITS_PER_DKK).astype(np.int64)
    flow.add_arcs_with_capacity_and_unit_cost(tails, heads + places, capacity, units)
    supply = np.ones(2 * places, dtype=np.int64)
    supply[visits] = supply[places + visits] = problem.vehicles
    supply[places:] *= -1
    flow.set_nodes_supplies(np.arange(2 * places), supply)
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise RuntimeError(f"no assignment of {visits} visits: the solver says {status}")
    return max(0.0, float(flow.optimal_cost()) / _UNITS_PER_DKK)


def _cheapest_legs(
    problem: RouteProblem,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the least price of a leg: between visits, from a start, to an end.

    A start has the fixed cost. Where no vehicle may make a leg its price is infinite.
    """
    visits = problem.visits
    leg = np.full((visits, visits), np.inf)
    start, end = np.full(visits, np.inf), np.full(visits, np.inf)
    demand = np.array(problem.demand)
    earliest_s, latest_s = np.array(problem.earliest_s), np.array(problem.latest_s)
    service_s = np.array(problem.service_s)
    for kind in sorted(set(problem.kind)):
        vehicle = problem.kind.index(kind)
        profile, unit = problem.profile[vehicle], problem.dkk_per_m[vehicle]
        way_m, way_s = problem.distance_m[profile], problem.duration_s[profile]
        first, last = problem.start[vehicle], problem.end[vehicle]
        may = problem.allowed[:, vehicle] & (demand <= problem.capacity[vehicle])
        begins_s = np.maximum(earliest_s, problem.shift_from_s[vehicle] + way_s[first, :visits])
        may &= begins_s <= latest_s + TOLERANCE_S
        may &= (
            begins_s + service_s + way_s[:visits, last] <= problem.shift_to_s[vehicle] + TOLERANCE_S
        )
        follows = (begins_s + service_s)[:, None] + way_s[:visits, :visits] <= np.minimum(
            latest_s, problem.shift_to_s[vehicle]
        )[None, :] + TOLERANCE_S
        follows &= way_s[:visits, :visits] < NO_WAY
        follows &= may[:, None] & may[None, :]
        follows &= demand[:, None] + demand[None, :] <= problem.capacity[vehicle]
        leg = np.where(follows, np.minimum(leg, unit * way_m[:visits, :visits]), leg)
        out = problem.fixed_dkk[vehicle] + unit * way_m[first, :visits]
        start = np.where(may, np.minimum(start, out), start)
        end = np.where(may, np.minimum(end, unit * way_m[:visits, last]), end)
    return leg, start, end
