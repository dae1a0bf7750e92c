"""Choosing sites for clients, to proven optimality: p-median and uncapacitated facility location.

Branch and bound on a Lagrangian relaxation. The root alternates between ascent, local search from
what the relaxation opens and from disturbed copies of the best sites, and settling every site that
cannot be, or must be, in anything cheaper; most problems end there. What is left is branched on,
least bound first. Everything is counted in deterministic time (`optimizer.work_budget`): two runs
with the same input, seed and limit give the same answer.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from optimizer.search import Search
from optimizer.sites.interchange import cost_of, greedy, interchange
from optimizer.sites.relaxation import Ascent, Grid, Pace, Relaxation, Rows, Sites
from optimizer.work_budget import Floats, Ints, WorkBudget
from schemas.plans.plan import SolverStatus

_ROOT: Final = Pace(iterations=50, step=1.5, stalls=20, least_step=2e-3)
_AGAIN_STEP: Final = 0.5
_AGAIN_WHEN_SETTLED: Final = 0.2
"""The ascent starts again when this share of the sites has been settled meanwhile."""

_NODE: Final = Pace(iterations=40, step=0.3, stalls=5, least_step=5e-3)
_DISTURBED: Final = 2
"""Disturbed copies of the best sites that are searched from in each round at the root."""


@dataclass(frozen=True, slots=True)
class Location:
    """Open sites, who serves whom, and what is proven about the cost.

    `sites` are row numbers, ascending; `serves` has the site of each client. `bound` is a proven
    lower bound of the cost. `time_limit_s` and `spent_s` are deterministic time.
    """

    status: SolverStatus
    sites: tuple[int, ...]
    serves: tuple[int, ...]
    objective: float
    bound: float
    seed: int
    time_limit_s: float
    spent_s: float
    nodes: int

    @property
    def gap(self) -> float:
        """The unproven share of the objective."""
        return 0.0 if not self.objective else (self.objective - self.bound) / self.objective


def p_median(
    costs: ArrayLike, p: int, search: Search, opening: ArrayLike | None = None
) -> Location:
    """Return p sites from which all clients are served at the least total cost.

    `costs` is clients x sites, as a distance matrix with demand multiplied in; `opening`, where
    sites are not alike, has the price of each. Costs must be finite and not negative. Raises
    `ValueError` for others, for shapes that differ, and for a p that cannot be.
    """
    matrix = _checked(costs)
    if not 1 <= p <= len(matrix):
        raise ValueError(f"p = {p} of {len(matrix)} sites; give a p from 1 to {len(matrix)}")
    prices = np.zeros(len(matrix)) if opening is None else _checked_prices(opening, len(matrix))
    return _Solver(matrix, prices, p, search).solve()


def facility_location(costs: ArrayLike, opening: ArrayLike, search: Search) -> Location:
    """Return the sites whose opening and serving all clients costs least.

    `costs` is clients x sites, each client's whole demand; `opening` has the price of each site.
    Raises `ValueError` for costs that are negative or not finite, and for shapes that differ.
    """
    matrix = _checked(costs)
    return _Solver(matrix, _checked_prices(opening, len(matrix)), None, search).solve()


def _checked_prices(opening: ArrayLike, sites: int) -> Floats:
    prices = np.asarray(opening, dtype=np.float64)
    if prices.shape != (sites,):
        raise ValueError(
            f"opening costs of shape {prices.shape} for {sites} sites; give one a site"
        )
    _check_values("opening costs", prices)
    return prices


def _checked(costs: ArrayLike) -> Floats:
    """Return the costs as sites x clients, which is how they are summed."""
    matrix = np.asarray(costs, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:  # noqa: PLR2004 - a matrix
        raise ValueError(f"costs of shape {matrix.shape}; give clients x sites, at least one each")
    _check_values("costs", matrix)
    return np.ascontiguousarray(matrix.T)


def _check_values(what: str, values: Floats) -> None:
    wrong = ~np.isfinite(values) | (values < 0)
    if wrong.any():
        raise ValueError(
            f"{what} have {values[wrong].flat[0]}; give finite numbers from 0, and a large one "
            "where a site cannot serve a client"
        )


@dataclass(order=True, slots=True)
class _Node:
    bound: float
    number: int
    sites: Sites = field(compare=False)
    relaxed: Relaxation = field(compare=False)


class _Solver:
    """One problem while it is solved: the best sites so far, and what is still open."""

    def __init__(self, costs: Floats, opening: Floats, count: int | None, search: Search) -> None:
        self.costs, self.opening, self.count, self.search = costs, opening, count, search
        self.effort = WorkBudget(search.time_limit_s)
        whole = bool(np.all(costs == np.rint(costs)) and np.all(opening == np.rint(opening)))
        # Above 2^53 whole numbers are no longer all floats, and sums are not exact.
        self.grid = Grid(1.0 if whole and costs.max(axis=0).sum() < 2**52 else 0.0)
        self.ascent = Ascent(count, self.grid, self.effort)
        self.rng = np.random.default_rng(search.seed)
        self.best = self._searched(greedy(costs, opening, count, self.effort))
        self.cost = cost_of(costs, opening, self.best)
        self.nodes = 0
        self.numbers = 0

    def _searched(self, start: Ints, among: Ints | None = None) -> Ints:
        """Return what local search makes of sites, with no others than those of `among`."""
        keep_count = self.count is not None
        if among is None:
            return interchange(self.costs, self.opening, start, self.effort, keep_count=keep_count)
        costs, opening = self.costs[among], self.opening[among]
        found = interchange(costs, opening, start, self.effort, keep_count=keep_count)
        return among[found]

    def _rows(self, sites: Sites) -> Rows:
        left = sites.all
        return Rows(self.costs[left], self.opening[left], len(sites.opened))

    def _offer(self, sites: Ints) -> None:
        cost = cost_of(self.costs, self.opening, sites)
        if cost < self.cost:
            self.best, self.cost = sites, cost

    def solve(self) -> Location:
        """Return the best sites at the end of the search or of the budget."""
        root = self._root()
        bound = self._branch(root)
        proven = self.grid.proves(bound, self.cost)
        bound = self.cost if proven else min(self.cost, max(0.0, self.grid.lifted(bound)))
        sites = np.sort(self.best)
        serves = sites[self.costs[sites].argmin(axis=0)]
        return Location(
            status=SolverStatus.OPTIMAL if proven else SolverStatus.FEASIBLE,
            sites=tuple(sites.tolist()),
            serves=tuple(serves.tolist()),
            objective=self.cost,
            bound=bound,
            seed=self.search.seed,
            time_limit_s=self.search.time_limit_s,
            spent_s=self.effort.spent_s,
            nodes=self.nodes,
        )

    def _root(self) -> _Node:
        """Climb, search and settle in turns until the bound stands still."""
        everything = np.arange(len(self.costs))
        sites = Sites(np.empty(0, dtype=np.int64), everything)
        prices = self.costs[self.best].min(axis=0)
        zeros = np.zeros(len(self.costs))
        # Serving each client from its nearest site is a bound that needs no search.
        bound = float(self.costs.min(axis=0).sum())
        relaxed = Relaxation(bound, prices, zeros, zeros, _ROOT.step)
        settled = 0.0
        tried: set[bytes] = set()
        while not self.effort.over:
            pace = Pace(_ROOT.iterations, relaxed.step, _ROOT.stalls, _ROOT.least_step)
            relaxed = self.ascent.climb(self._rows(sites), relaxed, self.cost, pace)
            bound = max(bound, relaxed.bound)
            if self.grid.proves(bound, self.cost):
                break
            self._search_around(sites, relaxed, tried)
            before = len(sites.free)
            sites, relaxed = self._settle(sites, relaxed)
            settled = max(settled, 1 - len(sites.free) / before) if before else 1.0
            if self._decided(sites):
                break
            if relaxed.step < _ROOT.least_step:
                if settled < _AGAIN_WHEN_SETTLED:
                    break
                relaxed = Relaxation(
                    relaxed.bound, relaxed.prices, relaxed.reduced, relaxed.share, _AGAIN_STEP
                )
                settled = 0.0
        return _Node(bound, 0, sites, relaxed)

    def _search_around(self, sites: Sites, relaxed: Relaxation, tried: set[bytes]) -> None:
        """Search from what the relaxation opens, and from disturbed copies of the best."""
        rows = sites.all
        starts = [np.sort(relaxed.chosen(len(sites.opened), self.count))]
        place = np.full(len(self.costs), -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        present = place[self.best]
        if (present >= 0).all():
            closed = np.setdiff1d(np.arange(len(rows)), present)
            many = min(len(closed), max(1, min(len(present) // 3, 8)))
            for _ in range(_DISTURBED if len(closed) else 0):
                disturbed = present.copy()
                out = self.rng.choice(len(present), min(many, len(present)), replace=False)
                disturbed[out] = self.rng.choice(closed, len(out), replace=False)
                starts.append(np.sort(disturbed))
        for start in starts:
            key = rows[start].tobytes()
            if key not in tried and len(start):
                tried.add(key)
                self._offer(self._searched(start, rows))

    def _settle(self, sites: Sites, relaxed: Relaxation) -> tuple[Sites, Relaxation]:
        """Return what is left to decide of all that is cheaper than the best so far."""
        opened, closed = self.ascent.settled(sites, relaxed, self.cost)
        if not (opened.any() or closed.any()):
            return sites, relaxed
        keep = ~(opened | closed)
        left = Sites(np.concatenate([sites.opened, sites.free[opened]]), sites.free[keep])
        first = len(sites.opened)
        order = np.concatenate(
            [np.arange(first), first + np.flatnonzero(opened), first + np.flatnonzero(keep)]
        )
        return left, Relaxation(
            relaxed.bound,
            relaxed.prices,
            relaxed.reduced[order],
            relaxed.share[order],
            relaxed.step,
        )

    def _decided(self, sites: Sites) -> bool:
        """Return whether at most one choice is left, which is offered then."""
        if self.count is None:
            if len(sites.free):
                return False
            if len(sites.opened):
                self._offer(sites.opened)
            return True
        left = self.count - len(sites.opened)
        if 0 < left < len(sites.free):
            return False
        only = np.concatenate([sites.opened, sites.free[: max(left, 0)]])
        if len(only) == self.count:
            self._offer(only)
        return True

    def _branch(self, root: _Node) -> float:
        """Return the bound when all is proven, or at the end of the budget."""
        waiting = [root]
        while waiting:
            node = heapq.heappop(waiting)
            if self.grid.proves(node.bound, self.cost):
                return node.bound
            if self.effort.over:
                return node.bound
            self.nodes += 1
            sites, relaxed = self._settle(node.sites, node.relaxed)
            if self._decided(sites):
                continue
            for child in self._halves(sites, relaxed):
                self._bound(child, node.bound, relaxed, waiting)
        return self.cost

    def _halves(self, sites: Sites, relaxed: Relaxation) -> list[tuple[Sites, Ints]]:
        """Return the node with a site in and with it out, and which rows they keep."""
        first = len(sites.opened)
        site = int(np.abs(relaxed.share[first:] - 0.5).argmin())
        rest = np.delete(sites.free, site)
        rows = np.delete(np.arange(first + len(sites.free)), first + site)
        return [
            (
                Sites(np.append(sites.opened, sites.free[site]), rest),
                np.insert(rows, first, first + site),
            ),
            (Sites(sites.opened, rest), rows),
        ]

    def _bound(
        self,
        child: tuple[Sites, Ints],
        least: float,
        parent: Relaxation,
        waiting: list[_Node],
    ) -> None:
        """Bound a child, offer what its relaxation opens, and keep it unless it is proven."""
        sites, kept = child
        if self._decided(sites):
            return
        start = Relaxation(
            -np.inf, parent.prices, parent.reduced[kept], parent.share[kept], _NODE.step
        )
        first = len(sites.opened)
        relaxed = self.ascent.climb(self._rows(sites), start, self.cost, _NODE)
        chosen = relaxed.chosen(first, self.count)
        if len(chosen):
            self._offer(sites.all[chosen])
        bound = max(least, relaxed.bound)
        if not self.grid.proves(bound, self.cost):
            self.numbers += 1
            heapq.heappush(waiting, _Node(bound, self.numbers, sites, relaxed))
