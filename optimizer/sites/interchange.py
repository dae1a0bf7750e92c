"""Local search for sites: open one, close one or swap two while that saves, best move first.

The savings of all swaps come from each client's nearest and second nearest open site, as in the
fast interchange of Whitaker (1983), here for all pairs at once.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from optimizer.work_budget import Floats, Ints, WorkBudget

_PASSES: Final = 6
_LEAST_SAVING: Final = 1e-9


def cost_of(costs: Floats, opening: Floats, sites: Ints) -> float:
    """Return what serving every client from its nearest of these sites costs."""
    return float(costs[sites].min(axis=0).sum() + opening[sites].sum())


def greedy(costs: Floats, opening: Floats, count: int | None, effort: WorkBudget) -> Ints:
    """Return sites opened one by one, each the one that saves most.

    `costs` is sites x clients, `opening` the price of each site; `count` sites, or as many as save.
    """
    first = int((costs.sum(axis=1) + opening).argmin())
    chosen = [first]
    nearest = costs[first].copy()
    while count is None or len(chosen) < count:
        effort.spend(costs.size)
        saves = np.maximum(nearest - costs, 0).sum(axis=1) - opening
        saves[chosen] = -np.inf
        best = int(saves.argmax())
        if count is None and saves[best] <= 0:
            break
        chosen.append(best)
        np.minimum(nearest, costs[best], out=nearest)
    return np.array(chosen, dtype=np.int64)


def interchange(
    costs: Floats, opening: Floats, start: Ints, effort: WorkBudget, *, keep_count: bool
) -> Ints:
    """Return sites that no swap improves; without `keep_count`, no opening or closing either."""
    sites = start.copy()
    tolerance = _LEAST_SAVING * max(1.0, cost_of(costs, opening, sites))
    while not effort.over:
        effort.spend(_PASSES * costs.size)
        gain, loss, swap = _savings(costs, opening, sites)
        entering, leaving = divmod(int(swap.argmax()), len(sites))
        best = swap[entering, leaving]
        if not keep_count:
            opened, closed = int(gain.argmax()), int(loss.argmin())
            if gain[opened] > max(best, -loss[closed], tolerance):
                sites = np.append(sites, opened)
                continue
            if len(sites) > 1 and -loss[closed] > max(best, tolerance):
                sites = np.delete(sites, closed)
                continue
        if best <= tolerance:
            break
        sites[leaving] = entering
    return sites


def _savings(costs: Floats, opening: Floats, sites: Ints) -> tuple[Floats, Floats, Floats]:
    """Return what each opening saves, what each closing costs, and what each swap saves."""
    clients = np.arange(costs.shape[1])
    open_costs = costs[sites]
    serving = open_costs.argmin(axis=0)
    nearest = open_costs[serving, clients]
    open_costs[serving, clients] = np.inf
    second = open_costs.min(axis=0)

    # Clients in the order of the site that serves them: sums by site are sums of slices.
    order = serving.argsort(kind="stable")
    counts = np.bincount(serving, minlength=len(sites))
    serves = counts > 0
    starts = (np.cumsum(counts) - counts)[serves]

    extra = np.minimum(second, costs)
    extra -= nearest
    gain = -np.minimum(extra, 0).sum(axis=1) - opening
    np.maximum(extra, 0, out=extra)
    net = np.zeros((len(costs), len(sites)))
    net[:, serves] = np.add.reduceat(extra[:, order], starts, axis=1)
    loss = np.zeros(len(sites))
    loss[serves] = np.add.reduceat((second - nearest)[order], starts)
    loss -= opening[sites]

    swap = gain[:, None] - net + opening[sites]
    gain[sites] = -np.inf
    swap[sites] = -np.inf
    return gain, loss, swap
