"""Demand for vehicles as the planner reads and compares it."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.events.fix import UtcDatetime
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.fleet.policy import PlacementPolicy
from schemas.ids import MunicipalityId, ScopedId


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ObservedRoundTrip(_Part):
    """A round trip that left a depot and has ended: one unit of demand."""

    vehicle_id: ScopedId
    started_at: UtcDatetime
    ended_at: UtcDatetime
    start_depot_id: ScopedId
    end_depot_id: ScopedId | None
    distance_m: float = Field(ge=0, le=1e8)


def _by_time(round_trips: tuple[ObservedRoundTrip, ...]) -> tuple[ObservedRoundTrip, ...]:
    return tuple(
        sorted(round_trips, key=lambda round_trip: (round_trip.started_at, round_trip.vehicle_id))
    )


def _in_order(days: tuple[date, ...]) -> tuple[date, ...]:
    return tuple(sorted(set(days)))


def _depots_by_id(depots: tuple[Depot, ...]) -> tuple[Depot, ...]:
    return tuple(sorted(depots, key=lambda depot: depot.depot_id))


def _vehicles_by_id(vehicles: tuple[Vehicle, ...]) -> tuple[Vehicle, ...]:
    return tuple(sorted(vehicles, key=lambda vehicle: vehicle.vehicle_id))


class PlacementInputs(_Part):
    """All that a placement plan is derived from; the order in which rows are read is lost here."""

    municipality_id: MunicipalityId
    costs: Costs = Costs()
    timezone: str = Field(description="IANA name: local days and hours of demand")
    horizon_days: int = Field(ge=1, description="Days that the plan's costs stand for")
    round_trip_max_s: float = Field(gt=0, description="Longest trip chain over several depots")
    policy: PlacementPolicy = PlacementPolicy()
    holidays: Annotated[tuple[date, ...], AfterValidator(_in_order)] = Field(
        default=(), description="And days off, for the forecast; none where the policy wants none"
    )
    depots: Annotated[tuple[Depot, ...], AfterValidator(_depots_by_id)]
    vehicles: Annotated[tuple[Vehicle, ...], AfterValidator(_vehicles_by_id)]
    former_vehicles: Annotated[tuple[Vehicle, ...], AfterValidator(_vehicles_by_id)] = Field(
        default=(),
        description="Out of service: nobody's to place, and what they drove is demand all the same",
    )
    round_trips: Annotated[tuple[ObservedRoundTrip, ...], AfterValidator(_by_time)]

    @property
    def all_vehicles(self) -> tuple[Vehicle, ...]:
        """Whoever may have driven a round trip, in service still or not."""
        return self.vehicles + self.former_vehicles


class DemandProfile(_Part):
    """Where and when vehicles have lately been out: what drift is measured on.

    A bucket is `<depot>|<class>|<workday or weekend>|<first hour of a quarter of the day>`, local.
    """

    days: float = Field(ge=1, description="Days that the profile covers")
    vehicle_hours_per_day: float = Field(ge=0)
    share_of_hours: dict[str, float] = Field(description="Bucket to its share; they add up to 1")


class VehicleTraits(_Part):
    """What a vehicle can serve and what it runs on."""

    vehicle_type: VehicleType
    energy_source: EnergySource


class DepotPlaces(_Part):
    """What a depot has room for."""

    capacity: int = Field(ge=0, description="Parking places")
    charger_count: int = Field(ge=0)


class FleetProfile(_Part):
    """Which vehicles and places there are, by id: what a change of fleet is measured on.

    Where the vehicles stand is not part of it: a plan that is carried out changes no fleet.
    """

    vehicles: dict[ScopedId, VehicleTraits]
    depots: dict[ScopedId, DepotPlaces]
