"""The simulated master data: municipalities, depots and vehicles, and where demand lies."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Final

import numpy as np

from schemas.errors import UserError
from schemas.fleet.calendar import Calendar, Shift, TypeWorkingTime
from schemas.fleet.master_data import Depot, EnergySource, Municipality, Vehicle, VehicleType
from schemas.ids import local_part, scoped
from stream.simulator.config import SimulationConfig
from stream.simulator.towns import AREAS, Area, Town

_DEMAND_WEIGHTS: Final = (0.36, 0.20, 0.20, 0.14, 0.10)
_CROWDED: Final = 0
_SHORT: Final = 2
_BUSIEST: Final = 0
_HARDLY_USED: Final = 2
_FEWEST_FOR_HARDLY_USED: Final = 12
"""In a smaller fleet every vehicle is needed."""
_PLACES_BEYOND: Final = 0.3
"""Parking places of each depot beyond today's, as a share of all cars and vans."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of vehicle and the usual numbers of recent models in Denmark."""

    prefix: str
    vehicle_type: VehicleType
    energy_source: EnergySource
    consumption_per_km: float
    yearly_cost_dkk: float
    range_km: float | None
    seats: int

    @property
    def capacity(self) -> float:
        """Litres or kWh of a full tank or battery; 0 where there is neither."""
        return (self.range_km or 0.0) * self.consumption_per_km


_PETROL: Final = Kind("car", VehicleType.CAR, EnergySource.PETROL, 0.055, 38_000, 750, 5)
_DIESEL: Final = Kind("car", VehicleType.CAR, EnergySource.DIESEL, 0.048, 42_000, 950, 5)
_EV: Final = Kind("ev", VehicleType.CAR, EnergySource.ELECTRICITY, 0.16, 46_000, 330, 5)
_VAN: Final = Kind("van", VehicleType.VAN, EnergySource.DIESEL, 0.085, 62_000, 850, 3)
_E_BIKE: Final = Kind("ebike", VehicleType.E_BIKE, EnergySource.ELECTRICITY, 0.008, 5_500, 70, 1)
_CARGO: Final = Kind("cargo", VehicleType.CARGO_BIKE, EnergySource.MUSCLE, 0.0, 3_500, None, 1)

_MIX: Final = (
    _PETROL, _EV, _PETROL, _VAN, _PETROL, _EV, _DIESEL, _E_BIKE, _PETROL, _VAN,
    _PETROL, _EV, _PETROL, _PETROL, _CARGO, _EV, _DIESEL, _VAN, _PETROL, _E_BIKE,
)  # fmt: skip
"""Twenty vehicles as a municipality has them."""
_CALENDAR: Final = Calendar(
    exceptions=(
        *Calendar().exceptions,
        TypeWorkingTime(
            vehicle_types=(VehicleType.VAN,), shifts=(Shift(starts=time(6, 30), ends=time(16, 30)),)
        ),
    )
)
"""When people drive, see `outings`: office hours, and vans that are off earlier."""
CYCLES: Final = frozenset({VehicleType.BIKE, VehicleType.E_BIKE, VehicleType.CARGO_BIKE})


@dataclass(frozen=True, slots=True)
class Member:
    """A vehicle and what the simulation knows of it beside its master data.

    `home` is the index of its home depot; `slot_m` is where it parks, metres east and north of
    the middle of any depot.
    """

    vehicle: Vehicle
    kind: Kind
    home: int
    slot_m: tuple[float, float]
    reports_ignition: bool
    hardly_used: bool

    @property
    def local_id(self) -> str:
        """The id as the vendor writes it."""
        return local_part(self.vehicle.vehicle_id)

    @property
    def is_cycle(self) -> bool:
        """Whether people pedal it: no engine, no odometer, slow and near."""
        return self.kind.vehicle_type in CYCLES

    @property
    def is_electric(self) -> bool:
        """Whether it runs on a battery."""
        return self.kind.energy_source is EnergySource.ELECTRICITY


@dataclass(frozen=True, slots=True)
class Roster:
    """One municipality with all that it owns."""

    area: Area
    municipality: Municipality
    depots: tuple[Depot, ...]
    members: tuple[Member, ...]


def rng_of(config: SimulationConfig, municipality_id: str, *purpose: int) -> np.random.Generator:
    """Return the generator for one purpose; it does not depend on what else is simulated."""
    return np.random.default_rng([config.seed, zlib.crc32(municipality_id.encode()), *purpose])


