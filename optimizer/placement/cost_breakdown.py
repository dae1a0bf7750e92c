"""What a placement costs, computed without the integer program: a check of its objective."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.costs import driving_ore_per_km, missing_charger_ore
from optimizer.demand import class_of
from optimizer.placement.lending import Lending, lent
from optimizer.placement.problem import PlacementProblem, needs_charger
from schemas.fleet.master_data import VehicleType


@dataclass(frozen=True, slots=True)
class PlacementCost:
    """What a placement costs over the horizon, in øre, and the observed round trips unserved.

    `unserved_ore` has what lending saves deducted: of what is lent it holds the way to fetch it.
    `driving_ore` is what the depots' own vehicles burn on what they serve.
    """

    unserved_ore: int
    driving_ore: int
    relocation_ore: int
    charger_ore: int
    unserved_round_trips: int
    lent_round_trips: int
    missing_chargers: int

    @property
    def total_ore(self) -> int:
        """The objective."""
        return self.unserved_ore + self.driving_ore + self.relocation_ore + self.charger_ore


def placement_cost(
    problem: PlacementProblem, placement: Mapping[str, str], lendings: Sequence[Lending] = ()
) -> PlacementCost:
    """Return what a placement costs: vehicle to depot; a vehicle left out serves nobody.

    Each lending is worked out afresh, trip chain by trip chain. Raises `ValueError` for lendings
    that the placement has no vehicle for, or no need.
    """
    there = vehicles_at(problem, placement)
    _check_lendings(problem, there, lendings)
    over = [
        lent(
            problem.levels,
            problem.ways_min[lending.borrower_id, lending.lender_id],
            lending,
            problem.costs,
        )
        for lending in lendings
    ]
    lent_round_trips = sum(borrowed.round_trips for borrowed in over)
    unserved = [
        level for key, of_one in problem.levels.items() for level in of_one[there.get(key, 0) :]
    ]
    driving_ore = sum(
        problem.driving_ore(level, ore_per_km)
        for key, prices in _driving_prices(problem, placement).items()
        for level, ore_per_km in zip(problem.levels.get(key, ()), prices, strict=False)
    )
    electric = Counter(
        depot_id
        for vehicle_id, depot_id in placement.items()
        if needs_charger(problem.vehicles[vehicle_id])
    )
    missing = sum(
        max(0, count - problem.depots[depot_id].charger_count)
        for depot_id, count in electric.items()
    )
    return PlacementCost(
        unserved_ore=sum(problem.level_ore(level) for level in unserved)
        - sum(map(problem.saved_ore, lendings, over)),
        driving_ore=driving_ore,
        relocation_ore=sum(
            problem.relocation_ore(vehicle_id, depot_id)
            for vehicle_id, depot_id in placement.items()
        ),
        charger_ore=missing * missing_charger_ore(problem.horizon_days, problem.costs),
        unserved_round_trips=sum(level.round_trips for level in unserved) - lent_round_trips,
        lent_round_trips=lent_round_trips,
        missing_chargers=missing,
    )


def _check_lendings(
    problem: PlacementProblem,
    there: Mapping[tuple[str, VehicleType], int],
    lendings: Sequence[Lending],
) -> None:
    borrowed = Counter(
        (lending.vehicle_class, lending.borrower_id, lending.borrower_level) for lending in lendings
    )
    lenders = Counter(
        (lending.vehicle_class, lending.lender_id, lending.lender_level) for lending in lendings
    )
    for (kind, depot_id, number), times in borrowed.items():
        if times > 1 or number <= there.get((depot_id, kind), 0):
            raise ValueError(f"{depot_id} borrows {times} times for its {kind} number {number}")
    for (kind, depot_id, number), times in lenders.items():
        has, needs = there.get((depot_id, kind), 0), len(problem.levels.get((depot_id, kind), ()))
        most = has - needs if number > needs else int(number <= has)
        if times > most:
            raise ValueError(f"{depot_id} lends its {kind} number {number} {times} times of {most}")


def _driving_prices(
    problem: PlacementProblem, placement: Mapping[str, str]
) -> Mapping[tuple[str, VehicleType], Sequence[int]]:
    """Return what a kilometre costs with each vehicle of a class at a depot, the cheapest first.

    So they are taken: the cheapest that is in.
    """
    prices: defaultdict[tuple[str, VehicleType], list[int]] = defaultdict(list)
    for vehicle_id, depot_id in placement.items():
        vehicle = problem.vehicles[vehicle_id]
        prices[depot_id, class_of(vehicle)].append(driving_ore_per_km(vehicle, problem.costs))
    return {key: sorted(of_one) for key, of_one in prices.items()}


def vehicles_at(
    problem: PlacementProblem, placement: Mapping[str, str]
) -> Mapping[tuple[str, VehicleType], int]:
    """Return how many vehicles of each class a placement has at each depot."""
    return Counter(
        (depot_id, class_of(problem.vehicles[vehicle_id]))
        for vehicle_id, depot_id in placement.items()
    )
