"""Composition: how many vehicles of which kind each depot should have, and the answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import time
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.events.fix import UtcDatetime
from schemas.fleet.calendar import LocalTime
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import EnergySource
from schemas.fleet.vehicle_type import MOTOR, VehicleType
from schemas.ids import LocalId, MunicipalityId, ScopedId
from schemas.plans.plan import SolverStatus

OUR: Final = "our-"
"""What ids of kinds that stand for vehicles of the present fleet begin with."""


class Cargo(StrEnum):
    """What has to be carried: nothing to speak of, a box or two, or what only a van takes."""

    NONE = "none"
    SMALL = "small"
    LARGE = "large"


CARGO_ORDER: Final = tuple(Cargo)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class VehicleKind(_Part):
    """A kind of vehicle that a depot can have any number of.

    Raises `pydantic.ValidationError` for an electric car or van without range or charging power.
    """

    kind_id: LocalId
    vehicle_type: VehicleType
    energy_source: EnergySource
    consumption_per_km: float = Field(ge=0, description="Litres or kWh per km")
    yearly_cost_dkk: float = Field(ge=0, description="Ownership or lease, DKK a year")
    seats: int = Field(default=5, ge=1)
    cargo: Cargo = Cargo.NONE
    range_km: float | None = Field(default=None, gt=0, description="As the maker states it")
    charging_kw: float | None = Field(default=None, gt=0, description="At its depot")

    @property
    def on_charger(self) -> bool:
        """Whether it needs a charger of its depot; an e-bike charges at any socket overnight."""
        return self.vehicle_type in MOTOR and self.energy_source is EnergySource.ELECTRICITY

    @model_validator(mode="after")
    def _electric_has_range_and_power(self) -> Self:
        if self.on_charger and (self.range_km is None or self.charging_kw is None):
            raise ValueError(
                f"{self.kind_id} is electric with range_km {self.range_km} and charging_kw "
                f"{self.charging_kw}; give both"
            )
        return self


class KindsToChooseFrom(_Part):
    """Kinds that can be acquired, as a file holds them.

    Raises `pydantic.ValidationError` for a kind that comes twice or is named like ours.
    """

    kinds: tuple[VehicleKind, ...] = Field(min_length=1, max_length=12)

    @model_validator(mode="after")
    def _ids_are_unique_and_not_ours(self) -> Self:
        for name in sorted(_once("kind", (kind.kind_id for kind in self.kinds))):
            if name.startswith(OUR):
                raise ValueError(f"kind {name}: {OUR}… are the present fleet's; name it otherwise")
        return self


class CompositionDepot(_Part):
    """A depot: where vehicles can stand and charge."""

    depot_id: ScopedId
    name: str = Field(min_length=1)
    capacity: int = Field(ge=0, description="Parking places; bicycles take none")
    charger_count: int = Field(default=0, ge=0)


class PresentVehicle(_Part):
    """A vehicle that a depot has now."""

    vehicle_id: ScopedId
    depot_id: ScopedId
    kind_id: LocalId


class CompositionRoundTrip(_Part):
    """A round trip from a depot and back, and what it needs. `vehicle_id` drove it, if known."""

    round_trip_id: Annotated[str, Field(min_length=1, max_length=120)]
    depot_id: ScopedId
    started_at: UtcDatetime
    ended_at: UtcDatetime
    distance_m: float = Field(ge=0)
    seats: int = Field(default=1, ge=1)
    cargo: Cargo = Cargo.NONE
    vehicle_id: ScopedId | None = None

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ended_at <= self.started_at:
            raise ValueError(
                f"{self.round_trip_id} ends at {self.ended_at.isoformat()}, not after its start at "
                f"{self.started_at.isoformat()}; give an end after the start"
            )
        return self


class CompositionRules(_Part):
    """What vehicles can do, and what the answer may be."""

    own_cars: bool = Field(
        default=True, description="Whether a round trip may go by an employee's own car"
    )
    points: int = Field(default=7, ge=2, le=25, description="Of the front, its ends included")
    changeover_s: float = Field(default=300.0, ge=0, description="Default: OS2fleetoptimiser")
    winter_range_share: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Of the stated range, at -7 degrees with heating (ours: tests by motoring "
        "organisations lie between 0.6 and 0.8)",
    )
    bicycle_max_km: float = Field(default=15.0, ge=0, description="Default: OS2fleetoptimiser")
    bicycle_kmh: float = Field(default=20.0, gt=0, description="Default: OS2fleetoptimiser")
    e_bike_kmh: float = Field(default=30.0, gt=0, description="Default: OS2fleetoptimiser")
    bicycles_from: LocalTime = Field(default=time(7), description="Default: OS2fleetoptimiser")
    bicycles_until: LocalTime = Field(
        default=time(15, 30), description="Default: OS2fleetoptimiser"
    )
    town_kmh: float = Field(
        default=30.0,
        gt=0,
        description="A car over a bicycle's distance, parking included: what a bicycle is slower "
        "than is longer out (ours)",
    )


def _kinds_by_id(kinds: tuple[VehicleKind, ...]) -> tuple[VehicleKind, ...]:
    return tuple(sorted(kinds, key=lambda kind: kind.kind_id))


def _depots_by_id(depots: tuple[CompositionDepot, ...]) -> tuple[CompositionDepot, ...]:
    return tuple(sorted(depots, key=lambda depot: depot.depot_id))


def _vehicles_by_id(vehicles: tuple[PresentVehicle, ...]) -> tuple[PresentVehicle, ...]:
    return tuple(sorted(vehicles, key=lambda vehicle: vehicle.vehicle_id))


def _trips_by_time(
    trips: tuple[CompositionRoundTrip, ...],
) -> tuple[CompositionRoundTrip, ...]:
    return tuple(
        sorted(trips, key=lambda trip: (trip.started_at, trip.ended_at, trip.round_trip_id))
    )


class CompositionInputs(_Part):
    """All that a composition is derived from; the order in which rows are read is lost here.

    Raises `pydantic.ValidationError` for an id that comes twice, and for a depot or kind that is
    named and not there.
    """

    municipality_id: MunicipalityId
    costs: Costs = Costs()
    timezone: str = Field(description="IANA name: local hours of bicycles and explanations")
    observed_days: float = Field(ge=1, description="Days of the round trips; scaled to 365")
    kinds: Annotated[tuple[VehicleKind, ...], AfterValidator(_kinds_by_id)] = Field(min_length=1)
    depots: Annotated[tuple[CompositionDepot, ...], AfterValidator(_depots_by_id)] = Field(
        min_length=1
    )
    vehicles: Annotated[tuple[PresentVehicle, ...], AfterValidator(_vehicles_by_id)]
    round_trips: Annotated[tuple[CompositionRoundTrip, ...], AfterValidator(_trips_by_time)]
    rules: CompositionRules = CompositionRules()

    @model_validator(mode="after")
    def _ids_are_unique_and_known(self) -> Self:
        kinds = _once("kind", (kind.kind_id for kind in self.kinds))
        depots = _once("depot", (depot.depot_id for depot in self.depots))
        _once("vehicle", (vehicle.vehicle_id for vehicle in self.vehicles))
        _once("round trip", (round_trip.round_trip_id for round_trip in self.round_trips))
        named = {vehicle.depot_id for vehicle in self.vehicles + self.round_trips}
        unknown = sorted(
            (named - depots) | ({vehicle.kind_id for vehicle in self.vehicles} - kinds)
        )
        if unknown:
            raise ValueError(
                f"{', '.join(unknown[:5])} is named and not among the depots and kinds; add it or "
                "drop what names it"
            )
        return self


def _once(what: str, ids: Iterable[str]) -> set[str]:
    counts = Counter(ids)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise ValueError(f"{what} {', '.join(twice[:5])} comes twice; keep one of each")
    return set(counts)


class DepotComposition(_Part):
    """What one depot has, and does, in one point of the front."""

    depot_id: ScopedId
    counts: dict[str, int] = Field(description="Vehicles of each kind")
    served: dict[str, int] = Field(description="Observed round trips that each kind takes")
    own_car: int = Field(description="Observed round trips that go by an own car")


class CompositionPoint(_Part):
    """A fleet that nobody can have cheaper without emitting more, as far as is proven.

    Costs and CO2e are a year's. `bound_dkk` is a proven lower bound of the cost of any fleet that
    emits at most `co2e_limit_kg`; `gap` is `(cost - bound) / cost`.
    """

    co2e_limit_kg: float
    cost_dkk: float
    co2e_kg: float
    status: SolverStatus
    bound_dkk: float
    gap: float
    depots: tuple[DepotComposition, ...]


class FleetProposal(_Part):
    """A vehicle to give up, or vehicles of a kind to acquire, and why.

    `saves_dkk` is what it saves a year against keeping it or not having it, ownership, driving
    and own cars together; what several save together may differ from their sum.
    """

    action: Literal["give up", "acquire"]
    depot_id: ScopedId
    kind_id: LocalId
    vehicle_id: ScopedId | None = Field(description="Of what is given up")
    count: int = Field(ge=1)
    saves_dkk: float | None = Field(
        description="None where without it round trips that must be served go unserved"
    )
    reason: str


class CompositionProgress(_Part):
    """How far a long run is."""

    limit_s: float = Field(description="Deterministic time")
    spent_s: float
    co2e_price_dkk_per_kg: float = Field(description="At which fleets are sought now")
    cheapest_dkk: float = Field(description="Cost of the cheapest fleet so far")


class CompositionPlan(_Part):
    """The front between cost and CO2e, and proposals for one of its points.

    `chosen` is the index of the point that is cheapest with CO2e at its price; proposals lead
    there from the present fleet. Where round trips must be served and cannot, status is
    infeasible, the front is empty and the explanation says what is missing where and when.
    `status` is the worst of the points', `gap` the largest, `bound_dkk` the cheapest point's.
    """

    type: Literal["composition-plan"] = "composition-plan"
    municipality_id: MunicipalityId
    inputs_hash: str = Field(description="SHA-256 of the canonical inputs, in hexadecimal")
    seed: int
    time_limit_s: float = Field(description="Deterministic time")
    status: SolverStatus
    bound_dkk: float
    gap: float
    present: CompositionPoint | None = Field(
        description="The same cost model on the fleet as it stands, unbounded: its bound is 0"
    )
    points: tuple[CompositionPoint, ...] = Field(description="From the cheapest to the cleanest")
    chosen: int | None
    proposals: tuple[FleetProposal, ...]
    explanation: str
