"""Round trips with the trips that they consist of: who was where for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from schemas.events.fix import UtcDatetime
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, Vehicle
from schemas.ids import MunicipalityId, ScopedId


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DrivenTrip(_Part):
    """A trip within a round trip, and where it ended."""

    started_at: UtcDatetime
    ended_at: UtcDatetime
    end_lat: float = Field(ge=-90, le=90)
    end_lon: float = Field(ge=-180, le=180)


def _trips_by_time(trips: tuple[DrivenTrip, ...]) -> tuple[DrivenTrip, ...]:
    return tuple(sorted(trips, key=lambda trip: trip.started_at))


class DrivenRoundTrip(_Part):
    """A round trip that came back to the depot that it had left."""

    vehicle_id: ScopedId
    depot_id: ScopedId
    home_depot_id: ScopedId | None = Field(description="Of the vehicle, when it left")
    started_at: UtcDatetime
    ended_at: UtcDatetime
    distance_m: float = Field(ge=0)
    trips: Annotated[tuple[DrivenTrip, ...], AfterValidator(_trips_by_time)]


def _by_time(round_trips: tuple[DrivenRoundTrip, ...]) -> tuple[DrivenRoundTrip, ...]:
    return tuple(
        sorted(round_trips, key=lambda round_trip: (round_trip.started_at, round_trip.vehicle_id))
    )


class JourneyRows(_Part):
    """All that journeys are derived from; the order in which rows are read is lost here."""

    municipality_id: MunicipalityId
    costs: Costs = Costs()
    timezone: str = Field(description="IANA name: local days")
    horizon_days: int = Field(ge=1)
    depots: tuple[Depot, ...]
    vehicles: tuple[Vehicle, ...]
    round_trips: Annotated[tuple[DrivenRoundTrip, ...], AfterValidator(_by_time)]
