"""A plan's inputs: their hash, and the problem that they pose."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from math import floor
from typing import Any, Final
from zoneinfo import ZoneInfo

from optimizer.costs import (
    driving_ore_per_km,
    ore,
    relocation_ore,
)
from optimizer.demand import MarginalVehicle, class_of, levels_by_depot, trip_chains
from optimizer.placement.demand_scaling import growth_of
from optimizer.placement.lending import Lending, LendingGain, possible, ways_min
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.fleet.policy import PlacementPolicy
from schemas.fleet.vehicle_type import MOTOR
from schemas.plans.demand import PlacementInputs

_MIN_OBSERVED_DAYS: Final = 7.0
_DAY: Final = timedelta(days=1)
_NOISE: Final = 1e-6


def inputs_hash(inputs: PlacementInputs) -> str:
    """Return the SHA-256, in hexadecimal, of the inputs as canonical JSON, costs among them.

    Keys are sorted, instants are UTC with microseconds and numbers have nine decimals. One line has
    all but the round trips, each of which has its own: together they would take a gigabyte.
    """
    digest = hashlib.sha256(_line(inputs.model_dump(exclude={"round_trips"})))
    for round_trip in inputs.round_trips:
        digest.update(_line(round_trip.model_dump()))
    return digest.hexdigest()


def _line(document: Mapping[str, Any]) -> bytes:
    text = json.dumps(_canonical(dict(document)), sort_keys=True, separators=(",", ":"))
    return f"{text}\n".encode()


def _canonical(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _canonical(item) for key, item in value.items()}
        case list() | tuple():
            return [_canonical(item) for item in value]
        case float():
            return f"{value:.9f}"
        case datetime():
            return value.isoformat(timespec="microseconds")
        case date():
            return value.isoformat()
        case _:
            return value


@dataclass(frozen=True, slots=True)
class PlacementProblem:
    """The placement problem: who stands where, and what each further vehicle is worth.

    `stands_at` has the home depot of a vehicle; without one, the depot that it left most often;
    None when it left none. `scale` turns observed demand into demand over the horizon.
    """

    depots: Mapping[str, Depot]
    vehicles: Mapping[str, Vehicle]
    stands_at: Mapping[str, str | None]
    departures: Mapping[tuple[str, str], int]
    """Round trips of a vehicle from a depot."""
    levels: Mapping[tuple[str, VehicleType], tuple[MarginalVehicle, ...]]
    days: int
    """Local days with demand."""
    horizon_days: int
    scale: float
    timezone: str
    policy: PlacementPolicy
    costs: Costs
    locked: Mapping[str, str]
    """Vehicles that stay at their depot, with why, to follow the vehicle in a sentence."""
    ways_min: Mapping[tuple[str, str], float]
    """Minutes between the depots that lend to each other."""
    lendings: Mapping[Lending, LendingGain]
    """What each lending that pays does, in observed demand."""
    prices: Mapping[VehicleType, Sequence[int]]
    """What a kilometre costs with the vehicles of a class, in øre, the lowest first."""
    growth: Mapping[tuple[str, VehicleType], float]
    """Forecast demand over observed demand of a day, where it is forecast."""

    def level_ore(self, level: MarginalVehicle) -> int:
        """Return what a level costs over the horizon when it goes unserved."""
        return round(level.price_ore * self._scale_of_level(level))

    def driving_ore(self, level: MarginalVehicle, ore_per_km: int) -> int:
        """Return what a level burns over the horizon at a price a kilometre."""
        return round(level.distance_m / 1000 * self._scale_of_level(level) * ore_per_km)

    def saved_ore(self, lending: Lending, lent: LendingGain) -> int:
        """Return what a lending saves over the horizon, driving and arranging it deducted.

        Driven at the dearest price of the class: who lends keeps the thrifty ones for himself.
        """
        scale = self._scale(lending.borrower_id, lending.vehicle_class)
        driven_km = lent.distance_m / 1000 * scale
        driving_ore = round(driven_km * self.prices[lending.vehicle_class][-1])
        return round(lent.saved_ore * scale) - driving_ore - ore(self.costs.lending_dkk)

    def _scale(self, depot_id: str, vehicle_class: VehicleType) -> float:
        return self.scale * self.growth.get((depot_id, vehicle_class), 1.0)

    def _scale_of_level(self, level: MarginalVehicle) -> float:
        first = level.taken[0]
        return self._scale(first.depot_id, first.vehicle_class)

    def may_lack(self) -> dict[VehicleType, int]:
        """Return how many of each class's round trips may go unserved; empty if all may."""
        if self.policy.served_share is None:
            return {}
        totals: Counter[VehicleType] = Counter()
        for (_, vehicle_class), of_one in self.levels.items():
            totals[vehicle_class] += sum(level.round_trips for level in of_one)
        share = 1 - self.policy.served_share
        return {
            vehicle_type: floor(share * total + _NOISE) for vehicle_type, total in totals.items()
        }

    def relocation_ore(self, vehicle_id: str, depot_id: str) -> int:
        """Return the price of having a vehicle at a depot; free if it stands nowhere yet."""
        origin = self.stands_at[vehicle_id]
        if origin is None:
            return 0
        return relocation_ore(
            self.vehicles[vehicle_id], self.depots[origin], self.depots[depot_id], self.costs
        )

    def as_it_stands(self) -> dict[str, str]:
        """Return the present placement of the vehicles that stand somewhere."""
        return {
            vehicle_id: depot_id
            for vehicle_id, depot_id in self.stands_at.items()
            if depot_id is not None
        }


