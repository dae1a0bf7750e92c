"""The search for routes: PyVRP's iterated local search, in its words and whole numbers.

Several searches, each from its own seed, are threads: PyVRP lets go of Python's lock. A search ends
after a number of iterations, not of seconds, so that it is reproducible. Money is in the distances:
vehicles that pay differently for a kilometre, travel differently or have other competences are
profiles of their own, in which the way to what they must not visit is as dear as PyVRP allows.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from math import ceil, floor
from typing import Any, Final

import numpy as np
import pyvrp
from numpy.typing import NDArray
from pyvrp.constants import MAX_VALUE
from pyvrp.search import OPERATORS, LocalSearch, PerturbationManager, compute_neighbours

from optimizer.routes.problem import NO_WAY, RouteProblem, feasible
from optimizer.routes.set_partitioning import Candidate, Routes, total_dkk

Clock = Callable[[], float]
"""Seconds that never go back, such as `time.monotonic`."""

_S_PER_ITERATION: Final = 2e-4
_S_PER_ITERATION_AND_VISIT: Final = 1e-5
"""Deterministic seconds (measured on 48 to 144 visits: 0.7 to 1.7 ms)."""
_SEED_STEP: Final = 7919
"""Between the seeds of two searches: seeds 1 and 2 of a user share none."""
_TENTHS: Final = 10
"""Of a second; what vehicles need is rounded up and what they have down."""
_THOUSANDTHS: Final = 1_000
"""Of the unit of capacity."""
_ROUNDING: Final = 1e-6
_UNITS_PER_DKK: Final = 10_000
_LARGEST_PRIZE: Final = 10**9
"""Units of an unserved visit at most, so that penalties above it do not overflow."""
_LARGEST_PENALTY: Final = 1e7
_FIRST_PENALTY: Final = 1_000
"""Of the price of a way (with 1 and 10 small days were 0.3 to 3 % from proven optima)."""
_LONGEST_S: Final = 62 * 86_400
"""A way that is not there takes twice the longest that instants may lie apart."""
_MOMENT_S: Final = 0.1
_STEPS_TOLD: Final = 100

RouteCallback = Callable[[float, int, float, int], None]
"""Share done, iterations, best cost, visits unserved."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A limit by the clock on the wall."""

    clock: Clock
    from_s: float
    limit_s: float

    def is_over(self) -> bool:
        """Return whether the limit is reached."""
        return self.clock() - self.from_s >= self.limit_s

    def left_s(self) -> float:
        """Return what is left of the limit, at least a moment."""
        return max(_MOMENT_S, self.from_s + self.limit_s - self.clock())


@dataclass(frozen=True, slots=True)
class Found:
    """The best routes of a search, by vehicle, and all feasible routes of its best solutions."""

    routes: Routes
    cost_dkk: float
    iterations: int
    cut_short: bool
    pool: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class RouteTask:
    """A problem and how long it is searched: deterministic seconds, and the wall's guard."""

    problem: RouteProblem
    limit_s: float
    guard: Guard | None = None

    @property
    def iterations(self) -> int:
        """How many iterations the limit is, one at least."""
        each_s = _S_PER_ITERATION + _S_PER_ITERATION_AND_VISIT * self.problem.visits
        return max(1, round(self.limit_s / each_s))


def searched(
    task: RouteTask, seed: int, starts: int, tell: RouteCallback | None = None
) -> list[Found]:
    """Return what so many searches found, in the order of their seeds, the first's own before.

    `tell` hears of the first.
    """
    if not (task.problem.visits and task.problem.vehicles):
        nothing: Routes = ((),) * task.problem.vehicles
        return [Found(nothing, total_dkk(task.problem, nothing), 0, cut_short=False, pool=())]
    seeds = [seed + _SEED_STEP * number for number in range(starts)]
    with ThreadPoolExecutor(starts) as threads:
        return list(threads.map(_search, repeat(task), seeds, [tell, *repeat(None, starts - 1)]))


def _search(task: RouteTask, seed: int, tell: RouteCallback | None) -> Found:
    data = problem_data(task.problem)
    generator = pyvrp.RandomNumberGenerator(seed=seed % 2**32)
    local = LocalSearch(data, generator, compute_neighbours(data), PerturbationManager())
    for operator in OPERATORS:
        if operator.supports(data):
            local.add_operator(operator(data))
    penalties = _penalties(data)
    first = local(
        pyvrp.Solution.make_random(data, generator), penalties.max_cost_evaluator(), exhaustive=True
    )
    watch = _Watch(task, tell)
    watch.on_best(first)
    parameters = pyvrp.IteratedLocalSearchParams(callbacks=watch)
    search = pyvrp.IteratedLocalSearch(data, penalties, local, first, parameters)
    search.run(watch, collect_stats=False)
    return watch.found()


