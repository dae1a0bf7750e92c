"""Round trips and vehicles as municipalities have them, of any number, from a seed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.assignment import (
    AssignableVehicle,
    AssignmentInputs,
    Unavailable,
    VehicleLock,
    WantedRoundTrip,
)

MONDAY: Final = datetime(2026, 3, 2, tzinfo=UTC)
DAYS: Final = 60


_CARRIER_DEPOT: Final = 4
"""One depot in so many has people carriers besides; there some round trips need their seats."""

_VANS: Final = 0.25
_CARRIERS: Final = 0.2
_AWAY: Final = 0.3
_MANY: Final = 0.1
_WORKDAYS: Final = 5

_KINDS: Final = ((4, 22_000, 0.8), (5, 38_000, 1.1), (9, 55_000, 1.6))
"""Seats, DKK a year and DKK a kilometre of the three unlike kinds."""

_PARTIES: Final = (1, 2, 3, 4, 4, 5, 5, 7, 9)


def fleet(seed: int, round_trips: int, vehicles: int, depots: int) -> AssignmentInputs:
    """Return round trips of 60 days: busy mornings, workshops, shifts, locks and two classes.

    Vans and cars are bought alike, as municipalities do, at prices that differ with their age; one
    depot in four has people carriers besides. One vehicle in three is away for up to three days,
    one in twenty has a round trip locked to it.
    """
    rng = random.Random(seed)
    names = _depots(depots)
    cars = [_vehicle(rng, number, names) for number in range(vehicles)]
    trips = [_round_trip(rng, number, names) for number in range(round_trips)]
    return AssignmentInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        vehicles=tuple(cars),
        round_trips=tuple(trips),
        locks=_locks(rng, cars, trips),
    )


def unlike_fleet(seed: int, round_trips: int, vehicles: int, depots: int) -> AssignmentInputs:
    """Return such round trips for cars of three unlike kinds at every depot.

    The kinds differ in seats, in what they cost a year and in what they cost a kilometre; four in
    nine round trips have more people than fit into the smallest.
    """
    rng = random.Random(seed)
    names = _depots(depots)
    cars = [_unlike_vehicle(rng, number, names) for number in range(vehicles)]
    trips = [
        _round_trip(rng, number, names).model_copy(
            update={"vehicle_class": VehicleType.CAR, "seats": rng.choice(_PARTIES)}
        )
        for number in range(round_trips)
    ]
    return AssignmentInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        vehicles=tuple(cars),
        round_trips=tuple(trips),
        locks=_locks(rng, cars, trips),
    )


def _depots(depots: int) -> list[str]:
    return [f"m/depot-{number:02d}" for number in range(depots)]


def _unlike_vehicle(rng: random.Random, number: int, depots: list[str]) -> AssignableVehicle:
    seats, cost_dkk_a_year, cost_dkk_per_km = rng.choice(_KINDS)
    away = _away(rng)
    return AssignableVehicle(
        vehicle_id=f"m/{number:05d}",
        depot_id=rng.choice(depots),
        vehicle_class=VehicleType.CAR,
        seats=seats,
        cost_dkk=cost_dkk_a_year * DAYS / 365,
        cost_dkk_per_km=cost_dkk_per_km,
        unavailable=away,
    )


def _away(rng: random.Random) -> tuple[Unavailable, ...]:
    """Return one time of up to three days for one vehicle in three."""
    if rng.random() >= _AWAY:
        return ()
    since = MONDAY + timedelta(hours=rng.uniform(0, DAYS * 24 - 80))
    until = since + timedelta(hours=rng.uniform(2, 72))
    return (Unavailable(started_at=since, ended_at=until),)


def _vehicle(rng: random.Random, number: int, depots: list[str]) -> AssignableVehicle:
    depot = rng.randrange(len(depots))
    kind = VehicleType.VAN if rng.random() < _VANS else VehicleType.CAR
    carrier = kind is VehicleType.CAR and depot % _CARRIER_DEPOT == 0 and rng.random() < _CARRIERS
    away = _away(rng)
    return AssignableVehicle(
        vehicle_id=f"m/{number:05d}",
        depot_id=depots[depot],
        vehicle_class=kind,
        seats=3 if kind is VehicleType.VAN else 9 if carrier else 5,
        cost_dkk=(55_000 if carrier else rng.choice([22_000, 30_000, 38_000])) * DAYS / 365,
        cost_dkk_per_km=1.6 if carrier else 1.4 if kind is VehicleType.VAN else 1.1,
        unavailable=away,
    )


def _round_trip(rng: random.Random, number: int, depots: list[str]) -> WantedRoundTrip:
    depot = rng.randrange(len(depots))
    kind = VehicleType.VAN if rng.random() < _VANS else VehicleType.CAR
    many = kind is VehicleType.CAR and depot % _CARRIER_DEPOT == 0 and rng.random() < _MANY
    day = rng.choice([index for index in range(DAYS) if index % 7 < _WORKDAYS or index % 3 == 0])
    start = MONDAY + timedelta(days=day, hours=drawn_hour(rng))
    length_h = drawn_length_h(rng)
    return WantedRoundTrip(
        round_trip_id=f"t{number:06d}",
        depot_id=depots[depot],
        started_at=start,
        ended_at=start + timedelta(hours=length_h),
        distance_m=drawn_distance_m(rng, length_h),
        vehicle_class=kind,
        seats=rng.randint(6, 9) if many else rng.randint(1, 3),
    )


def drawn_hour(rng: random.Random) -> float:
    """Return an hour of the day to leave at: in the morning, about noon, or any."""
    return rng.choice([rng.gauss(8, 1), rng.gauss(12.5, 1.5), rng.uniform(6, 20)])


def drawn_length_h(rng: random.Random) -> float:
    """Return how long a round trip takes, in hours: two and a half on average."""
    return min(9.5, 0.3 + rng.expovariate(1 / 2.2))


def drawn_distance_m(rng: random.Random, length_h: float) -> float:
    """Return how far a round trip of so many hours leads."""
    return 1000 * rng.uniform(2, 12) * (1 + length_h)


def _locks(
    rng: random.Random, vehicles: list[AssignableVehicle], trips: list[WantedRoundTrip]
) -> tuple[VehicleLock, ...]:
    """Return one lock for one in twenty vehicles, each to a round trip that it can take."""
    vehicle_locks: list[VehicleLock] = []
    taken: set[str] = set()
    by_depot: dict[tuple[str, VehicleType], list[WantedRoundTrip]] = {}
    for trip in trips:
        by_depot.setdefault((trip.depot_id, trip.vehicle_class), []).append(trip)
    for vehicle in vehicles[::20]:
        fitting = [
            trip
            for trip in by_depot.get((vehicle.depot_id, vehicle.vehicle_class), [])
            if trip.seats <= vehicle.seats
            and trip.round_trip_id not in taken
            and not any(
                away.started_at < trip.ended_at and trip.started_at < away.ended_at
                for away in vehicle.unavailable
            )
        ]
        if fitting:
            chosen = rng.choice(fitting)
            taken.add(chosen.round_trip_id)
            vehicle_locks.append(
                VehicleLock(round_trip_id=chosen.round_trip_id, vehicle_id=vehicle.vehicle_id)
            )
    return tuple(vehicle_locks)
