"""The routes of a search as columns, so that one visit is tried at all places at once.

A *slot* is the place after a node: after a visit on a route, or after a vehicle's start. Nodes are
the visits `0 … n-1`, then the vehicles' starts. For each there is a column of what an insertion
after it must know. Columns of a route depend on the route alone: they are computed once and kept,
as a search meets half of its routes again. Feasibility in constant time is that of Savelsbergh
(1985) for windows, and the concatenation of segments of Vidal et al. (2013) for durations.
"""

# ruff: noqa: PLR1730 - calls of min and max cost more than comparisons, and this is the inner loop

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from optimizer.routes.problem import TOLERANCE_S, RouteProblem

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

DEPARTS, LATEST, BASE, UNIT, SLACK, WORK = range(6)
"""Rows: departure at the earliest; latest arrival at the next node; what the insertion saves or
costs in itself; DKK a metre; free capacity (-inf: not on a route); seconds of work left."""

HERE, NEXT, VEHICLE = range(3)
"""Rows of indices: location of node and next node within its profile; the vehicle."""

_KEPT_ROUTES: Final = 20_000
_EVALUATE: Final = (8, 20)
_BUILD: Final = (12, 40)
"""Operations of a look at all slots and of a new route, without and with times; measured."""
_PUT: Final = 5
_CHECK: Final = 3
_NODES_AN_OPERATION: Final = 20


class _Segment(NamedTuple):
    """Part of a route: least duration, and the earliest and latest start that keep it so."""

    duration_s: float
    earliest_s: float
    latest_s: float


@dataclass(frozen=True, slots=True)
class Route:
    """A vehicle's visits in order with their columns."""

    visits: tuple[int, ...]
    cost_dkk: float
    feasible: bool
    nodes: Indices
    columns: Floats
    indices: Indices
    heads: tuple[_Segment, ...]
    """Up to each node, service included."""
    tails: tuple[_Segment, ...]
    """From after each node to the end."""


