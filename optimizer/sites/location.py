"""Choosing sites for clients, to proven optimality: p-median and uncapacitated facility location.

Benders' decomposition (`optimizer.sites.benders`): greedy sites first, then the linear relaxation,
whose rounded sites are improved by swaps, then SCIP on what is left. Everything is counted in
deterministic time (`optimizer.work_budget`): two runs with the same input, seed and limit give the
same answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from optimizer.search import Search
from optimizer.sites.benders import Master, RelaxedLocation
from optimizer.work_budget import Floats, Ints, WorkBudget
from schemas.plans.plan import SolverStatus

_SURE: Final = 1e-9
_WHOLE: Final = 1e-6
"""So little above a whole cost a bound is the error of floats."""
_PROVEN: Final = 1e-9
"""Of the cost: so near the bound, sites are optimal."""


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
    rounds: int
    """How often the solver was asked."""

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
    sites = matrix.shape[1]
    if not 1 <= p <= sites:
        raise ValueError(f"p = {p} of {sites} sites; give a p from 1 to {sites}")
    prices = np.zeros(sites) if opening is None else _checked_prices(opening, sites)
    return _Search(matrix, prices, p, search).solve()


def facility_location(costs: ArrayLike, opening: ArrayLike, search: Search) -> Location:
    """Return the sites whose opening and serving all clients costs least.

    `costs` is clients x sites, each client's whole demand; `opening` has the price of each site.
    Raises `ValueError` for costs that are negative or not finite, and for shapes that differ.
    """
    matrix = _checked(costs)
    return _Search(matrix, _checked_prices(opening, matrix.shape[1]), None, search).solve()


def _checked_prices(opening: ArrayLike, sites: int) -> Floats:
    prices = np.asarray(opening, dtype=np.float64)
    if prices.shape != (sites,):
        raise ValueError(
            f"opening costs of shape {prices.shape} for {sites} sites; give one a site"
        )
    _check_values("opening costs", prices)
    return prices


def _checked(costs: ArrayLike) -> Floats:
    """Return the costs, clients x sites."""
    matrix = np.asarray(costs, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:  # noqa: PLR2004 - a matrix
        raise ValueError(f"costs of shape {matrix.shape}; give clients x sites, at least one each")
    _check_values("costs", matrix)
    return matrix


def _check_values(what: str, values: Floats) -> None:
    wrong = ~np.isfinite(values) | (values < 0)
    if wrong.any():
        raise ValueError(
            f"{what} have {values[wrong].flat[0]}; give finite numbers from 0, and a large one "
            "where a site cannot serve a client"
        )


class _Search:
    """One problem while it is solved: the best sites so far, and the least that any can cost."""

    def __init__(self, costs: Floats, opening: Floats, count: int | None, search: Search) -> None:
        self.costs, self.opening, self.count, self.search = costs, opening, count, search
        self.effort = WorkBudget(search.time_limit_s)
        # Above 2^53 whole numbers are no longer all floats, and sums are not exact.
        self.whole = bool(
            np.all(costs == np.rint(costs))
            and np.all(opening == np.rint(opening))
            and costs.max(axis=1).sum() + opening.sum() < 2**52
        )
        self.best = self._greedy()
        self.cost = self._cost(self.best)
        # Serving each client from its nearest site is a bound that needs no search.
        self.bound = float(costs.min(axis=1).sum())
        self.rounds = 0

    def solve(self) -> Location:
        """Return the best sites at the end of the search or of the budget."""
        if not self.effort.over and not self._proves(self.bound):
            self._search(
                Master(self.costs, self.opening, self.count, self.search.seed, self.effort)
            )
        proven = self._proves(self.bound)
        sites = np.sort(self.best)
        return Location(
            status=SolverStatus.OPTIMAL if proven else SolverStatus.FEASIBLE,
            sites=tuple(sites.tolist()),
            serves=tuple(sites[self.costs[:, sites].argmin(axis=1)].tolist()),
            objective=self.cost,
            bound=self.cost if proven else self._lifted(self.bound),
            seed=self.search.seed,
            time_limit_s=self.search.time_limit_s,
            spent_s=self.effort.spent_s,
            rounds=self.rounds,
        )

    def _search(self, master: Master) -> None:
        """Cut and fix until the relaxation is tight, then until SCIP's sites are."""
        while not self._over():
            self.rounds += 1
            relaxed = master.relaxed()
            if relaxed is None:
                self.bound = self.cost
                return
            self.bound = max(self.bound, relaxed.bound)
            count = self.count or max(1, round(relaxed.shares.sum()))
            self._offer(np.argsort(-relaxed.shares, kind="stable")[:count])
            if relaxed.is_tight:
                self._improve(np.flatnonzero(relaxed.shares > 0))
            self._fix_by_reduced_cost(master, relaxed)
            if relaxed.is_tight:
                break
        while not self._over():
            self.rounds += 1
            whole = master.whole()
            if whole is None:
                self.bound = self.cost
                return
            bound, met, is_tight = whole
            for sites in met:
                self._offer(sites)
            self.bound = self.cost if is_tight else max(self.bound, bound)

    def _over(self) -> bool:
        return self.effort.over or self._proves(self.bound)

    def _fix_by_reduced_cost(self, master: Master, relaxed: RelaxedLocation) -> None:
        """Fix each site without which, or with which, nothing is cheaper than the best."""
        there, absent = relaxed.shares > 1 - _SURE, relaxed.shares < _SURE
        lifted = np.array([self._proves(relaxed.bound + abs(value)) for value in relaxed.reduced])
        master.fix(np.flatnonzero(there & lifted), np.flatnonzero(absent & lifted))

    def _proves(self, bound: float) -> bool:
        """Return whether nothing cheaper than the best is left above a bound."""
        return self._lifted(bound) >= self.cost - _PROVEN * max(1.0, self.cost)

    def _lifted(self, bound: float) -> float:
        """Return the least possible cost that is not below a bound."""
        return float(np.ceil(bound - _WHOLE)) if self.whole else bound

    def _cost(self, sites: Ints) -> float:
        return float(self.costs[:, sites].min(axis=1).sum() + self.opening[sites].sum())

    def _offer(self, sites: Ints) -> None:
        cost = self._cost(sites)
        if cost < self.cost:
            self.best, self.cost = sites, cost

    def _greedy(self) -> Ints:
        """Return sites opened one by one, each the one that saves most."""
        nearest = np.full(len(self.costs), np.inf)
        chosen: list[int] = []
        while self.count is None or len(chosen) < self.count:
            self.effort.spend(self.costs.size)
            cost = np.minimum(nearest[:, None], self.costs).sum(axis=0) + self.opening
            cost[chosen] = np.inf
            best = int(cost.argmin())
            if self.count is None and chosen and cost[best] >= nearest.sum():
                break
            chosen.append(best)
            nearest = np.minimum(nearest, self.costs[:, best])
        return np.array(chosen, dtype=np.int64)

    def _improve(self, among: Ints) -> None:
        """Swap a site of the best for one of others, as long as that saves."""
        before = np.inf
        while self.cost < before and not self.effort.over:
            before = self.cost
            for leaving in self.best.tolist():
                entering = np.setdiff1d(among, self.best)
                if not len(entering):
                    return
                self.effort.spend(2 * len(self.costs) * (len(entering) + len(self.best)))
                others = self.best[self.best != leaving]
                nearest = self.costs[:, others].min(axis=1, initial=np.inf)
                cost = np.minimum(nearest[:, None], self.costs[:, entering]).sum(axis=0)
                swapped = cost + self.opening[entering]
                self._offer(np.append(others, entering[swapped.argmin()]))
