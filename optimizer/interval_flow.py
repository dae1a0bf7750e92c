"""The most valuable round trips that a number of like vehicles can take, by min-cost flow.

Round trips are arcs in time, and vehicles flow along: standing is free, a round trip earns its
value once. Without windows this is the maximum-weight k-colourable subgraph of an interval graph
(Carlisle and Lloyd 1995; Arkin and Silverberg 1987), and the flow is exact. With windows it is a
relaxation: standing vehicles may change places where a window ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ortools.graph.python.min_cost_flow import SimpleMinCostFlow

from optimizer.effort import Bools, Effort, Ints

_CELLS_PER_ARC: Final = 4_000
"""A flow costs some eight microseconds for each arc (measured)."""


@dataclass(frozen=True, slots=True)
class Window:
    """So many vehicles that can be had from an instant until another, at a price if used at all.

    Instants in microseconds; at the end the last round trip's changeover is over.
    """

    start_us: int
    end_us: int
    price_ore: int
    count: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which round trips are taken, and what they earn less the price of the vehicles used."""

    taken: Bools
    value_ore: int
    prices_ore: int
    """Of the vehicles used, which is deducted from the value."""


def most_valuable(
    starts_us: Ints, frees_us: Ints, values_ore: Ints, windows: Sequence[Window], effort: Effort
) -> Chosen:
    """Return the round trips of the greatest value less the price of the vehicles.

    A round trip occupies a vehicle from its start until it is free again. Those of no value are
    not taken. Raises `RuntimeError` when the flow is not solved.
    """
    taken = np.zeros(len(starts_us), dtype=np.bool_)
    worth = np.flatnonzero(values_ore > 0)
    effort.spend(_CELLS_PER_ARC * (len(worth) * 2 + len(windows) * 2))
    if not len(worth) or not windows:
        return Chosen(taken, 0, 0)
    opens = np.array([one.start_us for one in windows])
    closes = np.array([one.end_us for one in windows])
    prices = np.array([one.price_ore for one in windows])
    counts = np.array([one.count for one in windows])
    last = max(int(closes.max()), int(frees_us[worth].max()))
    times = np.unique(np.concatenate([starts_us[worth], opens, closes, [last]]))
    doors = np.arange(len(windows)) + len(times)
    begin, end = np.searchsorted(times, opens), np.searchsorted(times, closes)

    flow = SimpleMinCostFlow()
    chain = np.arange(len(times) - 1)
    everything = np.full(len(chain), counts.sum())
    flow.add_arcs_with_capacity_and_unit_cost(chain, chain + 1, everything, chain * 0)
    trips = flow.add_arcs_with_capacity_and_unit_cost(
        np.searchsorted(times, starts_us[worth]),
        np.searchsorted(times, frees_us[worth]),
        np.ones(len(worth), dtype=np.int64),
        -values_ore[worth],
    )
    flow.add_arcs_with_capacity_and_unit_cost(doors, begin, counts, prices)
    flow.add_arcs_with_capacity_and_unit_cost(doors, end, counts, prices * 0)
    supply = np.zeros(len(times) + len(windows), dtype=np.int64)
    supply[doors] = counts
    np.subtract.at(supply, end, counts)
    flow.set_nodes_supplies(np.arange(len(supply)), supply)
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise RuntimeError(f"the flow of {len(worth)} round trips ended as {status}")
    taken[worth] = flow.flows(trips) > 0
    value_ore = -int(flow.optimal_cost())
    return Chosen(taken, value_ore, int(values_ore[taken].sum()) - value_ore)
