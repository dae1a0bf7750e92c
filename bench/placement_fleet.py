"""A made-up fleet of six towns over twelve weeks, from a seed: what a placement is planned from.

Demand and vehicles were handed out at different times: some depots have more than they need,
others borrow within their town, which is how demand beyond a depot's own vehicles gets observed.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs

MONDAY: Final = datetime(2026, 3, 2, tzinfo=UTC)
WEEKS: Final = 12
TOWNS: Final = (
    (56.32, 10.05, 30),
    (56.31, 10.69, 14),
    (56.41, 10.88, 16),
    (56.20, 10.57, 12),
    (56.46, 10.36, 14),
    (56.24, 10.33, 14),
)
"""Latitude, longitude and share of depots, of 100."""

_TOWN_RADIUS_KM: Final = 2.2
_KM_PER_DEG: Final = 111.2
_KINDS: Final = (
    (VehicleType.CAR, 0.60),
    (VehicleType.VAN, 0.24),
    (VehicleType.E_BIKE, 0.10),
    (VehicleType.CARGO_BIKE, 0.06),
)
_MODELS: Final = {
    VehicleType.CAR: (
        (EnergySource.ELECTRICITY, 0.15),
        (EnergySource.ELECTRICITY, 0.18),
        (EnergySource.PETROL, 0.05),
        (EnergySource.DIESEL, 0.045),
    ),
    VehicleType.VAN: (
        (EnergySource.ELECTRICITY, 0.24),
        (EnergySource.DIESEL, 0.07),
        (EnergySource.HVO, 0.075),
    ),
    VehicleType.E_BIKE: ((EnergySource.ELECTRICITY, 0.01),),
    VehicleType.CARGO_BIKE: ((EnergySource.MUSCLE, 0.0),),
}
_ROUND_TRIPS_A_DAY: Final = 3.6
_CALM: Final = (5, 6)
_CALM_SHARE: Final = 0.15
_BIKE_KM: Final = 12.0
_LEASED: Final = 0.6
_LOCKED: Final = 0.08
_ASKED: Final = 6
"""Neighbours that a depot without a vehicle asks for one."""
_REST: Final = timedelta(seconds=300)


@dataclass(slots=True)
class _Stand:
    """Vehicles of one class at their depot, and those that are out with when they are to be had."""

    free: list[str]
    out: list[tuple[datetime, str]]

    def take(self, at: datetime) -> str | None:
        """Return a vehicle that is in, and no longer is; None if all are out."""
        while self.out and self.out[0][0] <= at:
            heapq.heappush(self.free, heapq.heappop(self.out)[1])
        return heapq.heappop(self.free) if self.free else None


def placement_fleet(seed: int, vehicles: int, depots: int, weeks: int = WEEKS) -> PlacementInputs:
    """Return so many vehicles at so many depots of six towns, and the weeks' round trips."""
    rng = random.Random(seed)
    places, towns = _depots(rng, depots, vehicles)
    fleet = _vehicles(rng, vehicles, [depot.depot_id for depot in places])
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=weeks * 7,
        round_trip_max_s=36_000,
        depots=tuple(places),
        vehicles=tuple(fleet),
        round_trips=tuple(_round_trips(rng, fleet, towns, weeks)),
    )


def _depots(
    rng: random.Random, count: int, vehicles: int
) -> tuple[list[Depot], dict[str, list[str]]]:
    depots: list[Depot] = []
    towns: dict[str, list[str]] = {}
    for number in range(count):
        town = rng.choices(range(len(TOWNS)), [entry[2] for entry in TOWNS])[0]
        lat, lon, _ = TOWNS[town]
        angle, away_km = rng.uniform(0, 2 * math.pi), _TOWN_RADIUS_KM * math.sqrt(rng.random())
        mean = vehicles / count
        depot = Depot(
            depot_id=f"m/depot-{number:03d}",
            municipality_id="m",
            name=f"Depot {number}",
            lat=lat + away_km * math.cos(angle) / _KM_PER_DEG,
            lon=lon + away_km * math.sin(angle) / _KM_PER_DEG / math.cos(math.radians(lat)),
            capacity=math.ceil(mean * rng.uniform(1.0, 2.2)),
            charger_count=math.ceil(mean * rng.uniform(0.15, 0.8)),
        )
        depots.append(depot)
        towns.setdefault(str(town), []).append(depot.depot_id)
    return depots, towns


