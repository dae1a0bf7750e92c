"""How many of each kind at one depot, for any price of CO2e: prices are kept as cuts.

What driving and own cars cost never falls faster with a further vehicle than its price says, so
each allotment's prices bound it for all counts (Benders), and, as round trips are priced anew,
for all weights. The counts that the cuts think best are allotted next, until none is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from ortools.sat.python import cp_model

from optimizer.composition.allocation_lp import Allocation, AllocationModel, Prices, Weights
from optimizer.composition.demand import DepotDemand
from optimizer.costs import ore
from optimizer.work_budget import WorkBudget

CLOSE_ENOUGH: Final = 2e-4
"""A depot whose gap is so small is left: the relaxation of a spell itself may be so far off."""

_MASTER_S: Final = 0.05
_LIMIT_S: Final = 1.0
_TURNS: Final = 60


@dataclass(frozen=True, slots=True)
class DepotFleet:
    """Counts of a depot, how its round trips are allotted, and a year's øre and grams."""

    counts: tuple[int, ...]
    allotment: Allocation
    ore: int

    @property
    def g(self) -> int:
        """Grams CO2e a year."""
        return self.allotment.g

    def weighed(self, weights: Weights) -> int:
        """Return what it counts."""
        return weights.ore * self.ore + weights.g * self.g


class DepotCounts:
    """A depot: fleets that were tried, and cuts that hold for any other."""

    def __init__(self, demand: DepotDemand) -> None:
        self.demand = demand
        self.allotter = AllocationModel(demand)
        self.peaks = self.allotter.peaks
        self._tried: dict[tuple[tuple[int, ...], Weights, bool], DepotFleet] = {}
        self._cuts: list[Prices] = []
        self._limits: dict[Weights, tuple[int, int]] = {}

    def fits(self, counts: Sequence[int]) -> bool:
        """Return whether the depot has places for so many."""
        return int(np.array(counts)[self.demand.motor].sum()) <= self.demand.depot.capacity

    def try_counts(
        self, counts: Sequence[int], weights: Weights, effort: WorkBudget, *, close: bool = False
    ) -> DepotFleet:
        """Allot at these counts, closely or nearly so, keep the cut, and return the fleet."""
        key = tuple(counts), weights, close
        if key not in self._tried:
            allotment, prices = self.allotter.allot(counts, weights, effort, close=close)
            if not close:
                self._cuts.append(prices)
            total_ore = self.demand.fleet_ore(counts) + allotment.drive_ore
            self._tried[key] = DepotFleet(tuple(counts), allotment, total_ore)
        return self._tried[key]

    def fleets(self) -> list[DepotFleet]:
        """Return the fleets that were tried and have places, the cheapest first."""
        fleets = [fleet for fleet in self._tried.values() if self.fits(fleet.counts)]
        return sorted(fleets, key=lambda fleet: (fleet.ore, fleet.g, fleet.counts))

    def best(self, weights: Weights) -> DepotFleet:
        """Return the best fleet that was tried."""
        return min(self.fleets(), key=lambda fleet: fleet.weighed(weights))

    def search(self, weights: Weights, effort: WorkBudget) -> None:
        """Try counts until the bound is met, nearly, or the effort is over."""
        for _ in range(_TURNS):
            limit, counts = self._master(weights, effort, _MASTER_S)
            best = self.best(weights).weighed(weights)
            is_known = (counts, weights, False) in self._tried
            if is_known or effort.over or best - limit <= CLOSE_ENOUGH * best:
                break
            self.try_counts(counts, weights, effort)
        if not effort.over:
            self.try_counts(self.best(weights).counts, weights, effort, close=True)

    def limit(self, weights: Weights) -> int:
        """Return what no fleet of the depot counts less than."""
        cuts, value = self._limits.get(weights, (0, 0))
        if cuts < len(self._cuts):
            bound, _ = self._master(weights, WorkBudget(_LIMIT_S), _LIMIT_S)
            value = max(value, bound)
            self._limits[weights] = len(self._cuts), value
        return value

    def _master(
        self, weights: Weights, effort: WorkBudget, limit_s: float
    ) -> tuple[int, tuple[int, ...]]:
        """Return the least that the cuts leave possible, and its counts."""
        model = cp_model.CpModel()
        counts: list[Any] = [
            model.new_int_var(0, peak, kind.kind_id)
            for kind, peak in zip(self.demand.kinds, self.peaks, strict=True)
        ]
        motor = [count for count, parks in zip(counts, self.demand.motor, strict=True) if parks]
        model.add(sum(motor) <= self.demand.depot.capacity)
        electric = [
            count for count, plugs in zip(counts, self.demand.electric, strict=True) if plugs
        ]
        lacking = model.new_int_var(0, sum(self.peaks), "chargers that lack")
        model.add(lacking >= sum(electric) - self.demand.depot.charger_count)
        rest = model.new_int_var(0, self._most(weights), "driving and own cars")
        for cut in self._cuts:
            worth = sum(int(p) * count for p, count in zip(cut.vehicle, counts, strict=True))
            model.add(rest + worth >= cut.constant(self.demand, weights))
        fleet = sum(
            int(p) * count for p, count in zip(self.demand.vehicle_ore, counts, strict=True)
        )
        fleet += ore(self.demand.costs.charger_dkk_per_year) * lacking
        model.minimize(weights.ore * fleet + rest)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.linearization_level = 2
        # Few counts, large numbers: other searches have run for seconds, one without an end.
        solver.parameters.optimize_with_lb_tree_search = True
        solver.parameters.max_deterministic_time = limit_s
        status = solver.solve(model)
        effort.spent_s += solver.response_proto.deterministic_time
        limit = max(0, math.ceil(solver.best_objective_bound - 1))
        if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
            return limit, (0,) * len(counts)
        return limit, tuple(solver.value(count) for count in counts)

    def _most(self, weights: Weights) -> int:
        own = weights.ore * self.demand.own_ore.sum() + weights.g * self.demand.own_g.sum()
        return int(own)
