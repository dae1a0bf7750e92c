"""Position reports: as vendors push them, and as they travel in Kafka.

`_Report` is the one table of what a fix has. Everything else that must know a fix's fields derives
from it, through `FIX_FIELDS`: how msgspec decodes a fix (`schemas.events.fix_struct`), the columns
of the fast path, the table `fix` and its encoder, rows and their reader, the order of contradicting
fixes, the OpenAPI document and the fields of a replay's mapping. To add a field, declare it there
and add its column in a migration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import NoneType
from typing import Annotated, Any, Final, Literal, Protocol, Self, get_args

import annotated_types
import msgspec
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, PydanticKnownError

from schemas.events.history import HistoryRange
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


_MOST_SECONDS: Final = 20_000_000_000
"""A larger number since 1970 is milliseconds: as seconds it would be after the year 2603."""
_MOST_MILLISECONDS: Final = 99_999_999_999_999
_DIGITS: Final = r"^[0-9]{1,14}$"


def _instant(value: Any) -> Any:
    """Return an instant however it is written: RFC 3339, or since 1970, as number or as text.

    To the nearest microsecond, as msgspec has it.
    """
    if isinstance(value, str) and not re.fullmatch(_DIGITS, value, re.ASCII):
        try:
            at = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            raise _no_instant() from None
        if at.tzinfo is None:
            raise PydanticKnownError("timezone_aware")
        return at
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    number = int(value) if isinstance(value, str) else value
    if not 0 <= number <= _MOST_MILLISECONDS:
        raise _no_instant()
    if number > _MOST_SECONDS:
        return _EPOCH + timedelta(milliseconds=number)
    return _EPOCH + timedelta(seconds=number)


def _no_instant() -> PydanticCustomError:
    return PydanticCustomError(
        "instant",
        "is no instant; send for example 2026-01-31T08:00:00Z, or seconds or milliseconds since "
        "1970",
    )


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

PushedDatetime = Annotated[
    AwareDatetime,
    BeforeValidator(_instant),
    AfterValidator(_in_utc),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": 0, "maximum": _MOST_MILLISECONDS},
                {"type": "string", "pattern": _DIGITS},
            ]
        }
    ),
]
"""As `UtcDatetime`, but for a vendor: `date-time` of RFC 3339, which is read quickest, or seconds
or milliseconds since 1970."""

MAX_FIXES_PER_BATCH = 10_000
"""Most fixes in one Kafka message; keeps a message well below the broker's 1 MiB default."""


NO_POSITION: Final = "no_position"
"""The kind of the error where a report has neither a position nor private mode."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What a field of a fix is, beside its type, bounds and description."""

    unit: str | None = None
    """Such as `m/s`; None for a truth value."""
    tells_place: bool = False
    """Whether it would tell where the vehicle is: in private mode it is dropped."""


