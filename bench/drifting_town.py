"""A municipality whose demand drifts from week to week, and whose vehicles stand where it was.

People want round trips at depots; the shares of the depots move in a straight line over twelve
weeks, and the vehicles' homes follow neither beginning nor end. Who finds no vehicle has one
brought over, which is a one-way trip as trackers record it, and there it stays until somebody
needs it elsewhere or it goes home on a Friday. What nobody could serve is in no record.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.round_trips import MONDAY, drawn_distance_m, drawn_hour, drawn_length_h
from optimizer.backtest.replay import Request
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs

WEEKS: Final = 12
DEPOTS: Final = 10
VEHICLES: Final = 120

_TRIPS_PER_VEHICLE: Final = 1.1
"""Wanted on a working day."""
_WEEKEND: Final = 0.12
_VANS: Final = 0.25
_ELECTRIC: Final = 0.35
_MISPLACED: Final = 0.35
"""Share of the vehicles that are at home where nobody's demand has put them."""
_DRIFT: Final = 0.5
"""Share of the demand that arises at other depots in the end."""
_BROUGHT: Final = 0.8
"""Chance that somebody brings a vehicle over when none is there."""
_GOES_HOME: Final = 0.3
_TRANSFER_KM: Final = 15.0
_TRANSFER: Final = timedelta(minutes=20)
_CHANGEOVER: Final = timedelta(minutes=5)
_SATURDAY: Final = 5
_FRIDAY: Final = 4


@dataclass(frozen=True, slots=True)
class Town:
    """What a planner sees, and beside it what people wanted, which it never sees."""

    inputs: PlacementInputs
    wanted: tuple[Request, ...]


@dataclass(slots=True)
class _Record:
    """Where vehicles stand and since when they can be had, and what trackers have seen."""

    vehicles: Sequence[Vehicle]
    at: dict[str, str] = field(default_factory=dict)
    free_at: dict[str, datetime] = field(default_factory=dict)
    seen: list[ObservedRoundTrip] = field(default_factory=list)

    def __post_init__(self) -> None:
        for vehicle in self.vehicles:
            self.at[vehicle.vehicle_id] = str(vehicle.home_depot_id)
            self.free_at[vehicle.vehicle_id] = MONDAY

    def free(self, kind: VehicleType, at: datetime) -> list[str]:
        return [
            vehicle.vehicle_id
            for vehicle in self.vehicles
            if vehicle.vehicle_type is kind and self.free_at[vehicle.vehicle_id] <= at
        ]

    def drive(
        self, vehicle_id: str, start: datetime, end: datetime, to: str, distance_m: float
    ) -> None:
        self.seen.append(
            ObservedRoundTrip(
                vehicle_id=vehicle_id,
                started_at=start,
                ended_at=end,
                start_depot_id=self.at[vehicle_id],
                end_depot_id=to,
                distance_m=distance_m,
            )
        )
        self.at[vehicle_id] = to
        self.free_at[vehicle_id] = end + _CHANGEOVER


def town(seed: int, *, weeks: int = WEEKS, depots: int = DEPOTS, vehicles: int = VEHICLES) -> Town:
    """Return a municipality of so many weeks, from a seed."""
    rng = random.Random(seed)
    places = _depots(rng, depots, vehicles)
    names = [place.depot_id for place in places]
    first = _shares(rng, depots)
    last = [
        (1 - _DRIFT) * value + _DRIFT * other
        for value, other in zip(first, _shares(rng, depots), strict=True)
    ]
    homes = [
        (1 - _MISPLACED) * value + _MISPLACED * other
        for value, other in zip(first, _shares(rng, depots), strict=True)
    ]
    cars = [_vehicle(rng, number, rng.choices(names, homes)[0]) for number in range(vehicles)]
    record = _Record(cars)
    wanted: list[Request] = []
    for day in range(weeks * 7):
        done = day / (weeks * 7 - 1)
        shares = [
            (1 - done) * value + done * other for value, other in zip(first, last, strict=True)
        ]
        today = sorted(_wishes(rng, day, names, shares, vehicles), key=lambda wish: wish.started_at)
        for wish in today:
            _serve(rng, record, wish)
        wanted += today
        if day % 7 == _FRIDAY:
            _send_home(rng, record, day)
    return Town(
        PlacementInputs(
            municipality_id="m",
            timezone="Europe/Copenhagen",
            horizon_days=56,
            round_trip_max_s=36_000,
            depots=tuple(places),
            vehicles=tuple(cars),
            round_trips=tuple(record.seen),
        ),
        tuple(wanted),
    )


