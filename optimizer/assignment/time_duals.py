"""Prices of instants: what a vehicle of each pool is worth at each, and the bound that follows.

The linear relaxation of a subproblem, whose unknowns are how much of each round trip each pool
takes and how much of each vehicle is used: at no instant are more of a pool out than can be had.
Any prices of those instants, from 0, give a bound in closed form: each round trip goes to the pool
where it is worth most beyond the prices of its time, and each vehicle is used that earns more in
the time when it can be had than it costs. Prices and shares are found by the primal-dual hybrid
gradient (Chambolle and Pock 2011) with diagonal steps (Pock and Chambolle 2011): a step is some
sums over time, so it scales to any number of round trips, and no matrix is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from optimizer.assignment.subproblem import Machine, Subproblem
from optimizer.work_budget import Floats, Ints, WorkBudget

_Numbers = TypeVar("_Numbers", Floats, Ints)

_CELLS_PER_SHARE: Final = 25
"""A step costs some fifty nanoseconds for each share (measured)."""

_PARTS: Final = 1024
"""Prices are whole parts of an øre, so that the bound is exact."""

_WEIGHT: Final = 8.0
"""How much longer the steps of shares are than those of prices (tried on bench fleets)."""

_LOOK_EACH: Final = 50
_RESTARTS: Final = (0.5, 40)
"""The mean begins anew after this part of all steps, and so many at least."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of each round trip each pool takes (pools x trips), and of each vehicle is used."""

    trips: Floats
    machines: dict[str, float]