class _Report(BaseModel):
    """What one position report says beside whose it is: the table of a fix's fields.

    Each field with a `Measure` is stored, and counts for content: of two fixes that differ only in
    it, the same one counts in whatever order they come (law 2). Fields compare in the order in
    which they stand here, so that a new one goes last. It is `float | None` or `bool | None`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recorded_at: UtcDatetime = Field(description="Device time of the position, with offset")
    lat: Annotated[float | None, Measure("degree", tells_place=True)] = Field(
        default=None, ge=-90, le=90, description="WGS 84 latitude in degrees; none in private mode"
    )
    lon: Annotated[float | None, Measure("degree", tells_place=True)] = Field(
        default=None, ge=-180, le=180, description="WGS 84 longitude in degrees, likewise"
    )
    speed_mps: Annotated[float | None, Measure("m/s", tells_place=True)] = Field(
        default=None, ge=0, le=150, description="Speed in metres/second"
    )
    heading_deg: Annotated[float | None, Measure("degree", tells_place=True)] = Field(
        default=None, ge=0, le=360, description="Course over ground in degrees, north is 0"
    )
    ignition: Annotated[bool | None, Measure()] = Field(
        default=None, description="Engine (or drive system) switched on"
    )
    odometer_m: Annotated[float | None, Measure("m")] = Field(
        default=None, ge=0, description="Odometer in metres"
    )
    fuel_fraction: Annotated[float | None, Measure("fraction")] = Field(
        default=None, ge=0, le=1, description="Tank level, 0 to 1"
    )
    soc_fraction: Annotated[float | None, Measure("fraction")] = Field(
        default=None, ge=0, le=1, description="State of charge of the battery, 0 to 1"
    )
    accuracy_m: Annotated[float | None, Measure("m", tells_place=True)] = Field(
        default=None, ge=0, description="Horizontal accuracy, metres"
    )
    engine_hours_s: Annotated[float | None, Measure("s")] = Field(
        default=None, ge=0, description="Running time of the engine since it was built, in seconds"
    )
    private_mode: bool = Field(
        default=False,
        description="The driver does not want to be located (Teltonika AVL 391): send no position; "
        "one that is sent all the same is dropped before it is stored",
    )

    @model_validator(mode="after")
    def _has_a_position(self) -> Self:
        if (self.lat is None or self.lon is None) and not self.private_mode:
            raise PydanticCustomError(
                NO_POSITION, "lat and lon are not both given; send them, or private_mode true"
            )
        return self

    def discreet(self) -> Self:
        """Return the report as it may be kept: in private mode without what tells the place."""
        if not self.private_mode:
            return self
        return self.model_copy(update=dict.fromkeys(PLACE_FIELDS))


_POSITION_OR_PRIVATE: Final[dict[str, Any]] = {
    "anyOf": [
        {
            "required": ["lat", "lon"],
            "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
        },
        {"required": ["private_mode"], "properties": {"private_mode": {"const": True}}},
    ]
}


class NativeFix(_Report):
    """One event of the native format, as a vendor pushes it to `POST /v1/events`.

    `lat` and `lon` are both required unless `private_mode` is true. A value has the type that its
    field declares: no number as text, no `1` or `"yes"` for true.
    """

    model_config = ConfigDict(strict=True, json_schema_extra=_POSITION_OR_PRIVATE)

    recorded_at: PushedDatetime = Field(
        description="Device time of the position: as RFC 3339 writes it, with offset, or since "
        f"1970 in seconds or, above {_MOST_SECONDS:,}, in milliseconds"
    )
    type: Literal["fix"] = Field(default="fix", description="Kind of event")
    vehicle_id: LocalId = Field(description="The vehicle's id within the municipality")


class Fix(_Report):
    """One position report of one vehicle, as it travels in Kafka."""

    vehicle_id: ScopedId = Field(description="Installation-wide id of the vehicle")


@dataclass(frozen=True, slots=True)
class FixField:
    """A field with a `Measure`, as `_Report` declares it."""

    name: str
    kind: type[float | bool]
    unit: str | None
    least: float | None
    most: float | None
    """Bounds, both included; None: there is none."""
    tells_place: bool
    description: str


def _fix_field(name: str, info: FieldInfo) -> FixField:
    kinds = set(get_args(info.annotation)) - {NoneType}
    measures = [annotation for annotation in info.metadata if isinstance(annotation, Measure)]
    if kinds not in ({float}, {bool}) or not measures or info.default is not None:
        raise TypeError(
            f"field {name} of a fix is {info!r}; declare it `Annotated[float | None, Measure(...)]`"
            " or `bool | None`, with default None"
        )
    bounds = {type(annotation): annotation for annotation in info.metadata}
    least, most = bounds.get(annotated_types.Ge), bounds.get(annotated_types.Le)
    return FixField(
        name,
        kinds.pop(),
        measures[0].unit,
        None if least is None else least.ge,
        None if most is None else most.le,
        measures[0].tells_place,
        info.description or "",
    )


FIX_FIELDS: Final = tuple(
    _fix_field(name, info)
    for name, info in Fix.model_fields.items()
    if name not in {"vehicle_id", "recorded_at", "private_mode"}
)
"""What is stored of a fix beside its vehicle and instant, in the order of `_Report`.

Private mode is stored as the absence of a position.
"""
PLACE_FIELDS: Final = tuple(field.name for field in FIX_FIELDS if field.tells_place)


class Reported(Protocol):
    """What the fold reads of a fix, whoever carries it: a `Fix`, or what the fast path makes."""

    @property
    def recorded_at(self) -> datetime:
        """Device time, in UTC."""

    @property
    def lat(self) -> float | None:
        """Latitude in degrees; None in private mode."""

    @property
    def lon(self) -> float | None:
        """Longitude in degrees, likewise."""

    @property
    def speed_mps(self) -> float | None:
        """Speed in metres/second."""

    @property
    def ignition(self) -> bool | None:
        """Engine switched on."""

    @property
    def odometer_m(self) -> float | None:
        """Odometer in metres."""


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
    history_since: UtcDatetime | None = Field(
        default=None, description="From when fixes are declared to be history; None: all are live"
    )
    history_until: UtcDatetime | None = Field(
        default=None, description="Until when, that instant included"
    )
    fixes: tuple[Fix, ...] = Field(min_length=1, max_length=MAX_FIXES_PER_BATCH)

    @model_validator(mode="after")
    def _has_a_whole_range(self) -> Self:
        since, until = self.history_since, self.history_until
        if (since is None) != (until is None):
            raise ValueError("of history_since and history_until one is missing; send both or none")
        if since is not None and until is not None and since > until:
            raise ValueError(
                f"history_since {since.isoformat()} is after history_until {until.isoformat()}; "
                "send the earlier one first"
            )
        return self

    @property
    def history(self) -> HistoryRange | None:
        """The declared range of history, if any."""
        if self.history_since is None or self.history_until is None:
            return None
        return HistoryRange(self.history_since, self.history_until)
