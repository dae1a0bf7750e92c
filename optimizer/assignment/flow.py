"""The most valuable round trips that a number of like vehicles can take, by min-cost flow.

Round trips are arcs in time, and vehicles flow along: standing is free, a round trip earns its
value once. With vehicles that are always there this is the maximum-weight k-colourable subgraph of
an interval graph (Carlisle and Lloyd 1995), and exact. Where vehicles come and go it is a
relaxation: as many are out as can be had, and they may change places where a time ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

from optimizer.work_budget import Bools, Ints, WorkBudget

_CELLS_PER_ARC: Final = 4_000
"""A flow costs some eight microseconds for each arc (measured)."""

_ALWAYS: Final = int(np.iinfo(np.int64).min)


def flow_s(trips: int) -> float:
    """Return what effort a flow of so many round trips takes at most, in deterministic seconds."""
    cost = WorkBudget(1.0)
    cost.spend(_CELLS_PER_ARC * 2 * trips)
    return cost.spent_s


@dataclass(frozen=True, slots=True)
class Supply:
    """How many vehicles can be had: from each instant, in microseconds, so many.

    Instants ascend from the beginning of time.
    """

    since_us: Ints
    counts: Ints

    def at(self, times_us: Ints) -> Ints:
        """Return how many can be had at each instant."""
        return self.counts[np.searchsorted(self.since_us, times_us, side="right") - 1]


def supply_of(windows: Sequence[tuple[int, int]]) -> Supply:
    """Return the supply of vehicles that can be had from an instant until another, each."""
    opens = np.array([start for start, _ in windows], dtype=np.int64)
    closes = np.array([end for _, end in windows], dtype=np.int64)
    since = np.unique(np.concatenate([[_ALWAYS], opens, closes]))
    counts = np.searchsorted(np.sort(opens), since, side="right") - np.searchsorted(
        np.sort(closes), since, side="right"
    )
    return Supply(since, counts)


@dataclass(frozen=True, slots=True)
class Demand:
    """Round trips by start: when they start, and when their vehicle is free again."""

    starts_us: Ints
    frees_us: Ints

    def peak(self) -> int:
        """Return how many are out at most."""
        return int(overlaps(self.starts_us, self.frees_us).max(initial=0))

    def only(self, which: Bools | Ints) -> Demand:
        """Return some of them."""
        return Demand(self.starts_us[which], self.frees_us[which])


def overlaps(starts_us: Ints, frees_us: Ints, at_us: Ints | None = None) -> Ints:
    """Return how many are out at each instant; at each start, ascending, where none are given."""
    starts = np.sort(starts_us)
    at = starts if at_us is None else at_us
    return np.searchsorted(starts, at, side="right") - np.searchsorted(
        np.sort(frees_us), at, side="right"
    )


def most_valuable(demand: Demand, values_ore: Ints, supply: Supply, effort: WorkBudget) -> Bools:
    """Return which round trips are worth most together, with so many vehicles.

    Those of no value are not taken. Where no more are out than vehicles can be had all are taken;
    only what is out in a shortage is decided, each shortage by a flow of its own.
    """
    taken = values_ore > 0
    worth = np.flatnonzero(taken)
    if not len(worth):
        return taken
    wanted = demand.only(worth)
    times = np.unique(np.concatenate([wanted.starts_us, supply.since_us]))
    short = overlaps(wanted.starts_us, wanted.frees_us, times) > supply.at(times)
    first = np.searchsorted(times, wanted.starts_us)
    last = np.searchsorted(times, wanted.frees_us) - 1
    # The first shortage at or after the start, and the last before it is free again.
    place = np.arange(len(times))
    following = np.minimum.accumulate(np.where(short, place, len(times))[::-1])[::-1][first]
    preceding = np.maximum.accumulate(np.where(short, place, -1))[last]
    hit = np.flatnonzero(following <= preceding)
    if not len(hit):
        return taken
    reach = np.maximum.accumulate(preceding[hit])
    begins = np.flatnonzero(following[hit][1:] > reach[:-1]) + 1
    for part in np.split(hit, begins):
        own = worth[part]
        taken[own] = _flow(demand.only(own), values_ore[own], supply, effort)
    return taken


def _flow(demand: Demand, values_ore: Ints, supply: Supply, effort: WorkBudget) -> Bools:
    """Return which are taken. Raises `RuntimeError` when the flow is not solved."""
    starts, frees = demand.starts_us, demand.frees_us
    begin, end = starts.min(), frees.max()
    changes = supply.since_us[(supply.since_us > begin) & (supply.since_us < end)]
    times = np.unique(np.concatenate([starts, changes, [end]]))
    counts = supply.at(times)
    effort.spend(_CELLS_PER_ARC * 2 * len(times))
    flow = SimpleMinCostFlow()
    chain = np.arange(len(times) - 1)
    most = np.full(len(chain), counts.max(initial=0))
    flow.add_arcs_with_capacity_and_unit_cost(chain, chain + 1, most, chain * 0)
    arcs = flow.add_arcs_with_capacity_and_unit_cost(
        np.searchsorted(times, starts),
        np.searchsorted(times, frees),
        np.ones(len(starts), dtype=np.int64),
        -values_ore,
    )
    # Vehicles come and go as the supply changes; at the end all leave.
    supplies = np.diff(counts, prepend=0)
    supplies[-1] -= counts[-1]
    flow.set_nodes_supplies(np.arange(len(times)), supplies)
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise RuntimeError(f"the flow of {len(starts)} round trips ended as {status}")
    return np.asarray(flow.flows(arcs) > 0)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which round trips are taken, by how many vehicles, and what is earned less their price."""

    taken: Bools
    vehicles: int
    value_ore: int