def _shares(rng: random.Random, depots: int) -> list[float]:
    drawn = [rng.uniform(0.2, 1.8) for _ in range(depots)]
    return [value / sum(drawn) for value in drawn]


def _depots(rng: random.Random, depots: int, vehicles: int) -> list[Depot]:
    return [
        Depot(
            depot_id=f"m/depot-{number:02d}",
            municipality_id="m",
            name=f"Depot {number}",
            lat=rng.uniform(56.2, 56.5),
            lon=rng.uniform(10.2, 10.9),
            capacity=2 * vehicles // depots,
            charger_count=vehicles // depots,
        )
        for number in range(depots)
    ]


def _vehicle(rng: random.Random, number: int, home: str) -> Vehicle:
    electric = rng.random() < _ELECTRIC
    return Vehicle(
        vehicle_id=f"m/{number:03d}",
        municipality_id="m",
        name=f"Vehicle {number}",
        vehicle_type=VehicleType.VAN if rng.random() < _VANS else VehicleType.CAR,
        energy_source=EnergySource.ELECTRICITY if electric else EnergySource.PETROL,
        consumption_per_km=0.17 if electric else 0.055,
        home_depot_id=home,
    )


def _wishes(
    rng: random.Random, day: int, names: Sequence[str], shares: Sequence[float], vehicles: int
) -> Iterator[Request]:
    busy = _WEEKEND if day % 7 >= _SATURDAY else 1.0
    for _ in range(round(vehicles * _TRIPS_PER_VEHICLE * busy * rng.uniform(0.85, 1.15))):
        start = MONDAY + timedelta(days=day, hours=max(5.0, drawn_hour(rng)))
        length_h = drawn_length_h(rng)
        depot_id = rng.choices(names, shares)[0]
        yield Request(
            depot_id,
            VehicleType.VAN if rng.random() < _VANS else VehicleType.CAR,
            start,
            start + timedelta(hours=length_h),
            depot_id,
            drawn_distance_m(rng, length_h),
        )


def _serve(rng: random.Random, record: _Record, wish: Request) -> None:
    """Take a vehicle that is there, or have one brought, or do without and leave no trace."""
    free = record.free(wish.vehicle_class, wish.started_at)
    here = [name for name in free if record.at[name] == wish.depot_id]
    if here:
        name = here[0]
        record.drive(name, wish.started_at, wish.ended_at, wish.depot_id, wish.distance_m)
    elif free and rng.random() < _BROUGHT:
        name = rng.choice(free)
        there = wish.started_at + _TRANSFER
        record.drive(name, wish.started_at, there, wish.depot_id, 1000 * _TRANSFER_KM)
        length = wish.ended_at - wish.started_at
        start = record.free_at[name]
        record.drive(name, start, start + length, wish.depot_id, wish.distance_m)


def _send_home(rng: random.Random, record: _Record, day: int) -> None:
    evening = (MONDAY + timedelta(days=day, hours=21)).astimezone(UTC)
    for vehicle in record.vehicles:
        vehicle_id, home = vehicle.vehicle_id, str(vehicle.home_depot_id)
        if (
            record.at[vehicle_id] != home
            and record.free_at[vehicle_id] <= evening
            and rng.random() < _GOES_HOME
        ):
            record.drive(vehicle_id, evening, evening + _TRANSFER, home, 1000 * _TRANSFER_KM)
