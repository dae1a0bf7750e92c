"""A municipality's calendar as intervals in UTC: when vehicles are available on each local day.

A wall clock's time becomes the instant at which it first shows it; a time that is skipped in spring
becomes the one that a clock not put forward would show (PEP 495, and PostgreSQL does the same). So
a night shift has an hour less in spring and one more in autumn, as whoever works it has.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from holidays import country_holidays

from schemas.fleet.calendar import WEEKDAYS, Calendar, Hours, WorkingTime
from schemas.fleet.vehicle_type import VehicleType

_DAY: Final = timedelta(days=1)
_DAY_OFF: Final = "day off"


class Interval(NamedTuple):
    """A stretch of time in UTC; the end does not belong to it."""

    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """A day by the clock on the wall, and what of it vehicles of each type may be used."""

    local_day: date
    started_at: datetime
    ended_at: datetime
    week: datetime
    month: datetime
    holiday: str | None
    available: Mapping[VehicleType, tuple[Interval, ...]]


def calendar_days(
    calendar: Calendar, zone: ZoneInfo, first: date, last: date
) -> Iterator[CalendarDay]:
    """Yield the local days from the first to the last, both included."""
    # A shift of the day before may reach into the first.
    off = days_off(calendar, range((first - _DAY).year, last.year + 1))
    hours_of = {vehicle_type: calendar.hours_of(vehicle_type) for vehicle_type in VehicleType}
    distinct = {id(hours): hours for hours in hours_of.values()}  # most types share theirs
    day = first
    while day <= last:
        parts = {key: available(hours, day, zone, off) for key, hours in distinct.items()}
        yield CalendarDay(
            day,
            *day_bounds(day, zone),
            week=_instant(day - timedelta(days=day.weekday()), time(), zone),
            month=_instant(day.replace(day=1), time(), zone),
            holiday=off.get(day),
            available={vehicle_type: parts[id(hours)] for vehicle_type, hours in hours_of.items()},
        )
        day += _DAY


def available(
    working: WorkingTime, day: date, zone: ZoneInfo, off: Container[date]
) -> tuple[Interval, ...]:
    """Return the time of a local day that shifts cover, in order, without overlap.

    A shift that passes midnight belongs to the weekday on which it starts, and is given to each
    day as far as it reaches into it. `off` are public holidays and days off.
    """
    began, ended = day_bounds(day, zone)
    parts = [
        Interval(max(shift.started_at, began), min(shift.ended_at, ended))
        for on in (day - _DAY, day)
        for shift in _shifts_from(working, on, zone, off)
    ]
    return _merged(part for part in parts if part.started_at < part.ended_at)


def day_bounds(day: date, zone: ZoneInfo) -> Interval:
    """Return the midnights that a local day lies between, 23 to 25 hours apart."""
    return Interval(_instant(day, time(), zone), _instant(day + _DAY, time(), zone))


def days_off(calendar: Calendar, years: Iterable[int]) -> dict[date, str]:
    """Return the public holidays of these years by name, and the municipality's own days off."""
    off = dict.fromkeys(calendar.days_off, _DAY_OFF)
    if calendar.country is not None:
        # Named in the country's language, whatever the machine's is.
        language = country_holidays(calendar.country).default_language
        off |= country_holidays(calendar.country, years=years, language=language)
    return off


def whole_years(earliest: datetime, latest: datetime, zone: ZoneInfo) -> tuple[date, date]:
    """Return the first and last local day of the years of two instants, and of the year after."""
    first, last = earliest.astimezone(zone).year, latest.astimezone(zone).year + 1
    return date(first, 1, 1), date(last, 12, 31)


def _shifts_from(
    working: WorkingTime, on: date, zone: ZoneInfo, off: Container[date]
) -> list[Interval]:
    """Return the shifts that start on a local day, whole."""
    own: list[Hours] = [day_on for day_on in working.days_on if day_on.on == on]
    if not own and (working.works_on_holidays or on not in off):
        weekday = WEEKDAYS[on.weekday()]
        own = [shift for shift in working.shifts if weekday in shift.weekdays]
    return [
        Interval(
            _instant(on, hours.starts, zone),
            _instant(on + _DAY if hours.ends <= hours.starts else on, hours.ends, zone),
        )
        for hours in own
    ]


def _instant(on: date, shown: time, zone: ZoneInfo) -> datetime:
    return datetime.combine(on, shown, zone).astimezone(UTC)


def _merged(parts: Iterable[Interval]) -> tuple[Interval, ...]:
    merged: list[Interval] = []
    for part in sorted(parts):
        if merged and part.started_at <= merged[-1].ended_at:
            merged[-1] = Interval(merged[-1].started_at, max(merged[-1].ended_at, part.ended_at))
        else:
            merged.append(part)
    return tuple(merged)