class TimeDuals:
    """The relaxation of a subproblem with pools; `improve` it, then read bound and shares.

    `limit_ore` is what can be saved at most, proven.
    """

    def __init__(self, subproblem: Subproblem) -> None:
        self._grid(subproblem)
        self._fleet(subproblem)
        self._values = np.array([pool.values_ore for pool in subproblem.pools], dtype=np.int64)
        worth = self._values > 0
        self._scale = float(np.median(self._values[worth])) if worth.any() else 1.0
        self._worth = worth
        self._trips = np.zeros(self._values.shape)
        self._used = np.zeros(len(self._caps))
        self._prices = np.zeros((len(subproblem.pools), self._instants))
        lengths = np.maximum(self._last - self._first, 1)
        there = np.bincount(self._of, self._until - self._since, len(self._caps))
        # Vehicles that are joined are stepped as one unknown; longer, as there are more of them.
        joined = np.sqrt(self._caps)
        both = self._load(worth.astype(np.float64)) + self._supply(joined)
        self._steps = (
            _WEIGHT / lengths,
            _WEIGHT * joined / np.maximum(there, 1),
            1 / (_WEIGHT * np.maximum(both, 1)),
        )
        self._sum = np.zeros_like(self._prices)
        self._summed = self._done = 0
        self.limit_ore = self._bound(self._prices)

    def _grid(self, subproblem: Subproblem) -> None:
        """Choose the instants: most are out at starts, and least can be had when times end.

        One is left out where all who are out are still out at the next, and nobody comes.
        """
        starts, frees = subproblem.demand.starts_us, subproblem.demand.frees_us
        windows = np.array([w for p in subproblem.pools for m in p.machines for w in m.windows])
        times = np.unique(np.concatenate([starts, windows[:, 1]]))
        times = times[times < frees.max()]
        changes = np.sort(np.concatenate([frees, windows[:, 0]]))
        before = np.searchsorted(changes, times, side="right")
        times = times[np.append(before[1:] > before[:-1], True)]
        self._times = times
        self._instants = len(times)
        self._first = np.searchsorted(times, starts)
        self._last = np.searchsorted(times, frees)

    def _fleet(self, subproblem: Subproblem) -> None:
        """Join vehicles of one pool at one price that can be had at the same times."""
        self._groups: list[list[Machine]] = []
        pools: list[int] = []
        rows: list[tuple[int, int, int]] = []
        for number, pool in enumerate(subproblem.pools):
            alike: dict[tuple[int, tuple[tuple[int, int], ...]], list[Machine]] = {}
            for machine in pool.machines:
                alike.setdefault((machine.price_ore, machine.windows), []).append(machine)
            for (_, windows), machines in alike.items():
                rows += [(len(pools), start, end) for start, end in windows]
                pools.append(number)
                self._groups.append(machines)
        table = np.array(rows, dtype=np.int64)
        self._of = table[:, 0]
        self._since = np.searchsorted(self._times, table[:, 1])
        self._until = np.searchsorted(self._times, table[:, 2])
        self._pool_of = np.array(pools)[self._of]
        self._caps = np.array([len(group) for group in self._groups])
        self._costs = np.array([group[0].price_ore for group in self._groups])

    @property
    def shares(self) -> Shares:
        """How much the pools take and use now; whole mostly, when it has converged."""
        used: dict[str, float] = {}
        for machines, share in zip(self._groups, self._used.tolist(), strict=True):
            for number, machine in enumerate(machines):
                used[machine.vehicle.vehicle_id] = min(1.0, max(0.0, share - number))
        return Shares(self._trips, used)

    def improve(self, steps: int, effort: WorkBudget) -> None:
        """Take so many steps, fewer when the effort ends; the limit never rises."""
        values, costs = self._values / self._scale, self._costs / self._scale
        of_trips, of_fleet, of_prices = self._steps
        cells = _CELLS_PER_SHARE * (self._values.size + self._prices.size + len(self._of))
        for step in range(1, steps + 1):
            if effort.over:
                break
            effort.spend(cells, 2)
            summed = _summed(self._prices)
            gain = values - self._of_trips(summed)
            trips = _shared(np.where(self._worth, self._trips + of_trips * gain, 0))
            gain = self._of_fleet(summed) - costs
            used = np.clip(self._used + of_fleet * gain, 0, self._caps)
            lacks = self._load(2 * trips - self._trips) - self._supply(2 * used - self._used)
            self._prices = np.maximum(self._prices + of_prices * lacks, 0)
            self._trips, self._used = trips, used
            self._sum += self._prices
            self._summed += 1
            self._done += 1
            if step % _LOOK_EACH == 0 or step == steps:
                self._look()
        else:
            return
        self._look()

    def _look(self) -> None:
        """Take the bound of the prices and of their mean; begin the mean anew if it is long."""
        if not self._summed:
            return
        mean = self._sum / self._summed
        for prices in (self._prices, mean):
            self.limit_ore = min(self.limit_ore, self._bound(prices * self._scale))
        part, least = _RESTARTS
        if self._summed >= max(least, part * self._done):
            self._sum[:] = 0
            self._summed = 0

    def _bound(self, prices_ore: Floats) -> int:
        """Return what prices prove that cannot be saved more than, in whole øre."""
        whole = np.rint(prices_ore * _PARTS).astype(np.int64)
        summed = _summed(whole)
        beyond = (self._values * _PARTS - self._of_trips(summed)).max(axis=0)
        earned = self._caps * np.maximum(self._of_fleet(summed) - self._costs * _PARTS, 0)
        return (int(np.maximum(beyond, 0).sum()) + int(earned.sum())) // _PARTS

    def _of_trips(self, summed: _Numbers) -> _Numbers:
        """Return the price of the time of each round trip in each pool."""
        return summed[:, self._last] - summed[:, self._first]

    def _of_fleet(self, summed: _Numbers) -> _Numbers:
        """Return what one vehicle of each group earns at the prices of its time."""
        earned = np.zeros(len(self._caps), dtype=summed.dtype)
        rows = summed[self._pool_of, self._until] - summed[self._pool_of, self._since]
        np.add.at(earned, self._of, rows)
        return earned

    def _load(self, trips: Floats) -> Floats:
        """Return how many vehicles of each pool are out at each instant."""
        size = self._instants + 1
        changes = np.zeros((len(trips), size))
        for pool, share in enumerate(trips):
            changes[pool] += np.bincount(self._first, share, size)
            changes[pool] -= np.bincount(self._last, share, size)
        return np.cumsum(changes, axis=1)[:, :-1]

    def _supply(self, used: Floats) -> Floats:
        """Return how many vehicles of each pool can be had at each instant."""
        size = self._instants + 1
        share, row = used[self._of], self._pool_of * size
        total = len(self._prices) * size
        changes = np.zeros(total)
        changes += np.bincount(row + self._since, share, total)
        changes -= np.bincount(row + self._until, share, total)
        return np.cumsum(changes.reshape(-1, size), axis=1)[:, :-1]


def _summed(prices: _Numbers) -> _Numbers:
    """Return the sums of each row of prices up to each instant, from 0."""
    extended = np.zeros((prices.shape[0], prices.shape[1] + 1), dtype=prices.dtype)
    np.cumsum(prices, axis=1, out=extended[:, 1:])
    return extended


def _shared(trips: Floats) -> Floats:
    """Return the nearest shares from 0 of which those of a round trip are 1 together at most."""
    trips = np.maximum(trips, 0)
    over = np.flatnonzero(trips.sum(axis=0) > 1)
    if not len(over):
        return trips
    most = np.sort(trips[:, over], axis=0)[::-1]
    beyond = np.cumsum(most, axis=0) - 1
    numbers = np.arange(1, len(trips) + 1)[:, None]
    last = (most * numbers > beyond).sum(axis=0) - 1
    trips[:, over] -= beyond[last, np.arange(len(over))] / (last + 1)
    return np.maximum(trips, 0)
