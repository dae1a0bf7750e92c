"""Our placement of 2,000 vehicles at 100 depots for twelve weeks, beside two that need no solver.

Each figure comes from a process of its own, so that its peak of memory is its own: from the inputs
in memory to the finished plan, with and without lending. The rivals are the placement as it stands,
and a greedy one that sends each vehicle in turn where that saves most, if it saves; their gaps are
measured against our bound without lending.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.placement_fleet import MONDAY, placement_fleet
from optimizer.costs import ORE_PER_DKK, missing_charger_ore
from optimizer.demand import class_of
from optimizer.placement.cost_breakdown import placement_cost
from optimizer.placement.problem import PlacementProblem, needs_charger, problem_of
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from schemas.fleet.costs import Costs
from schemas.fleet.policy import Fetching, PlacementPolicy
from schemas.fleet.vehicle_type import MOTOR
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import PlanTrigger

COSTS = Costs()

VEHICLES: Final = 2_000
DEPOTS: Final = 100
SEARCH: Final = Search(seed=1, time_limit_s=60)
LENDING: Final = PlacementPolicy(lending_within_min=8, fetching=Fetching.BY_BICYCLE)

_KIB_PER_MB: Final = 1_000_000 / 1024
_PARTS: Final = ("placement", "placement_lending", "greedy")


def placement_figures() -> dict[str, float]:
    """Return gap, wall and processor seconds, memory and costs of ours, and the rivals' gaps."""
    figures: dict[str, float] = {}
    for part in _PARTS:
        done = subprocess.run(  # noqa: S603 - ourselves
            [sys.executable, "-m", "bench.placement", part],
            capture_output=True,
            text=True,
            check=True,
        )
        figures |= json.loads(done.stdout)
    bound_dkk = figures["placement_bound_dkk"]
    for rival in ("as_it_stands", "greedy"):
        cost_dkk = figures[f"{rival}_placement_dkk"]
        figures[f"{rival}_placement_gap"] = (cost_dkk - bound_dkk) / cost_dkk
    return figures


def ours(inputs: PlacementInputs, name: str) -> dict[str, float]:
    """Return the figures of a plan of ours."""
    occasion = PlanMetadata(uuid.UUID(int=1), PlanTrigger.ON_REQUEST, "bench", MONDAY)
    began, began_cpu = time.perf_counter(), time.process_time()
    plan = make_plan(inputs, SEARCH, occasion)
    return {
        f"{name}_gap": plan.gap,
        f"{name}_s": time.perf_counter() - began,
        f"{name}_cpu_s": time.process_time() - began_cpu,
        f"{name}_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KIB_PER_MB,
        f"{name}_dkk": plan.objective_dkk,
        f"{name}_bound_dkk": plan.bound_dkk,
        f"{name}_moves": len(plan.moves),
        f"{name}_round_trips": plan.round_trip_count,
    }


@dataclass(slots=True)
class _Greedy:
    """A placement that moves one vehicle after another."""

    problem: PlacementProblem
    placement: dict[str, str]
    there: Counter[tuple[str, str]]
    motor: Counter[str]
    electric: Counter[str]

    @classmethod
    def of(cls, problem: PlacementProblem) -> _Greedy:
        """Start from how things stand."""
        greedy = cls(problem, {}, Counter(), Counter(), Counter())
        for vehicle_id, depot_id in problem.as_it_stands().items():
            greedy.put(vehicle_id, depot_id)
        return greedy

    def put(self, vehicle_id: str, depot_id: str) -> None:
        """Have a vehicle stand at a depot."""
        vehicle = self.problem.vehicles[vehicle_id]
        for place, change in ((self.placement.get(vehicle_id), -1), (depot_id, 1)):
            if place is not None:
                self.there[place, class_of(vehicle)] += change
                self.motor[place] += change * (class_of(vehicle) in MOTOR)
                self.electric[place] += change * needs_charger(vehicle)
        self.placement[vehicle_id] = depot_id

    def saved_ore(self, vehicle_id: str, depot_id: str) -> int:
        """Return what moving a vehicle saves; less than nothing where there is no place."""
        problem, origin = self.problem, self.placement[vehicle_id]
        vehicle = problem.vehicles[vehicle_id]
        kind = class_of(vehicle)
        if kind in MOTOR and self.motor[depot_id] >= problem.depots[depot_id].capacity:
            return -1
        saved_ore = -problem.relocation_ore(vehicle_id, depot_id)
        gained = problem.levels.get((depot_id, kind), ())[self.there[depot_id, kind] :][:1]
        lost = problem.levels.get((origin, kind), ())[self.there[origin, kind] - 1 :][:1]
        saved_ore += sum(map(problem.level_ore, gained)) - sum(map(problem.level_ore, lost))
        if needs_charger(vehicle):
            beyond = self.electric[depot_id] >= problem.depots[depot_id].charger_count
            before = self.electric[origin] > problem.depots[origin].charger_count
            saved_ore += (before - beyond) * missing_charger_ore(problem.horizon_days, COSTS)
        return saved_ore

    def run(self) -> Mapping[str, str]:
        """Send each vehicle in turn, if it may move, to where that saves most."""
        for vehicle_id in sorted(self.placement):
            if vehicle_id in self.problem.locked:
                continue
            saved_ore, depot_id = max(
                (self.saved_ore(vehicle_id, depot), depot)
                for depot in self.problem.depots
                if depot != self.placement[vehicle_id]
            )
            if saved_ore > 0:
                self.put(vehicle_id, depot_id)
        return self.placement


def rivals(inputs: PlacementInputs) -> dict[str, float]:
    """Return what the placement as it stands and the greedy one cost."""
    problem = problem_of(inputs)
    greedy = _Greedy.of(problem).run()
    return {
        "as_it_stands_placement_dkk": placement_cost(problem, problem.as_it_stands()).total_ore
        / ORE_PER_DKK,
        "greedy_placement_dkk": placement_cost(problem, greedy).total_ore / ORE_PER_DKK,
    }


def main() -> None:
    """Print one part's figures."""
    part = sys.argv[1]
    inputs = placement_fleet(1, VEHICLES, DEPOTS)
    if part == "greedy":
        print(json.dumps(rivals(inputs)))
        return
    policy = LENDING if part == "placement_lending" else inputs.policy
    print(json.dumps(ours(inputs.model_copy(update={"policy": policy}), part)))


if __name__ == "__main__":
    main()