def _vehicles(rng: random.Random, count: int, depot_ids: list[str]) -> list[Vehicle]:
    """Deal vehicles to depots evenly, so that what demand asks for is not what stands there."""
    vehicles: list[Vehicle] = []
    for number in range(count):
        kind = rng.choices([entry[0] for entry in _KINDS], [entry[1] for entry in _KINDS])[0]
        source, consumption = rng.choice(_MODELS[kind])
        leased = rng.random() < _LEASED
        ends_on = date(2026, 6, 1) + timedelta(days=rng.randrange(20, 1400))
        vehicles.append(
            Vehicle(
                vehicle_id=f"m/{number:05d}",
                municipality_id="m",
                name=f"Vehicle {number}",
                vehicle_type=kind,
                energy_source=source,
                consumption_per_km=consumption,
                home_depot_id=depot_ids[number % len(depot_ids)],
                lease_ends_on=ends_on if leased else None,
                locked_until=ends_on if leased and rng.random() < _LOCKED / _LEASED else None,
            )
        )
    return vehicles


def _round_trips(
    rng: random.Random, fleet: list[Vehicle], towns: dict[str, list[str]], weeks: int
) -> list[ObservedRoundTrip]:
    observed_round_trips: list[ObservedRoundTrip] = []
    for kind, _ in _KINDS:
        of_kind = [vehicle for vehicle in fleet if vehicle.vehicle_type is kind]
        for depot_ids in towns.values():
            stands = {depot_id: _Stand([], []) for depot_id in depot_ids}
            for vehicle in of_kind:
                if vehicle.home_depot_id in stands:
                    stands[vehicle.home_depot_id].free.append(vehicle.vehicle_id)
            town = _Town(kind, stands, [rng.gammavariate(2.0, 1.0) for _ in depot_ids])
            a_day = sum(len(stand.free) for stand in stands.values()) * _ROUND_TRIPS_A_DAY
            for day in range(weeks * 7):
                share = _CALM_SHARE if day % 7 in _CALM else 1.0
                observed_round_trips += town.day(
                    rng, day, max(0, round(a_day * rng.gauss(1.0, 0.08) * share))
                )
    return observed_round_trips


@dataclass(frozen=True, slots=True)
class _Town:
    """One class's vehicles in a town, and how much of its demand each depot has."""

    kind: VehicleType
    stands: dict[str, _Stand]
    weights: list[float]

    def day(self, rng: random.Random, day: int, count: int) -> list[ObservedRoundTrip]:
        """Return a day's round trips; each depot borrows of the others when it must."""
        names = list(self.stands)
        starts = sorted(
            (
                MONDAY + timedelta(days=day, hours=min(20.0, max(5.0, _hour(rng)))),
                rng.choices(names, self.weights)[0],
            )
            for _ in range(count)
        )
        observed_round_trips: list[ObservedRoundTrip] = []
        for started_at, depot_id in starts:
            for lender in (depot_id, *rng.sample(names, min(len(names), _ASKED))):
                vehicle_id = self.stands[lender].take(started_at)
                if vehicle_id is not None:
                    trip = self._trip(rng, vehicle_id, depot_id, started_at)
                    back = trip.ended_at + _REST, vehicle_id
                    heapq.heappush(self.stands[lender].out, back)
                    observed_round_trips.append(trip)
                    break
        return observed_round_trips

    def _trip(
        self, rng: random.Random, vehicle_id: str, depot_id: str, started_at: datetime
    ) -> ObservedRoundTrip:
        lasts_h = min(9.5, 0.2 + rng.expovariate(1 / 1.3))
        km = rng.uniform(3, 14) * (0.6 + lasts_h)
        short = self.kind in {VehicleType.E_BIKE, VehicleType.CARGO_BIKE}
        return ObservedRoundTrip(
            vehicle_id=vehicle_id,
            started_at=started_at,
            ended_at=started_at + timedelta(hours=lasts_h),
            start_depot_id=depot_id,
            end_depot_id=depot_id,
            distance_m=1000 * min(km, _BIKE_KM if short else km),
        )


def _hour(rng: random.Random) -> float:
    return rng.choice([rng.gauss(8, 1.0), rng.gauss(12.3, 1.5), rng.uniform(6, 19)])
