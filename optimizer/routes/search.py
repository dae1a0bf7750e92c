"""Ruin and recreate: the search for routes (SISR, Christiaens and Vanden Berghe 2020).

Strings of neighbouring visits are taken from a few neighbouring routes and inserted again, each
where it costs least, in an order by chance; a worse result is accepted now and then, ever more
seldom. Ours beside the paper: vehicles of different kinds change their routes with each other now
and then, and a visit that finds no place gets dearer the longer it is left out, so that a tight
fleet makes room for it. Reproducible: it ends after a number of operations, not of seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np

from optimizer.routes.problem import RouteProblem
from optimizer.routes.state import State

OPERATIONS_A_SECOND: Final = 1_000_000
"""Of one core of a plain server (ours, measured), so that limits are about seconds."""

_REMOVED: Final = 12.0
"""Visits that are taken out on average, and the longest string (the paper has 10)."""
_LONGEST_STRING: Final = 10.0
_SPLIT: Final = 0.5
_SPLIT_ENDS: Final = 0.01
_BLINK: Final = 0.01
_EXCHANGE: Final = 0.03
"""Chance that two vehicles of different kinds change their routes."""
_HOTTEST: Final = 1.0
_COLDEST: Final = 0.01
"""Temperatures, in parts of what a visit costs on average."""
_ABSENCE: Final = 2.0
"""Price of an absent visit at first, in the same unit; it grows with every iteration."""
_ABSENCE_GROWS: Final = 1.01
_ABSENCE_FALLS: Final = 0.1
"""All prices fall to so much, though not below the first, once one has reached its visit's own."""
_KEPT_WITHIN: Final = 1.02
"""Routes of solutions so near the best are kept for the set partition."""
_KEPT_ROUTES: Final = 4_000
_LOOK_EVERY: Final = 20
_AHEAD: Final = 0.1
"""The guard by the wall steps in when it is so much of its limit ahead of the operations."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a chain ends: after so many operations, or where `elapsed` reaches 1.

    `elapsed` is the used share of the time on the wall, None without such a guard.
    """

    operations: float
    elapsed: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The best routes of a chain, by vehicle, and good routes for the set partition."""

    routes: tuple[tuple[int, ...], ...]
    cost_dkk: float
    iterations: int
    cut_short: bool
    pool: tuple[tuple[int, tuple[int, ...]], ...]
    """Kind of vehicle, visits in order."""


Told = Callable[[float, int, float, int], None]
"""Share done, iterations, best cost, visits unserved."""


class Chain:
    """One search from one seed."""

    def __init__(self, problem: RouteProblem, seed: int) -> None:
        self._problem = problem
        self._random = Random(seed)  # noqa: S311 - a search, not a secret
        self._chance = self._random.random
        self._state = State(problem)
        visits = problem.visits
        both_m = problem.distance_m[0][:visits, :visits]
        self._near = np.argsort(both_m + both_m.T, axis=1, kind="stable").tolist()
        self._orders = _orders(problem)
        self._mixed = len(set(problem.kind)) > 1
        everything = list(range(visits))
        self._sort(everything)
        self._absent = self._insert(everything)
        served = max(1, visits - len(self._absent))
        self._unit = self._state.cost_dkk() / served or 1.0
        self._price = [min(_ABSENCE * self._unit, one) for one in problem.unserved_dkk]
        self._best_dkk = self._true_dkk()
        self._best = tuple(route.visits for route in self._state.routes)
        self._best_absent = len(self._absent)
        self._pool: dict[tuple[int, tuple[int, ...]], None] = {}

    def run(self, limits: Limits, tell: Told | None = None) -> Found:
        """Search until the limits and return the best."""
        iterations, told, cut_short = 0, 0.0, False
        temperature = _HOTTEST * self._unit
        while self._problem.visits and self._problem.vehicles:
            if iterations % _LOOK_EVERY == 0:
                share = self._state.operations / limits.operations
                elapsed = limits.elapsed() if limits.elapsed is not None else 0.0
                if elapsed > share + _AHEAD or elapsed >= 1:
                    share, cut_short = max(share, elapsed), True
                if share >= 1:
                    break
                temperature = _HOTTEST * self._unit * (_COLDEST / _HOTTEST) ** share
                if tell is not None and share >= told:
                    tell(share, iterations, self._best_dkk, self._best_absent)
                    told = share + 0.01
            iterations += 1
            self._step(temperature)
        if tell is not None:
            tell(1.0, iterations, self._best_dkk, self._best_absent)
        pool = tuple(self._pool)[-_KEPT_ROUTES:]
        return Found(self._best, self._best_dkk, iterations, cut_short, pool)

    def _step(self, temperature: float) -> None:
        state, price = self._state, self._price
        columns, indices = state.columns, state.indices
        routes, vehicle_of, absent = state.routes, state.vehicle_of, self._absent
        state.columns, state.indices = columns.copy(), indices.copy()
        state.routes, state.vehicle_of = routes.copy(), vehicle_of.copy()
        for visit in absent:
            price[visit] *= _ABSENCE_GROWS
            if price[visit] > self._problem.unserved_dkk[visit]:
                self._cheapen()
        before_dkk = sum([route.cost_dkk for route in routes]) + sum([price[one] for one in absent])
        removed = self._ruin()
        removed += absent
        self._sort(removed)
        self._absent = self._insert(removed)
        cost_dkk = state.cost_dkk()
        after_dkk = cost_dkk + sum([price[one] for one in self._absent])
        # 1 - chance lies in (0, 1]: its logarithm exists.
        if after_dkk < before_dkk - temperature * math.log(1.0 - self._chance()):
            true_dkk = self._true_dkk() if self._absent else cost_dkk
            self._note(true_dkk)
            return
        state.columns, state.indices = columns, indices
        state.routes, state.vehicle_of, self._absent = routes, vehicle_of, absent

    def _cheapen(self) -> None:
        """Lower the prices of all absences, so that none is as dear as another for ever."""
        least = _ABSENCE * self._unit
        self._price[:] = [
            min(most, max(least, one * _ABSENCE_FALLS))
            for one, most in zip(self._price, self._problem.unserved_dkk, strict=True)
        ]

    def _note(self, true_dkk: float) -> None:
        """Keep the routes of a good solution, and the solution if it is the best."""
        if true_dkk < self._best_dkk * _KEPT_WITHIN:
            for vehicle, route in enumerate(self._state.routes):
                if route.visits:
                    self._pool[self._problem.kind[vehicle], route.visits] = None
            if len(self._pool) > 2 * _KEPT_ROUTES:
                self._pool = dict.fromkeys(tuple(self._pool)[-_KEPT_ROUTES:])
        if true_dkk < self._best_dkk - 1e-9:
            self._best_dkk = true_dkk
            self._best = tuple(route.visits for route in self._state.routes)
            self._best_absent = len(self._absent)

    def _true_dkk(self) -> float:
        unserved = sum([self._problem.unserved_dkk[visit] for visit in self._absent])
        return self._state.cost_dkk() + unserved

    def _insert(self, visits: Sequence[int]) -> list[int]:
        """Insert visits in order; return those that find no place."""
        insert, chance = self._state.insert_cheapest, self._chance
        return [visit for visit in visits if not insert(visit, chance, _BLINK)]

    def _sort(self, visits: list[int]) -> None:
        self._random.shuffle(visits)
        order = self._orders[int(self._chance() * len(self._orders))]
        if order is not None:
            visits.sort(key=order.__getitem__)

    def _ruin(self) -> list[int]:
        """Take strings of visits from neighbouring routes; return what was taken."""
        state, chance = self._state, self._chance
        used = sum([1 for route in state.routes if route.visits])
        mean = (self._problem.visits - len(self._absent)) / max(1, used)
        longest = min(_LONGEST_STRING, max(1.0, mean))
        strings = int(chance() * (4 * _REMOVED / (1 + longest) - 1) + 1)
        seed = int(chance() * self._problem.visits)
        changed: dict[int, tuple[int, ...]] = {}
        removed: list[int] = []
        if self._mixed and chance() < _EXCHANGE:
            self._exchange(seed, changed, removed)
            strings += len(changed) // 2
        for visit in self._near[seed]:
            if len(changed) >= strings:
                break
            vehicle = state.vehicle_of[visit]
            if vehicle >= 0 and vehicle not in changed:
                visits = state.routes[vehicle].visits
                changed[vehicle] = self._without_string(visits, visit, longest, removed)
        state.remove(removed)
        for vehicle, visits in changed.items():
            left = visits
            while not state.put(vehicle, left).feasible:
                place = int(chance() * len(left))
                removed.append(left[place])
                state.remove([left[place]])
                left = (*left[:place], *left[place + 1 :])
        return removed

    def _without_string(
        self, visits: tuple[int, ...], around: int, longest: float, removed: list[int]
    ) -> tuple[int, ...]:
        """Cut a string out of a route, or one that keeps a piece in its middle."""
        chance, count = self._chance, len(visits)
        length = min(count, int(chance() * min(count, longest) + 1))
        place = visits.index(around)
        keeps = 0
        if 1 < length < count and chance() < _SPLIT:
            keeps = 1
            while length + keeps < count and chance() > _SPLIT_ENDS:
                keeps += 1
        whole = length + keeps
        lowest, highest = max(0, place - whole + 1), min(place, count - whole)
        start = lowest + int(chance() * (highest - lowest + 1))
        kept_from = start + int(chance() * (length + 1)) if keeps else start
        removed += visits[start:kept_from]
        removed += visits[kept_from + keeps : start + whole]
        return (
            *visits[:start],
            *visits[kept_from : kept_from + keeps],
            *visits[start + whole :],
        )

    def _exchange(self, seed: int, changed: dict[int, tuple[int, ...]], removed: list[int]) -> None:
        """Let two vehicles of different kinds change their routes, as far as they may."""
        state, problem = self._state, self._problem
        one = state.vehicle_of[seed]
        other = int(self._chance() * problem.vehicles)
        if one < 0 or problem.kind[one] == problem.kind[other]:
            return
        for vehicle, visits in (
            (one, state.routes[other].visits),
            (other, state.routes[one].visits),
        ):
            kept = [visit for visit in visits if problem.allowed[visit, vehicle]]
            removed += [visit for visit in visits if not problem.allowed[visit, vehicle]]
            for visit in kept:
                state.vehicle_of[visit] = vehicle
            changed[vehicle] = tuple(kept)


def _orders(problem: RouteProblem) -> list[list[float] | None]:
    """Return the orders to insert in, as often as they are wanted: values by visit, or chance.

    Weights of the paper: 4 by chance, 4 most demand first, 2 far from the depot, 1 near it, and
    where time binds 2 each for narrow windows, early and late ones. Ours: 3 for visits that few
    vehicles may make.
    """
    start = problem.start[0] if problem.vehicles else 0
    visits = range(problem.visits)
    away_m = problem.distance_m[0][start, : problem.visits].tolist() if problem.vehicles else []
    orders: list[list[float] | None] = [None] * 4
    orders += [[-problem.demand[visit] for visit in visits]] * (4 if any(problem.demand) else 0)
    orders += [[-one for one in away_m]] * 2
    orders += [away_m]
    if problem.timed:
        widths = [problem.latest_s[one] - problem.earliest_s[one] for one in visits]
        orders += [widths, list(problem.earliest_s), [-one for one in problem.latest_s]] * 2
    if not problem.allowed.all():
        orders += [problem.allowed.sum(axis=1).tolist()] * 3
    return orders
