"""The front between cost and CO2e: at several limits of CO2e, the cheapest fleet of all depots.

A price of CO2e makes the depots independent: any price gives a bound at every limit, and fleets
worth having. At a limit CP-SAT picks one fleet a depot, of all that were tried at any price.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ortools.sat.python import cp_model

from optimizer.composition.allocation_lp import Weights
from optimizer.composition.counts import DepotCounts, DepotFleet
from optimizer.work_budget import WorkBudget

_ORE: Final = 1000
CHEAPEST: Final = Weights(_ORE, 1)
"""The cheap end: CO2e only decides between fleets that cost the same (0.01 DKK/kg)."""

CLEANEST: Final = Weights(_ORE, 100 * _ORE)
"""The clean end: what saves a kilogram for more than 1,000 DKK is left (ours; 667 times the price
that municipalities calculate with, and beyond it whole vehicles would save grams)."""

_COMBINE_S: Final = 2.0

FrontCallback = Callable[[Weights, int], None]
"""Told the weights that are tried next, and what the cheapest fleet costs so far, in øre."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """A fleet of each depot, the limit of grams that it keeps, and its bound in øre."""

    fleets: tuple[DepotFleet, ...]
    limit_g: int
    bound_ore: int

    @property
    def ore(self) -> int:
        """Cost a year."""
        return sum(fleet.ore for fleet in self.fleets)

    @property
    def g(self) -> int:
        """Grams CO2e a year."""
        return sum(fleet.g for fleet in self.fleets)


def front(
    depots: Sequence[DepotCounts], points: int, effort: WorkBudget, report: FrontCallback
) -> tuple[FrontPoint, ...]:
    """Return up to so many points from the cheapest to the cleanest, none of them dominated.

    Each depot must have been tried at some counts that fit. Limits lie evenly between the ends.
    """
    tried: list[Weights] = []
    for number, weights in enumerate((CHEAPEST, CLEANEST)):
        report(weights, _total(depots, CHEAPEST)[0])
        _search(depots, weights, effort, points - number)
        tried.append(weights)
    low, high = (_total(depots, weights)[1] for weights in (CLEANEST, CHEAPEST))
    inner = [high + (low - high) * number // (points - 1) for number in range(1, points - 1)]
    for number, limit_g in enumerate(_middle_first(inner)):
        weights = _between(depots, tried, limit_g)
        if weights in tried or effort.over:
            continue
        report(weights, _total(depots, CHEAPEST)[0])
        _search(depots, weights, effort, len(inner) - number)
        tried.append(weights)
    front_points = [_point(depots, limit_g, tried) for limit_g in (high, *inner, low)]
    return _undominated([point for point in front_points if point is not None])


def _search(
    depots: Sequence[DepotCounts], weights: Weights, effort: WorkBudget, rounds: int
) -> None:
    """Search each depot with its part of what is left for so many rounds over all depots."""
    mine_s = max(0.0, effort.limit_s - effort.spent_s) / rounds
    for number, depot in enumerate(depots):
        if mine_s <= 0:
            return
        part = WorkBudget(mine_s / (len(depots) - number))
        depot.search(weights, part)
        effort.spent_s += part.spent_s
        mine_s -= part.spent_s


def _total(depots: Sequence[DepotCounts], weights: Weights) -> tuple[int, int]:
    """Return øre and grams of the depots' best at these weights."""
    best = [depot.best(weights) for depot in depots]
    return sum(fleet.ore for fleet in best), sum(fleet.g for fleet in best)


def _middle_first(limits: Sequence[int]) -> list[int]:
    if not limits:
        return []
    middle = len(limits) // 2
    return [limits[middle], *_middle_first(limits[:middle]), *_middle_first(limits[middle + 1 :])]


def _between(depots: Sequence[DepotCounts], tried: Sequence[Weights], limit_g: int) -> Weights:
    """Return the weights at which the fleets on both sides of a limit count the same."""
    totals = [_total(depots, weights) for weights in tried]
    dirtier = min(
        (total for total in totals if total[1] > limit_g), key=lambda total: total[1], default=None
    )
    cleaner = max(
        (total for total in totals if total[1] <= limit_g), key=lambda total: total[1], default=None
    )
    if dirtier is None or cleaner is None:
        return CHEAPEST
    price = _ORE * (cleaner[0] - dirtier[0]) / (dirtier[1] - cleaner[1])
    return Weights(_ORE, min(max(round(price), CHEAPEST.g), CLEANEST.g))


def _point(
    depots: Sequence[DepotCounts], limit_g: int, tried: Sequence[Weights]
) -> FrontPoint | None:
    """Return the cheapest combination within a limit; None where none was tried."""
    model = cp_model.CpModel()
    choices: list[list[tuple[DepotFleet, Any]]] = []
    for depot in depots:
        undominated: list[DepotFleet] = []
        for fleet in depot.fleets():
            if not undominated or fleet.g < undominated[-1].g:
                undominated.append(fleet)
        choices.append([(fleet, model.new_bool_var("")) for fleet in undominated])
        model.add_exactly_one(variable for _, variable in choices[-1])
    every = [choice for of_one in choices for choice in of_one]
    model.add(sum(fleet.g * variable for fleet, variable in every) <= limit_g)
    model.minimize(sum(fleet.ore * variable for fleet, variable in every))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.linearization_level = 2
    solver.parameters.max_deterministic_time = _COMBINE_S
    if solver.solve(model) not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        return None
    picked = tuple(
        next(fleet for fleet, variable in of_one if solver.value(variable)) for of_one in choices
    )
    bounds = [
        -((weights.g * limit_g - sum(depot.limit(weights) for depot in depots)) // weights.ore)
        for weights in tried
    ]
    return FrontPoint(picked, limit_g, max(0, *bounds))


def _undominated(points: Sequence[FrontPoint]) -> tuple[FrontPoint, ...]:
    """Return the points that none beats in both, from the cheapest to the cleanest."""
    front_points: list[FrontPoint] = []
    for point in sorted(points, key=lambda point: (point.ore, point.g)):
        if not front_points or point.g < front_points[-1].g:
            front_points.append(point)
    return tuple(front_points)
