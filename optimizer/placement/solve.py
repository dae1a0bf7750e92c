"""Placement: which vehicle stands at which depot, at the least cost of `optimizer.costs`.

The program has one column a group of like vehicles and depot, one a level of demand, and one a
possible lending: the k-th level of a class at a depot is served when k vehicles of the class stand
there, or in part by a neighbour's vehicle. Parking places bind, locked vehicles stay, chargers are
priced when missing, and each move must earn its price in the horizon.
Two runs with the same inputs, seed and limit give the same plan: one search thread, and a limit
in the solvers' deterministic time, which is about a second of one core but counts operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.demand import class_of
from optimizer.placement.cost_breakdown import placement_cost
from optimizer.placement.lending import Lending
from optimizer.placement.model import PlacementModel
from optimizer.placement.problem import PlacementProblem
from optimizer.placement.solver import MAX_COLUMNS, minimise
from optimizer.search import Search
from schemas.fleet.vehicle_type import MOTOR
from schemas.plans.plan import SolverStatus


@dataclass(frozen=True, slots=True)
class Nearest:
    """A placement that comes as near to the share to be served as was found."""

    placement: Mapping[str, str]
    lendings: tuple[Lending, ...]


@dataclass(frozen=True, slots=True)
class Solution:
    """A placement and what is proven about its cost; costs in øre over the horizon.

    Where the share to be served is out of reach, the status is infeasible and `nearest` serves as
    much of it as was found to be possible.
    """

    status: SolverStatus
    placement: Mapping[str, str]
    objective_ore: int
    bound_ore: int
    lendings: tuple[Lending, ...] = ()
    nearest: Nearest | None = None

    @property
    def gap(self) -> float:
        """The unproven share of the objective; 1 where nothing is proven."""
        if self.status in {SolverStatus.INFEASIBLE, SolverStatus.UNKNOWN}:
            return 1.0
        if self.objective_ore == 0:
            return 0.0
        return (self.objective_ore - self.bound_ore) / self.objective_ore


def missing_places(problem: PlacementProblem) -> int:
    """Return how many parking places all depots together lack for the motor vehicles."""
    motor = sum(1 for vehicle in problem.vehicles.values() if class_of(vehicle) in MOTOR)
    return max(0, motor - sum(depot.capacity for depot in problem.depots.values()))


def locked_beyond(problem: PlacementProblem) -> dict[str, int]:
    """Return where more motor vehicles are locked than there are places, and how many are."""
    locked = Counter(
        problem.stands_at[vehicle_id]
        for vehicle_id in problem.locked
        if class_of(problem.vehicles[vehicle_id]) in MOTOR
    )
    return {
        depot_id: locked[depot_id]
        for depot_id, depot in problem.depots.items()
        if locked[depot_id] > depot.capacity
    }


def solve(
    problem: PlacementProblem, search: Search, columns_at_most: int = MAX_COLUMNS
) -> Solution:
    """Return the cheapest placement found, the present one if it is that.

    Infeasible only where places are missing, vehicles have no depot at all to stand at, or the
    share to be served is out of reach.
    Raises `RuntimeError` when the solver's objective is not what its placement costs, and
    `SearchCancelledError` when cancelled meanwhile.
    """
    now = problem.as_it_stands()
    now_ore = placement_cost(problem, now).total_ore
    no_depot = bool(problem.vehicles) and not problem.depots
    if missing_places(problem) or locked_beyond(problem) or no_depot:
        return Solution(SolverStatus.INFEASIBLE, now, now_ore, 0)
    model = PlacementModel(problem)
    answer = minimise(model.program, model.as_it_stands(), search, columns_at_most)
    if answer.values is None:
        nearest = None
        if answer.status is SolverStatus.INFEASIBLE:
            nearest = _nearest(problem, search, columns_at_most)
        return Solution(answer.status, now, now_ore, 0, nearest=nearest)
    placement, lendings = model.read(answer.values)
    objective_ore = placement_cost(problem, placement, lendings).total_ore
    said_ore = model.fixed_ore + model.program.value(answer.values)
    proven = answer.status is SolverStatus.OPTIMAL
    if objective_ore > said_ore or (proven and objective_ore < said_ore):
        raise RuntimeError(f"the placement costs {objective_ore} øre, the solver said {said_ore}")
    bound_ore = max(0, min(objective_ore, model.fixed_ore + answer.bound))
    # What the program left dearer than it had to, the bill does not.
    status = SolverStatus.OPTIMAL if bound_ore == objective_ore else answer.status
    return Solution(status, placement, objective_ore, bound_ore, lendings)


def _nearest(problem: PlacementProblem, search: Search, columns_at_most: int) -> Nearest | None:
    """Return the placement that misses the share to be served by the fewest round trips."""
    model = PlacementModel(problem, is_priced=False)
    values = minimise(model.program, model.as_it_stands(), search, columns_at_most).values
    return None if values is None else Nearest(*model.read(values))