class Concave:
    """What k vehicles earn, for the k that are asked for: the k-th never more than the one before.

    `prices_ore` are ascending. `best` is exact: earnings less prices are concave in k.
    """

    def __init__(
        self, demand: Demand, values_ore: Ints, prices_ore: Ints, effort: WorkBudget
    ) -> None:
        self.demand, self.values_ore, self.effort = demand, values_ore, effort
        self.total_ore = np.concatenate([[0], np.cumsum(prices_ore)])
        self.most = min(len(prices_ore), demand.only(values_ore > 0).peak())
        self.known: dict[int, Chosen] = {0: Chosen(np.zeros(len(values_ore), dtype=np.bool_), 0, 0)}

    def with_vehicles(self, count: int) -> Chosen:
        """Return what so many vehicles take, and earn less their price."""
        if count not in self.known:
            always = Supply(np.array([_ALWAYS]), np.array([count]))
            taken = most_valuable(self.demand, self.values_ore, always, self.effort)
            earned = int(self.values_ore[taken].sum()) - int(self.total_ore[count])
            self.known[count] = Chosen(taken, count, earned)
        return self.known[count]

    def best(self) -> Chosen:
        """Return the best number of vehicles and what they take."""
        low, high = self._bracket()
        while low < high:
            middle = (low + high) // 2
            if self._rises(middle):
                low = middle + 1
            else:
                high = middle
        return self.with_vehicles(low)

    def _rises(self, count: int) -> bool:
        here, more = self.with_vehicles(count), self.with_vehicles(count + 1)
        return more.value_ore > here.value_ore

    def _bracket(self) -> tuple[int, int]:
        """Return bounds of the best number, found in strides from the most that can be out.

        Many vehicles are quick to try, since little is short then.
        """
        if not self.most or not self.total_ore[self.most]:
            return self.most, self.most
        high, stride = self.most, max(1, self.most // 16)
        while high > 0:
            lower = max(0, high - stride)
            if self._rises(lower):
                return lower + 1, high
            high, stride = lower, stride * 2
        return 0, 0