class State:
    """Routes under search. `operations` counts what was done: the search's own clock."""

    def __init__(self, problem: RouteProblem) -> None:
        self.problem = problem
        visits, vehicles = problem.visits, problem.vehicles
        size = problem.distance_m.shape[1]
        self._profile_offset = [profile * size for profile in problem.profile]
        self._distance_m = problem.distance_m.tolist()
        self._duration_s = problem.duration_s.tolist()
        self._m_into = problem.distance_m.transpose(2, 0, 1).reshape(size, -1).copy()
        self._m_out = problem.distance_m.transpose(1, 0, 2).reshape(size, -1).copy()
        self._s_into = problem.duration_s.transpose(2, 0, 1).reshape(size, -1).copy()
        self._s_out = problem.duration_s.transpose(1, 0, 2).reshape(size, -1).copy()
        self._s_out[:visits] += np.array(problem.service_s).reshape(-1, 1)
        self.restricted = not problem.allowed.all()
        self._forbidden = np.where(problem.allowed, 0.0, np.inf)
        self.columns = np.zeros((6, visits + vehicles))
        self.columns[SLACK] = -np.inf
        self.indices = np.zeros((3, visits + vehicles), dtype=np.intp)
        self.vehicle_of = [-1] * visits
        self._kept: list[dict[tuple[int, ...], Route]] = [{} for _ in range(vehicles)]
        self._building = _BUILD[problem.timed]
        self._evaluation = _EVALUATE[problem.timed] + (visits + vehicles) // _NODES_AN_OPERATION
        self.operations = 0
        self.routes: list[Route] = []
        self.routes = [self._route(vehicle, ()) for vehicle in range(vehicles)]
        for vehicle in range(vehicles):
            self.put(vehicle, ())

    def cost_dkk(self) -> float:
        """Return what all routes cost, without what is not served."""
        return sum([route.cost_dkk for route in self.routes])

    def put(self, vehicle: int, visits: tuple[int, ...]) -> Route:
        """Give a vehicle other visits. Feasibility is only noted."""
        route = self._route(vehicle, visits)
        self.columns[:, route.nodes] = route.columns
        self.indices[:, route.nodes] = route.indices
        self.routes[vehicle] = route
        return route

    def remove(self, visits: list[int]) -> None:
        """Take visits out of the slots; the routes that they were on are still to be put."""
        self.columns[SLACK, visits] = -np.inf
        for visit in visits:
            self.vehicle_of[visit] = -1

    def insert_cheapest(self, visit: int, chance: Callable[[], float], blink: float) -> bool:
        """Insert a visit where it costs least and is feasible; False when not below its price.

        Each slot is passed over with probability `blink`: what is best for one visit need not be
        best for all.
        """
        cost_dkk = self._costs(visit)
        limit_dkk = self.problem.unserved_dkk[visit]
        while True:
            slot = int(cost_dkk.argmin())
            if not cost_dkk[slot] < limit_dkk:
                return False
            if chance() < blink:
                cost_dkk[slot] = np.inf
                continue
            if slot >= self.problem.visits:
                vehicle, before = slot - self.problem.visits, 0
                visits = self.routes[vehicle].visits
            else:
                vehicle = self.vehicle_of[slot]
                visits = self.routes[vehicle].visits
                before = visits.index(slot) + 1
            if self.problem.limited and not self._short_enough(visit, vehicle, before):
                self.operations += _CHECK
                cost_dkk[slot] = np.inf
                continue
            self.vehicle_of[visit] = vehicle
            self.put(vehicle, (*visits[:before], visit, *visits[before:]))
            return True

    def _costs(self, visit: int) -> Floats:
        """Return what the visit costs in each slot; inf where window, load or crew forbid it."""
        here, following, vehicle = self.indices
        columns, problem = self.columns, self.problem
        cost_dkk: Floats = self._m_into[visit].take(here)
        cost_dkk += self._m_out[visit].take(following)
        cost_dkk *= columns[UNIT]
        cost_dkk += columns[BASE]
        forbidden = columns[SLACK] < problem.demand[visit]
        if problem.timed:
            into_s = self._s_into[visit].take(here)
            out_s = self._s_out[visit].take(following)
            begins_s = columns[DEPARTS] + into_s
            np.maximum(begins_s, problem.earliest_s[visit], out=begins_s)
            forbidden |= begins_s > problem.latest_s[visit] + TOLERANCE_S
            begins_s += out_s
            forbidden |= begins_s > columns[LATEST] + TOLERANCE_S
            if problem.limited:
                into_s += out_s
                forbidden |= into_s > columns[WORK] + TOLERANCE_S
        cost_dkk[forbidden] = np.inf
        if self.restricted:
            cost_dkk += self._forbidden[visit].take(vehicle)
        self.operations += self._evaluation
        return cost_dkk

    def _short_enough(self, visit: int, vehicle: int, before: int) -> bool:
        """Return whether the route with the visit lasts no longer than its vehicle may."""
        problem, route = self.problem, self.routes[vehicle]
        way_s = self._duration_s[problem.profile[vehicle]]
        ahead, behind = route.visits[:before], route.visits[before:]
        one = ahead[-1] if ahead else problem.start[vehicle]
        other = behind[0] if behind else problem.end[vehicle]
        middle = _Segment(
            problem.service_s[visit], problem.earliest_s[visit], problem.latest_s[visit]
        )
        joined = _joined(route.heads[before], way_s[one][visit], middle)
        joined = _joined(joined, way_s[visit][other], route.tails[before])
        return joined.duration_s <= problem.max_duration_s[vehicle] + TOLERANCE_S

    def _route(self, vehicle: int, visits: tuple[int, ...]) -> Route:
        kept = self._kept[vehicle]
        route = kept.get(visits)
        if route is None:
            if len(kept) >= _KEPT_ROUTES:
                kept.clear()
            route = kept[visits] = self._built(vehicle, visits)
            self.operations += self._building + len(visits)
        self.operations += _PUT
        return route

    def _built(self, vehicle: int, visits: tuple[int, ...]) -> Route:
        problem = self.problem
        profile, offset = problem.profile[vehicle], self._profile_offset[vehicle]
        locations = (problem.start[vehicle], *visits, problem.end[vehicle])
        way_m = self._distance_m[profile]
        unit = problem.dkk_per_m[vehicle]
        legs_m = [way_m[one][other] for one, other in pairwise(locations)]
        base = [-unit * leg_m for leg_m in legs_m]
        cost_dkk = unit * sum(legs_m) + problem.fixed_dkk[vehicle]
        if not visits:
            base, cost_dkk = [problem.fixed_dkk[vehicle]], 0.0
        load = sum([problem.demand[visit] for visit in visits])
        slack = problem.capacity[vehicle] - load
        count = len(visits) + 1
        rows = _Rows([0.0] * count, [0.0] * count, [np.inf] * count, (), (), feasible=True)
        if problem.timed:
            rows = self._rows(vehicle, visits, locations)
        return Route(
            visits=visits,
            cost_dkk=cost_dkk,
            feasible=rows.feasible and slack >= 0,
            nodes=np.array((problem.visits + vehicle, *visits)),
            columns=np.array(
                (rows.departs_s, rows.latest_s, base, [unit] * count, [slack] * count, rows.work_s)
            ),
            indices=np.array(
                (
                    [offset + one for one in locations[:-1]],
                    [offset + one for one in locations[1:]],
                    [vehicle] * count,
                )
            ),
            heads=rows.heads,
            tails=rows.tails,
        )

    def _rows(self, vehicle: int, visits: tuple[int, ...], locations: tuple[int, ...]) -> _Rows:
        """Return what a route knows of time."""
        problem = self.problem
        earliest_s, latest_s, service_s = problem.earliest_s, problem.latest_s, problem.service_s
        way_s = self._duration_s[problem.profile[vehicle]]
        legs_s = [way_s[one][other] for one, other in pairwise(locations)]
        now_s, until_s = problem.shift_from_s[vehicle], problem.shift_to_s[vehicle]
        feasible = True
        departs_s = [now_s]
        for visit, leg_s in zip(visits, legs_s, strict=False):
            now_s += leg_s
            if now_s < earliest_s[visit]:
                now_s = earliest_s[visit]
            elif now_s > latest_s[visit] + TOLERANCE_S:
                feasible = False
            now_s += service_s[visit]
            departs_s.append(now_s)
        if now_s + legs_s[-1] > until_s + TOLERANCE_S:
            feasible = False
        arrival_s = [until_s]
        for visit, leg_s in zip(reversed(visits), reversed(legs_s), strict=False):
            until_s -= leg_s + service_s[visit]
            if until_s > latest_s[visit]:
                until_s = latest_s[visit]
            arrival_s.append(until_s)
        arrival_s.reverse()
        if not problem.limited:
            return _Rows(departs_s, arrival_s, [np.inf] * len(legs_s), (), (), feasible=feasible)
        longest_s = problem.max_duration_s[vehicle]
        left_s = longest_s - sum(legs_s) - sum([service_s[visit] for visit in visits])
        segments = [
            _Segment(service_s[visit], earliest_s[visit], latest_s[visit]) for visit in visits
        ]
        depot = _Segment(0.0, problem.shift_from_s[vehicle], problem.shift_to_s[vehicle])
        heads, tails = [depot], [depot]
        for leg_s, segment in zip(legs_s, segments, strict=False):
            heads.append(_joined(heads[-1], leg_s, segment))
        for leg_s, segment in zip(reversed(legs_s), reversed(segments), strict=False):
            tails.append(_joined(segment, leg_s, tails[-1]))
        tails.reverse()
        whole = _joined(heads[-1], legs_s[-1], depot)
        return _Rows(
            departs_s,
            arrival_s,
            [left_s + leg_s for leg_s in legs_s],
            tuple(heads),
            tuple(tails),
            feasible=feasible and whole.duration_s <= longest_s + TOLERANCE_S,
        )


@dataclass(frozen=True, slots=True)
class _Rows:
    """A route's rows of time, by node."""

    departs_s: list[float]
    latest_s: list[float]
    work_s: list[float]
    heads: tuple[_Segment, ...]
    tails: tuple[_Segment, ...]
    feasible: bool


def _joined(one: _Segment, leg_s: float, other: _Segment) -> _Segment:
    """Return two feasible segments and the leg between them as one (Vidal et al. 2013)."""
    ahead_s = one.duration_s + leg_s
    waits_s = other.earliest_s - ahead_s - one.latest_s
    if waits_s < 0.0:
        waits_s = 0.0
    earliest_s = other.earliest_s - ahead_s
    if earliest_s < one.earliest_s:
        earliest_s = one.earliest_s
    latest_s = other.latest_s - ahead_s
    if latest_s > one.latest_s:
        latest_s = one.latest_s
    return _Segment(ahead_s + waits_s + other.duration_s, earliest_s - waits_s, latest_s)