def make_roster(config: SimulationConfig, municipality_id: str) -> Roster:
    """Return a municipality's master data.

    Raises `UserError` for a municipality that is not known.
    """
    if municipality_id not in AREAS:
        raise UserError(
            f"municipality {municipality_id!r} cannot be simulated; known are {', '.join(AREAS)}"
        )
    area = AREAS[municipality_id]
    rng = rng_of(config, municipality_id)
    kinds = [_MIX[position % len(_MIX)] for position in range(config.vehicles_per_municipality)]
    homes = _homes(config, kinds, len(area.depot_towns))
    powered = [number for number, kind in enumerate(kinds) if kind.vehicle_type not in CYCLES]
    silent = set(rng.permutation(powered)[: round(config.no_ignition_share * len(powered))])
    spare = [
        number
        for number, kind in enumerate(kinds)
        if kind.vehicle_type is VehicleType.CAR and homes[number] == _CROWDED
    ]
    hardly = spare[:_HARDLY_USED] if len(kinds) >= _FEWEST_FOR_HARDLY_USED else []
    numbers: dict[str, int] = {}
    members: list[Member] = []
    for position, kind in enumerate(kinds):
        numbers[kind.prefix] = numbers.get(kind.prefix, 0) + 1
        name = f"{kind.prefix}-{numbers[kind.prefix]:03d}"
        town = area.depot_towns[homes[position]]
        angle, away_m = rng.uniform(0, 2 * np.pi), rng.uniform(5, 60)
        members.append(
            Member(
                vehicle=_vehicle(config, municipality_id, kind, name, town, rng),
                kind=kind,
                home=homes[position],
                slot_m=(float(away_m * np.cos(angle)), float(away_m * np.sin(angle))),
                reports_ignition=kind.vehicle_type not in CYCLES and position not in silent,
                hardly_used=position in hardly,
            )
        )
    return Roster(
        area=area,
        municipality=Municipality(
            municipality_id=municipality_id, name=area.name, calendar=_CALENDAR
        ),
        depots=_depots(municipality_id, area, members),
        members=tuple(members),
    )


def demand_shares(config: SimulationConfig, depots: int, day: int) -> tuple[float, ...]:
    """Return each depot's share of the demand on a day; days count from 0."""
    shares = list(_DEMAND_WEIGHTS[:depots])
    if config.demand_shift_day is not None and day >= config.demand_shift_day:
        moved = shares[_BUSIEST] * config.demand_shift_share
        shares[_BUSIEST] -= moved
        shares[-1] += moved
    return tuple(share / sum(shares) for share in shares)


def _homes(config: SimulationConfig, kinds: Sequence[Kind], depots: int) -> list[int]:
    """Return the home depot of each vehicle, class by class; bikes stand where they are needed."""
    demand = demand_shares(config, depots, -1)
    motor = list(demand)
    missing = min(config.imbalance, motor[_SHORT] * 0.9)
    motor[_CROWDED] += missing
    motor[_SHORT] -= missing
    homes = [0] * len(kinds)
    for vehicle_type in dict.fromkeys(kind.vehicle_type for kind in kinds):
        mine = [number for number, kind in enumerate(kinds) if kind.vehicle_type is vehicle_type]
        shares = demand if vehicle_type in CYCLES else motor
        places = [
            depot for depot, size in enumerate(_apportion(shares, len(mine))) for _ in range(size)
        ]
        # Neighbours in the list go to distant depots, so that each gets petrol and electric.
        dealt = np.argsort([_spread(position) for position in range(len(mine))], kind="stable")
        for number, place in zip(mine, dealt.tolist(), strict=True):
            homes[number] = places[place]
    return homes


def _vehicle(  # noqa: PLR0913, PLR0917 - what a vehicle is made of
    config: SimulationConfig,
    municipality_id: str,
    kind: Kind,
    name: str,
    home: Town,
    rng: np.random.Generator,
) -> Vehicle:
    return Vehicle(
        vehicle_id=scoped(municipality_id, name),
        municipality_id=municipality_id,
        name=name,
        vehicle_type=kind.vehicle_type,
        energy_source=kind.energy_source,
        consumption_per_km=round(kind.consumption_per_km * float(rng.uniform(0.9, 1.1)), 4),
        yearly_cost_dkk=float(round(kind.yearly_cost_dkk * float(rng.uniform(0.9, 1.1)), -2)),
        range_km=kind.range_km,
        seats=kind.seats,
        home_depot_id=scoped(municipality_id, _slug(home.name)),
        lease_ends_on=config.start + timedelta(days=int(rng.integers(60, 4 * 365))),
    )


def _depots(municipality_id: str, area: Area, members: Sequence[Member]) -> tuple[Depot, ...]:
    """Return depots with room for the vehicles at home there and for more to move in."""
    motor = [member for member in members if not member.is_cycle]
    beyond = 2 + round(_PLACES_BEYOND * len(motor))
    depots: list[Depot] = []
    for index, town in enumerate(area.depot_towns):
        here = [member for member in motor if member.home == index]
        electric = [member for member in here if member.is_electric]
        depots.append(
            Depot(
                depot_id=scoped(municipality_id, _slug(town.name)),
                municipality_id=municipality_id,
                name=town.name,
                lat=town.lat,
                lon=town.lon,
                capacity=len(here) + beyond,
                charger_count=len(electric) + 2,
            )
        )
    return tuple(depots)


def _apportion(shares: Sequence[float], count: int) -> list[int]:
    """Return whole numbers that add up to `count`, by largest remainder."""
    exact = [share / sum(shares) * count for share in shares]
    whole = [int(part) for part in exact]
    by_rest = sorted(range(len(exact)), key=lambda index: whole[index] - exact[index])
    for index in by_rest[: count - sum(whole)]:
        whole[index] += 1
    return whole


def _spread(position: int) -> float:
    """Return a number in 0..1 that spreads consecutive positions evenly (golden ratio)."""
    return position * 0.618_033_988_75 % 1.0


def _slug(name: str) -> str:
    plain = name.lower().replace("æ", "ae").replace("ø", "oe").replace("å", "aa")
    return plain.replace(" ", "-")