class _Watch(pyvrp.IteratedLocalSearchCallbacks):
    """Ends a search, tells of it, and keeps its feasible routes."""

    def __init__(self, task: RouteTask, tell: RouteCallback | None) -> None:
        self._task, self._tell = task, tell
        self._kinds = sorted(set(task.problem.kind))
        self._iterations = 0
        self._cut_short = False
        self._pool: dict[Candidate, None] = {}
        self._routes: Routes = ((),) * task.problem.vehicles
        self._cost_dkk = total_dkk(task.problem, self._routes)

    def __call__(self, best_cost: int) -> bool:
        """Return whether the search ends here, as its stopping criterion."""
        del best_cost
        done, most = self._iterations, self._task.iterations
        guard = self._task.guard
        self._cut_short = guard is not None and done < most and guard.is_over()
        if self._tell is not None and done % max(1, most // _STEPS_TOLD) == 0:
            self._progress(done / most)
        return done >= most or self._cut_short

    def on_iteration(self, *_: object) -> None:
        """Count."""
        self._iterations += 1

    def on_best(self, best: pyvrp.Solution) -> None:
        """Keep the feasible routes of a solution, and all of them if they are the best so far."""
        problem = self._task.problem
        free: dict[int, list[int]] = {kind: [] for kind in self._kinds}
        for vehicle, kind in enumerate(problem.kind):
            free[kind].append(vehicle)
        routes: list[tuple[int, ...]] = [()] * problem.vehicles
        for route in best.routes():
            kind = self._kinds[route.vehicle_type()]
            visits = tuple(stop.idx for stop in route if stop.is_client())
            if visits and feasible(problem, free[kind][0], visits):
                routes[free[kind].pop(0)] = visits
                self._pool[kind, visits] = None
        cost_dkk = total_dkk(problem, tuple(routes))
        if cost_dkk < self._cost_dkk:
            self._routes, self._cost_dkk = tuple(routes), cost_dkk

    def found(self) -> Found:
        """Return the best routes and all that were kept."""
        self._progress(1.0)
        pool = tuple(self._pool)
        return Found(self._routes, self._cost_dkk, self._iterations, self._cut_short, pool)

    def _progress(self, share: float) -> None:
        if self._tell is not None:
            unserved = self._task.problem.visits - sum(map(len, self._routes))
            self._tell(share, self._iterations, self._cost_dkk, unserved)


def _penalties(data: pyvrp.ProblemData) -> pyvrp.PenaltyManager:
    """Begin with a multiple of a way's price, for as late as it takes and a visit's demand."""
    price = _FIRST_PENALTY * _median(np.asarray(data.distance_matrix(0)))
    late = price / _median(np.asarray(data.duration_matrix(0)))
    heavy = price / _median(np.array([client.delivery[0] for client in data.clients()]))
    return pyvrp.PenaltyManager(
        ([heavy], late, price), pyvrp.PenaltyParams(max_penalty=_LARGEST_PENALTY)
    )


def _median(values: NDArray[Any]) -> float:
    """Return the median of what is more than 0 and can be; 1 of nothing."""
    some = values[(values > 0) & (values < MAX_VALUE)]
    return float(np.median(some)) if len(some) else 1.0


def problem_data(problem: RouteProblem) -> pyvrp.ProblemData:
    """Return a problem with visits and vehicles in PyVRP's words; costs in parts of a DKK."""
    units = min(_UNITS_PER_DKK, _LARGEST_PRIZE / max(problem.unserved_dkk))
    kinds = [problem.kind.index(kind) for kind in sorted(set(problem.kind))]
    profiles = [
        (problem.profile[kind], problem.dkk_per_m[kind], tuple(problem.allowed[:, kind].tolist()))
        for kind in kinds
    ]
    unlike = list(dict.fromkeys(profiles))
    durations_s = np.minimum(problem.duration_s, _LONGEST_S) * problem.timed
    durations: Any = np.ceil(durations_s * _TENTHS - _ROUNDING).astype(np.int64)
    return pyvrp.ProblemData(
        locations=[pyvrp.Location(x=0, y=0) for _ in range(problem.distance_m.shape[1])],
        clients=[
            pyvrp.Client(
                location=visit,
                delivery=[ceil(problem.demand[visit] * _THOUSANDTHS - _ROUNDING)],
                service_duration=ceil(problem.service_s[visit] * _TENTHS - _ROUNDING)
                if problem.timed
                else 0,
                prize=round(problem.unserved_dkk[visit] * units),
                required=False,
                **_window(problem, problem.earliest_s[visit], problem.latest_s[visit]),
            )
            for visit in range(problem.visits)
        ],
        depots=[
            pyvrp.Depot(location=place)
            for place in range(problem.visits, problem.distance_m.shape[1])
        ],
        vehicle_types=[
            pyvrp.VehicleType(
                num_available=problem.kind.count(problem.kind[kind]),
                capacity=[floor(problem.capacity[kind] * _THOUSANDTHS + _ROUNDING)],
                start_depot=problem.start[kind] - problem.visits,
                end_depot=problem.end[kind] - problem.visits,
                fixed_cost=round(problem.fixed_dkk[kind] * units),
                profile=unlike.index(profile),
                shift_duration=floor(problem.max_duration_s[kind] * _TENTHS + _ROUNDING)
                if problem.timed
                else MAX_VALUE,
                **_window(problem, problem.shift_from_s[kind], problem.shift_to_s[kind]),
            )
            for kind, profile in zip(kinds, profiles, strict=True)
        ],
        distance_matrices=[_prices(problem, *profile, units) for profile in unlike],
        duration_matrices=[durations[profile] for profile, _, _ in unlike],
    )


def _prices(
    problem: RouteProblem, profile: int, dkk_per_m: float, allowed: tuple[bool, ...], units: float
) -> Any:
    """Return a profile's prices of ways; `Any`, since PyVRP declares arrays of one dimension."""
    way_m = problem.distance_m[profile]
    prices = np.minimum(np.rint(way_m * dkk_per_m * units), MAX_VALUE).astype(np.int64)
    prices[way_m >= NO_WAY] = MAX_VALUE
    forbidden = np.flatnonzero(~np.array(allowed))
    prices[forbidden, :] = prices[:, forbidden] = MAX_VALUE
    np.fill_diagonal(prices, 0)
    return prices


def _window(problem: RouteProblem, from_s: float, to_s: float) -> dict[str, Any]:
    if not problem.timed:
        return {}
    late = floor(to_s * _TENTHS + _ROUNDING)
    return {"tw_early": min(ceil(from_s * _TENTHS - _ROUNDING), late), "tw_late": late}