def needs_charger(vehicle: Vehicle) -> bool:
    """Return whether a vehicle needs a charger of its depot; an e-bike charges at any socket."""
    return vehicle.energy_source is EnergySource.ELECTRICITY and class_of(vehicle) in MOTOR


def observed_days(inputs: PlacementInputs) -> float:
    """Return the days from the first round trip's start to the last one's end, at least a week.

    Less than a week tells nothing about weekends and is not multiplied further than that.
    """
    if not inputs.round_trips:
        return _MIN_OBSERVED_DAYS
    started_at = min(round_trip.started_at for round_trip in inputs.round_trips)
    ended_at = max(round_trip.ended_at for round_trip in inputs.round_trips)
    return max(_MIN_OBSERVED_DAYS, (ended_at - started_at) / _DAY)


def problem_of(inputs: PlacementInputs) -> PlacementProblem:
    """Return the problem that inputs pose.

    Raises `KeyError` when a round trip names a vehicle, or a vehicle a depot, that is not there.
    """
    departures = Counter(
        (round_trip.vehicle_id, round_trip.start_depot_id) for round_trip in inputs.round_trips
    )
    depots = {depot.depot_id: depot for depot in inputs.depots}
    levels = levels_by_depot(trip_chains(inputs), ZoneInfo(inputs.timezone), inputs.costs)
    days = {day for of_one in levels.values() for level in of_one for day in level.days}
    ways = ways_min(depots, inputs.policy, inputs.costs)
    problem = PlacementProblem(
        depots=depots,
        vehicles={vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles},
        stands_at={
            vehicle.vehicle_id: _stands_at(vehicle, depots, departures)
            for vehicle in inputs.vehicles
        },
        departures=departures,
        levels=levels,
        days=len(days),
        horizon_days=inputs.horizon_days,
        scale=inputs.horizon_days / observed_days(inputs),
        timezone=inputs.timezone,
        policy=inputs.policy,
        costs=inputs.costs,
        locked=_locked(inputs),
        ways_min=ways,
        lendings={},
        prices=_prices(inputs.vehicles, inputs.costs),
        growth=growth_of(inputs),
    )
    paying = {
        lending: lent
        for lending, lent in possible(levels, ways, inputs.costs)
        if lending.vehicle_class in problem.prices and problem.saved_ore(lending, lent) > 0
    }
    return replace(problem, lendings=paying)


def _prices(vehicles: Iterable[Vehicle], costs: Costs) -> dict[VehicleType, tuple[int, ...]]:
    by_class: defaultdict[VehicleType, set[int]] = defaultdict(set)
    for vehicle in vehicles:
        by_class[class_of(vehicle)].add(driving_ore_per_km(vehicle, costs))
    return {vehicle_class: tuple(sorted(prices)) for vehicle_class, prices in by_class.items()}


def _locked(inputs: PlacementInputs) -> dict[str, str]:
    """Return who stays: while it is locked, and when lease or service end within the horizon.

    The horizon begins on the local day of the newest round trip's end.
    """
    ended_at = max((round_trip.ended_at for round_trip in inputs.round_trips), default=None)
    first = date.min if ended_at is None else ended_at.astimezone(ZoneInfo(inputs.timezone)).date()
    last = first + inputs.horizon_days * _DAY
    seats: dict[str, str] = {}
    for vehicle in inputs.vehicles:
        if vehicle.home_depot_id is None:
            continue
        if vehicle.locked_until is not None and first <= vehicle.locked_until:
            seats[vehicle.vehicle_id] = f"is locked to its depot until {vehicle.locked_until}"
        elif vehicle.lease_ends_on is not None and first <= vehicle.lease_ends_on <= last:
            seats[vehicle.vehicle_id] = (
                f"has a lease that ends on {vehicle.lease_ends_on}, within the plan's horizon"
            )
        elif vehicle.in_service_until is not None and vehicle.in_service_until <= last:
            seats[vehicle.vehicle_id] = (
                f"is in service until {vehicle.in_service_until}, within the plan's horizon"
            )
    return seats


def _stands_at(
    vehicle: Vehicle, depots: Mapping[str, Depot], departures: Mapping[tuple[str, str], int]
) -> str | None:
    if vehicle.home_depot_id is not None:
        return depots[vehicle.home_depot_id].depot_id
    counts = [(-departures.get((vehicle.vehicle_id, depot), 0), depot) for depot in depots]
    count, depot_id = min(counts, default=(0, ""))
    return depot_id if count else None
