"""Position reports: as vendors push them, and as they travel in Kafka."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Protocol

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from schemas.ids import LocalId, MunicipalityId, ScopedId


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(
            f"{at.isoformat()} is out of range in UTC; send the device's time"
        ) from error


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""An aware instant, normalised to UTC. A time without an offset is refused."""

MAX_FIXES_PER_BATCH = 10_000
"""Most fixes in one Kafka message; keeps a message well below the broker's 1 MiB default."""


class _Report(BaseModel):
    """What one position report says beside whose it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recorded_at: UtcDatetime = Field(description="Device time of the position, with offset")
    lat: float = Field(ge=-90, le=90, description="WGS 84 latitude in degrees")
    lon: float = Field(ge=-180, le=180, description="WGS 84 longitude in degrees")
    speed_mps: float | None = Field(
        default=None, ge=0, le=150, description="Speed in metres/second"
    )
    heading_deg: float | None = Field(
        default=None, ge=0, le=360, description="Course over ground in degrees, north is 0"
    )
    ignition: bool | None = Field(default=None, description="Engine (or drive system) switched on")
    odometer_m: float | None = Field(default=None, ge=0, description="Odometer in metres")
    fuel_fraction: float | None = Field(default=None, ge=0, le=1, description="Tank level, 0 to 1")
    soc_fraction: float | None = Field(
        default=None, ge=0, le=1, description="State of charge of the battery, 0 to 1"
    )
    accuracy_m: float | None = Field(default=None, ge=0, description="Horizontal accuracy, metres")


class NativeFix(_Report):
    """One event of the native format, as a vendor pushes it to `POST /v1/events`."""

    type: Literal["fix"] = Field(default="fix", description="Kind of event")
    vehicle_id: LocalId = Field(description="The vehicle's id within the municipality")


class Fix(_Report):
    """One position report of one vehicle, as it travels in Kafka."""

    vehicle_id: ScopedId = Field(description="Installation-wide id of the vehicle")


class Reported(Protocol):
    """What the fold reads of a fix, whoever carries it: a `Fix`, or what the fast lane makes."""

    @property
    def recorded_at(self) -> datetime:
        """Device time, in UTC."""

    @property
    def lat(self) -> float:
        """Latitude in degrees."""

    @property
    def lon(self) -> float:
        """Longitude in degrees."""

    @property
    def speed_mps(self) -> float | None:
        """Speed in metres/second."""

    @property
    def ignition(self) -> bool | None:
        """Engine switched on."""


class FixBatch(BaseModel):
    """The value of one Kafka message: fixes of one partition's vehicles, of one municipality.

    Raises `pydantic.ValidationError` for anything that is not such a batch. That the vehicles
    belong to the municipality is checked where the batch is read, vehicle by vehicle, so that one
    stray fix does not take its neighbours with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    municipality_id: MunicipalityId
    vendor: str = Field(min_length=1, max_length=60)
    received_at: UtcDatetime = Field(description="When the gateway accepted the fixes")
    fixes: tuple[Fix, ...] = Field(min_length=1, max_length=MAX_FIXES_PER_BATCH)
