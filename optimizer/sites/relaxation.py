"""A lower bound for choosing sites: each client may be served by none or several, at a price.

The Lagrangian relaxation of Cornuejols, Fisher and Nemhauser (1977): with a price for each client,
every site is worth what it saves on the clients that it serves below their price, and the best
sites are those of the least reduced cost. Any prices give a valid bound; the ascent looks for good
ones by subgradients with momentum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from optimizer.work_budget import Bools, Floats, Ints, WorkBudget

_MOMENTUM: Final = 0.7
"""Without it the last unit of the bound took ten times as many steps, or was not reached."""

_PASSES: Final = 3
_PROGRESS: Final = 1e-5
_MEMORY: Final = 0.95


@dataclass(frozen=True, slots=True)
class Grid:
    """What costs are multiples of: a bound may be rounded up to the next one."""

    step: float
    """0 when they are multiples of nothing known."""

    def proves(self, bound: float, target: float) -> bool:
        """Return whether nothing cheaper than the target is left above a bound."""
        return self.lifted(bound) >= target - 1e-9 * max(1.0, abs(target))

    def lifted(self, bound: float) -> float:
        """Return the least possible cost that is not below a bound."""
        if not self.step:
            return bound
        return float(np.ceil(bound / self.step - 1e-6) * self.step)


@dataclass(frozen=True, slots=True)
class Sites:
    """What is left to decide: `opened` sites are in, `free` ones open, all others are out."""

    opened: Ints
    free: Ints

    @property
    def all(self) -> Ints:
        """The opened ones, then the free ones."""
        return np.concatenate([self.opened, self.free])


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A bound, the prices of the clients that gave it and the reduced costs of the sites.

    `reduced` and `share` are in the order of `Sites.all`; `share` tells how often of late a site
    was among the best. `step` is the length at which the ascent stopped.
    """

    bound: float
    prices: Floats
    reduced: Floats
    share: Floats
    step: float

    def chosen(self, opened: int, count: int | None) -> Ints:
        """Return positions of the sites that the relaxation opens."""
        free = _best(self.reduced[opened:], None if count is None else count - opened)
        if count is None and not opened and not len(free):
            free = np.array([self.reduced.argmin()])
        return np.concatenate([np.arange(opened), free + opened])


@dataclass(frozen=True, slots=True)
class Rows:
    """Costs, sites x clients, and opening costs of the sites left, the `opened` ones first."""

    costs: Floats
    opening: Floats
    opened: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How long an ascent tries: iterations, the first step, and when a step is halved or enough."""

    iterations: int
    step: float
    stalls: int
    least_step: float


def _best(reduced: Floats, count: int | None) -> Ints:
    """Return which of the free sites the relaxation opens."""
    if count is None:
        return np.flatnonzero(reduced < 0)
    if count >= len(reduced):
        return np.arange(len(reduced))
    if count <= 0:
        return np.empty(0, dtype=np.int64)
    return reduced.argpartition(count - 1)[:count]


@dataclass(frozen=True, slots=True)
class Ascent:
    """What stays the same in all ascents of one problem."""

    count: int | None
    grid: Grid
    effort: WorkBudget

    def climb(self, rows: Rows, start: Relaxation, target: float, pace: Pace) -> Relaxation:
        """Return the best bound found, from the prices of `start`.

        Ends early when the bound proves that nothing cheaper than the target is there.
        """
        costs, opened = rows.costs, rows.opened
        prices, step = start.prices, pace.step
        share = start.share.copy()
        best = Relaxation(-np.inf, prices, start.reduced, share, step)
        below = np.empty_like(costs)
        direction = np.zeros(costs.shape[1])
        stalled = 0
        for _ in range(pace.iterations):
            self.effort.spend(_PASSES * costs.size)
            np.subtract(costs, prices, out=below)
            np.minimum(below, 0, out=below)
            reduced = below.sum(axis=1) + rows.opening
            here = Relaxation(0.0, prices, reduced, share, step)
            sites = here.chosen(opened, self.count)
            bound = float(prices.sum() + reduced[sites].sum())
            stalled += 1
            if bound > best.bound:
                if bound > best.bound + _PROGRESS * abs(target):
                    stalled = 0
                best = Relaxation(bound, prices, reduced, share, step)
                if self.grid.proves(bound, target):
                    break
            share *= _MEMORY
            share[sites] += 1 - _MEMORY
            if stalled >= pace.stalls:
                step /= 2
                stalled = 0
                if step < pace.least_step:
                    break
            direction *= _MOMENTUM
            direction += 1.0 - np.count_nonzero(below[sites], axis=0)
            length = float(direction @ direction)
            if not length:
                break
            prices = prices + step * (target - bound) / length * direction
        return Relaxation(best.bound, best.prices, best.reduced, share, step)

    def settled(self, sites: Sites, relaxed: Relaxation, target: float) -> tuple[Bools, Bools]:
        """Return which free sites are in, and which out, of all that is cheaper than the target."""
        reduced = relaxed.reduced[len(sites.opened) :]
        if self.count is None:
            # The bound may count the least bad site where none pays; leave that out here.
            sure = relaxed.prices.sum() + relaxed.reduced[: len(sites.opened)].sum()
            sure += np.minimum(reduced, 0).sum()
            without, with_it = sure - np.minimum(reduced, 0), sure + np.maximum(reduced, 0)
            return self._beyond(without, target) & (reduced < 0), self._beyond(with_it, target) & (
                reduced > 0
            )
        left = self.count - len(sites.opened)
        if not 0 < left < len(reduced):
            none = np.zeros(len(reduced), dtype=np.bool_)
            return none, none
        ranked = np.partition(reduced, (left - 1, left))
        last_in, first_out = ranked[left - 1], ranked[left]
        without = relaxed.bound + first_out - reduced
        with_it = relaxed.bound + reduced - last_in
        return (
            self._beyond(without, target) & (reduced < first_out),
            self._beyond(with_it, target) & (reduced > last_in),
        )

    def _beyond(self, bounds: Floats, target: float) -> Bools:
        if self.grid.step:
            bounds = np.ceil(bounds / self.grid.step - 1e-6) * self.grid.step
        return bounds >= target - 1e-9 * max(1.0, abs(target))
