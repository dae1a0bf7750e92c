"""Carpooling: journeys that were driven apart and could have been driven together."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.events.fix import UtcDatetime
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import EnergySource
from schemas.fleet.vehicle_type import VehicleType
from schemas.ids import MunicipalityId, ScopedId
from schemas.local_time import DENMARK, Timezone
from schemas.plans.plan import SolverStatus


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Journey(_Part):
    """A trip from one place to another, or with its way back a round trip to a place.

    The vehicle is out from `started_at` until `returned_at`, or `arrived_at` without a way back.
    """

    journey_id: ScopedId
    vehicle_id: ScopedId
    vehicle_type: VehicleType = VehicleType.CAR
    energy_source: EnergySource = EnergySource.UNKNOWN
    consumption_per_km: float = Field(default=0.0, ge=0, description="Litres or kWh per km")
    seats: int = Field(ge=1, description="Of the vehicle, the driver's included")
    seats_taken: int = Field(default=1, ge=1, description="The driver's included")
    department: str = Field(min_length=1)
    depot_id: ScopedId | None = Field(default=None, description="Where the vehicle is at home")
    origin_lat: float = Field(ge=-90, le=90)
    origin_lon: float = Field(ge=-180, le=180)
    destination_lat: float = Field(ge=-90, le=90)
    destination_lon: float = Field(ge=-180, le=180)
    started_at: UtcDatetime
    arrived_at: UtcDatetime
    left_at: UtcDatetime | None = Field(default=None, description="The way back begins")
    returned_at: UtcDatetime | None = None
    distance_m: float = Field(ge=0, description="Driven, both ways")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if (self.left_at is None) != (self.returned_at is None):
            raise ValueError(
                f"{self.journey_id} has only one of left_at and returned_at; give both for a way "
                "back, or none"
            )
        instants = [self.started_at, self.arrived_at]
        if self.left_at is not None and self.returned_at is not None:
            instants += [self.left_at, self.returned_at]
        if instants != sorted(instants):
            raise ValueError(
                f"{self.journey_id} has instants {', '.join(map(str, instants))}; they must be "
                "in order"
            )
        if self.seats_taken > self.seats:
            raise ValueError(
                f"{self.journey_id} has {self.seats_taken} people on {self.seats} seats; correct "
                "one of them"
            )
        return self

    @property
    def ended_at(self) -> UtcDatetime:
        """When the vehicle is free again."""
        return self.arrived_at if self.returned_at is None else self.returned_at


class CarpoolRules(_Part):
    """What people accept, and what a freed vehicle is worth. The defaults are ours."""

    max_detour_m: float = Field(default=5_000.0, ge=0, description="Of the driver, each way")
    max_shift_s: float = Field(
        default=900.0, ge=0, description="Leaving earlier or later, and arriving later, at most"
    )
    max_journeys: int = Field(default=4, ge=2, le=6, description="In one vehicle together")
    freed_vehicle_dkk: float = Field(
        default=0.0,
        ge=0,
        description="Worth of one vehicle less at a depot's peak, over the journeys' days",
    )


def _agreed(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({(min(pair), max(pair)) for pair in pairs}))


def _by_id(journeys: tuple[Journey, ...]) -> tuple[Journey, ...]:
    return tuple(sorted(journeys, key=lambda journey: journey.journey_id))


class CarpoolInputs(_Part):
    """All that a carpool plan is derived from; the order in which rows are read is lost here.

    A department always agrees with itself. Raises `pydantic.ValidationError` for a journey that
    comes twice.
    """

    municipality_id: MunicipalityId
    costs: Costs = Costs()
    journeys: Annotated[tuple[Journey, ...], AfterValidator(_by_id)]
    agreements: Annotated[tuple[tuple[str, str], ...], AfterValidator(_agreed)] = Field(
        default=(), description="Pairs of departments that share vehicles"
    )
    rules: CarpoolRules = CarpoolRules()
    timezone: Timezone = Field(default=DENMARK, description="IANA name: local hours in words")

    @model_validator(mode="after")
    def _unique(self) -> Self:
        counts = Counter(journey.journey_id for journey in self.journeys)
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"{', '.join(twice)} comes twice; keep one of each")
        return self


class CarpoolMember(_Part):
    """A journey in a group, and what changes for its people."""

    journey_id: ScopedId
    department: str
    drives: bool
    leaves_later_s: float = Field(description="Than recorded; negative: earlier")
    arrives_later_s: float = Field(description="Than recorded; negative: earlier")
    returns_later_s: float | None = Field(description="Than recorded, at the way back's end")


class CarpoolGroup(_Part):
    """Journeys that share one vehicle, the driver's first, and why."""

    vehicle_id: ScopedId
    members: tuple[CarpoolMember, ...]
    seats_taken: int
    detour_m: float = Field(ge=0, description="Of the driver, both ways together")
    saved_m: float
    saved_co2e_kg: float
    saved_dkk: float = Field(description="Energy, without the price of CO2e")
    out_from: UtcDatetime
    out_until: UtcDatetime
    reason: str


class DepotPeak(_Part):
    """How many vehicles of a depot are out at once at most, apart and together."""

    depot_id: ScopedId | None
    before: int
    after: int


class CarpoolPlan(_Part):
    """Who shares with whom, what it saves, and how sure we are.

    `objective_dkk` is energy, CO2e at its price and vehicles freed, to be as large as possible;
    `bound_dkk` is a proven upper bound of it, `gap` is `(bound - objective) / bound`.
    """

    type: Literal["carpool-plan"] = "carpool-plan"
    municipality_id: MunicipalityId
    inputs_hash: str = Field(description="SHA-256 of inputs, ways and prices, in hexadecimal")
    seed: int
    time_limit_s: float
    status: SolverStatus
    objective_dkk: float
    bound_dkk: float
    bound_by: str
    gap: float
    timezone: Timezone = Field(default="UTC", description="IANA name: local hours in words")
    groups: tuple[CarpoolGroup, ...]
    saved_m: float
    saved_co2e_kg: float
    saved_dkk: float
    vehicles_before: int = Field(description="Sum of the depots' peaks")
    vehicles_after: int
    peaks: tuple[DepotPeak, ...]
    explanation: str
