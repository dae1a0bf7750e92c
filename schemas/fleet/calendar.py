"""When a municipality's vehicles are there to be used: shifts, holidays, and days that differ."""

from __future__ import annotations

from collections import Counter
from datetime import date, time
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.fleet.vehicle_type import VehicleType


class Weekday(StrEnum):
    """Days of the week, in order."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


WEEKDAYS: Final = tuple(Weekday)
"""In the order of `date.weekday()`."""
_WORKING_DAYS: Final = WEEKDAYS[:5]


def _on_the_wall(at: time) -> time:
    if at.tzinfo is not None:
        raise ValueError(
            f"{at.isoformat()} has an offset; give the local time that the clock on the wall shows"
        )
    return at


def _known_country(code: str) -> str:
    from holidays import list_supported_countries  # noqa: PLC0415 - takes long, and few ask

    if code not in list_supported_countries(include_aliases=False):
        raise ValueError(
            f"no public holidays are known for country {code!r}; give an ISO 3166 code such as DK, "
            "or null and name the days in days_off"
        )
    return code


LocalTime = Annotated[time, AfterValidator(_on_the_wall)]
"""What the clock on the wall shows."""
Country = Annotated[str, AfterValidator(_known_country)]
"""A country by its ISO 3166 code of two letters."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Hours(_Part):
    """A stretch of local time."""

    starts: LocalTime
    ends: LocalTime = Field(
        description="At or before `starts`: on the next day, so that 00:00 to 00:00 is a whole day"
    )


class Shift(Hours):
    """Hours of the weekdays on which they start."""

    weekdays: tuple[Weekday, ...] = Field(default=_WORKING_DAYS, min_length=1)


class DayOn(Hours):
    """A day with hours of its own, in place of those of its weekday, holiday or not."""

    on: date


class WorkingTime(_Part):
    """When vehicles are there to be used."""

    shifts: tuple[Shift, ...] = Field(
        default=(Shift(starts=time(7), ends=time(16)),),
        description="Monday to Friday, 07:00 to 16:00 (ours: day work, from the first departure of "
        "home care to the end of office hours)",
    )
    works_on_holidays: bool = Field(
        default=False, description="Shifts hold on public holidays and days off too"
    )
    days_on: tuple[DayOn, ...] = Field(
        default=(), description="Days with hours of their own; several of one day add up"
    )


class TypeWorkingTime(WorkingTime):
    """When vehicles of some types are there to be used, in place of the calendar's own hours."""

    vehicle_types: tuple[VehicleType, ...] = Field(min_length=1)
    shifts: tuple[Shift, ...]


_BICYCLES: Final = TypeWorkingTime(
    vehicle_types=(VehicleType.BIKE, VehicleType.E_BIKE, VehicleType.CARGO_BIKE),
    shifts=(Shift(starts=time(7), ends=time(15, 30)),),
)


class Calendar(WorkingTime):
    """A municipality's calendar: its own hours, and those of vehicle types that differ.

    Raises `pydantic.ValidationError` for a country without known holidays, a vehicle type with
    two exceptions, and a day that is both off and on.
    """

    country: Country | None = Field(
        default="DK", description="Whose public holidays are days off; null for none"
    )
    days_off: tuple[date, ...] = Field(
        default=(),
        description="Days off beyond the public holidays, such as 24 December; for whoever works "
        "on holidays they are none",
    )
    exceptions: tuple[TypeWorkingTime, ...] = Field(
        default=(_BICYCLES,),
        description="Vehicle types with hours of their own. Bicycles 07:00 to 15:30 "
        "(OS2fleetoptimiser); if any are given, only those hold",
    )

    @model_validator(mode="after")
    def _is_unambiguous(self) -> Self:
        named = Counter(
            vehicle_type for entry in self.exceptions for vehicle_type in entry.vehicle_types
        )
        twice = sorted(vehicle_type for vehicle_type, count in named.items() if count > 1)
        if twice:
            raise ValueError(f"{', '.join(twice)} is in two exceptions; keep one of each type")
        both = sorted({day_on.on for day_on in self.days_on} & set(self.days_off))
        if both:
            raise ValueError(f"{both[0]} is both a day off and a day on; keep one")
        return self

    def hours_of(self, vehicle_type: VehicleType) -> WorkingTime:
        """Return what holds for a type of vehicle."""
        for entry in self.exceptions:
            if vehicle_type in entry.vehicle_types:
                return entry
        return self
