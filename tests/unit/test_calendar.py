"""Calendars: which time of a local day vehicles may be used, whatever the clock or the day does."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from processors.usage.calendar import available, calendar_days, day_bounds, days_off, whole_years
from schemas.fleet.calendar import WEEKDAYS, Calendar, Hours, Shift, WorkingTime
from schemas.fleet.master_data import Municipality, VehicleType

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
USUAL = Calendar()
EVERY_DAY = {"weekdays": list(WEEKDAYS)}
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)


def hours_on(day: date, calendar: Calendar, vehicle_type: VehicleType = VehicleType.CAR) -> float:
    """Return how many hours of a local day the calendar gives."""
    parts = available(
        calendar.hours_of(vehicle_type),
        day,
        COPENHAGEN,
        days_off(calendar, [day.year - 1, day.year]),
    )
    return sum((part.ended_at - part.started_at) / timedelta(hours=1) for part in parts)


def on_the_wall(day: date, calendar: Calendar) -> list[tuple[str, str]]:
    """Return what the calendar gives as the clock on the wall shows it."""
    entries = available(calendar, day, COPENHAGEN, days_off(calendar, [day.year - 1, day.year]))
    return [
        (
            part.started_at.astimezone(COPENHAGEN).strftime("%d %H:%M"),
            part.ended_at.astimezone(COPENHAGEN).strftime("%d %H:%M"),
        )
        for part in entries
    ]


def calendar(**given: Any) -> Calendar:
    return Calendar.model_validate(given)


def test_by_default_working_days_count_and_bicycles_have_their_own_hours() -> None:
    monday, saturday = date(2026, 3, 2), date(2026, 3, 7)
    assert on_the_wall(monday, USUAL) == [("02 07:00", "02 16:00")]
    assert hours_on(saturday, USUAL) == 0
    assert hours_on(monday, USUAL, VehicleType.E_BIKE) == 8.5
    assert hours_on(monday, USUAL, VehicleType.VAN) == 9


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2023, 5, 5), 0),  # store bededag, for the last time
        (date(2024, 4, 26), 9),  # where it would have been
        (date(2026, 5, 1), 9),
        (date(2026, 4, 2), 0),  # skærtorsdag
        (date(2026, 4, 6), 0),  # anden påskedag
        (date(2026, 5, 14), 0),  # kristi himmelfartsdag
        (date(2026, 12, 24), 9),  # a day off by agreement only: for days_off
        (date(2026, 12, 25), 0),
    ],
)
def test_danish_holidays_are_days_off_and_great_prayer_day_is_none_since_2024(
    day: date, expected: float
) -> None:
    assert hours_on(day, USUAL) == expected


def test_holidays_have_their_danish_names_whatever_the_machine_speaks() -> None:
    names = days_off(USUAL, [2023])
    assert names[date(2023, 5, 5)] == "Store bededag"
    assert names[date(2023, 4, 6)] == "Skærtorsdag"


def test_another_country_has_its_own_and_no_country_has_none() -> None:
    unity, epiphany = date(2025, 10, 3), date(2026, 1, 1)
    assert hours_on(unity, calendar(country="DE")) == 0
    assert hours_on(unity, USUAL) == 9
    assert hours_on(epiphany, calendar(country=None)) == 9


def test_a_municipalitys_days_off_and_days_on_go_before_weekdays_and_holidays() -> None:
    own = calendar(
        days_off=["2026-12-24"],
        days_on=[
            {"on": "2026-12-25", "starts": "10:00", "ends": "12:00"},
            {"on": "2026-12-26", "starts": "08:00", "ends": "09:00"},  # a Saturday, and a holiday
            {"on": "2026-12-26", "starts": "20:00", "ends": "21:00"},
        ],
    )
    assert [hours_on(date(2026, 12, day), own) for day in (23, 24, 25, 26)] == [9, 0, 2, 2]


def test_home_care_works_when_the_offices_do_not() -> None:
    care = calendar(
        days_off=["2026-12-24"],
        exceptions=[
            {
                "vehicle_types": ["van"],
                "works_on_holidays": True,
                "shifts": [{**EVERY_DAY, "starts": "06:00", "ends": "23:00"}],
            }
        ],
    )
    for day in (date(2026, 12, 24), date(2026, 12, 25), date(2026, 12, 27)):
        assert hours_on(day, care, VehicleType.VAN) == 17
        assert hours_on(day, care) == 0
    # Exceptions that are given replace that of bicycles.
    assert hours_on(date(2026, 12, 28), care, VehicleType.BIKE) == 9


def test_a_night_shift_is_shared_out_to_the_days_that_it_touches() -> None:
    night = calendar(shifts=[{"weekdays": ["fri"], "starts": "22:00", "ends": "06:00"}])
    assert on_the_wall(date(2026, 3, 6), night) == [("06 22:00", "07 00:00")]
    assert on_the_wall(date(2026, 3, 7), night) == [("07 00:00", "07 06:00")]
    assert on_the_wall(date(2026, 3, 5), night) == []


def test_a_night_shift_belongs_to_the_day_on_which_it_starts() -> None:
    night = calendar(shifts=[{**EVERY_DAY, "starts": "22:00", "ends": "06:00"}])
    # Of the night into Christmas Day all, of the night after it nothing.
    assert on_the_wall(date(2026, 12, 25), night) == [("25 00:00", "25 06:00")]
    assert on_the_wall(date(2026, 12, 26), night) == []
    assert on_the_wall(date(2026, 12, 27), night) == [("27 22:00", "28 00:00")]
    # A holiday of the year before does not get lost at the turn of the year.
    assert on_the_wall(date(2027, 1, 1), night) == [("01 00:00", "01 06:00")]


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25), (date(2026, 3, 30), 24)])
def test_a_whole_day_has_as_many_hours_as_the_clock_says(day: date, hours: int) -> None:
    always = calendar(country=None, shifts=[{**EVERY_DAY, "starts": "00:00", "ends": "00:00"}])
    assert hours_on(day, always) == hours
    began, ended = day_bounds(day, COPENHAGEN)
    assert (ended - began) / timedelta(hours=1) == hours


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 7), (AUTUMN, 9)])
def test_a_night_shift_is_as_long_as_whoever_works_it(day: date, hours: int) -> None:
    night = calendar(shifts=[{**EVERY_DAY, "starts": "22:00", "ends": "06:00"}])
    evening = available(night, day - timedelta(days=1), COPENHAGEN, ())[-1]
    morning = available(night, day, COPENHAGEN, ())[0]
    assert evening.ended_at == morning.started_at
    assert (morning.ended_at - evening.started_at) / timedelta(hours=1) == hours


def test_shifts_that_meet_in_the_skipped_hour_leave_no_hole_and_overlap_nowhere() -> None:
    two = calendar(
        shifts=[
            {**EVERY_DAY, "starts": "00:00", "ends": "02:30"},
            {**EVERY_DAY, "starts": "02:30", "ends": "06:00"},
        ]
    )
    assert hours_on(SPRING, two) == 5
    assert hours_on(AUTUMN, two) == 7


walls = st.times().map(lambda at: at.replace(second=0, microsecond=0))
shifts = st.builds(
    Shift,
    starts=walls,
    ends=walls,
    weekdays=st.lists(st.sampled_from(WEEKDAYS), min_size=1, unique=True).map(tuple),
)


@given(
    st.builds(
        WorkingTime,
        shifts=st.lists(shifts, max_size=4).map(tuple),
        works_on_holidays=st.booleans(),
    ),
    st.sampled_from([SPRING, AUTUMN, date(2026, 4, 3), date(2026, 12, 31)]),
    st.sets(st.sampled_from([SPRING, AUTUMN, SPRING - timedelta(days=1), date(2026, 4, 3)])),
)
def test_every_minute_is_available_that_a_shift_covers_and_no_other(
    working: WorkingTime, day: date, off: set[date]
) -> None:
    """The clock is asked minute by minute, except in the hours that it skips or shows twice."""
    parts = available(working, day, COPENHAGEN, off)
    assert all(interval.ended_at < other.started_at for interval, other in pairwise(parts))
    began, ended = day_bounds(day, COPENHAGEN)
    at = began
    while at < ended:
        wall = at.astimezone(COPENHAGEN)
        assert wall.date() == day
        if not (day in {SPRING, AUTUMN} and wall.hour in {1, 2, 3}):
            covered = any(part.started_at <= at < part.ended_at for part in parts)
            assert covered == _covers(working, wall.date(), wall.time(), off), wall
        at += timedelta(minutes=7)


def _covers(working: WorkingTime, day: date, wall: time, off: set[date]) -> bool:
    def starts(shift: Shift, on: date) -> bool:
        works = working.works_on_holidays or on not in off
        return works and WEEKDAYS[on.weekday()] in shift.weekdays

    def passes_midnight(hours: Hours) -> bool:
        return hours.ends <= hours.starts

    return any(
        (
            starts(shift, day)
            and shift.starts <= wall
            and (passes_midnight(shift) or wall < shift.ends)
        )
        or (starts(shift, day - timedelta(days=1)) and passes_midnight(shift) and wall < shift.ends)
        for shift in working.shifts
    )


def test_days_of_a_span_follow_each_other_without_a_hole() -> None:
    first, last = whole_years(
        datetime(2025, 12, 31, 23, 30, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC), COPENHAGEN
    )
    # Half past eleven in the evening is already the next year in Copenhagen.
    assert (first, last) == (date(2026, 1, 1), date(2027, 12, 31))
    days = list(calendar_days(USUAL, COPENHAGEN, first, last))
    assert len(days) == 730
    assert all(calendar_day.ended_at == other.started_at for calendar_day, other in pairwise(days))
    for day in days:
        assert set(day.available) == set(VehicleType)
        assert day.week.astimezone(COPENHAGEN).weekday() == 0
        assert day.month.astimezone(COPENHAGEN).day == 1
        assert timedelta(0) <= day.started_at - day.week < timedelta(days=7, hours=1)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"country": "XX"}, "no public holidays are known for country 'XX'"),
        ({"shifts": [{"starts": "07:00+01:00", "ends": "16:00"}]}, "has an offset"),
        ({"shifts": [{"weekdays": [], "starts": "07:00", "ends": "16:00"}]}, "at least 1 item"),
        (
            {"exceptions": [{"vehicle_types": ["car"], "shifts": []}] * 2},
            "car is in two exceptions",
        ),
        (
            {
                "days_off": ["2026-12-24"],
                "days_on": [{"on": "2026-12-24", "starts": "07:00", "ends": "12:00"}],
            },
            "2026-12-24 is both a day off and a day on",
        ),
        ({"shift": []}, "Extra inputs are not permitted"),
    ],
)
def test_a_calendar_that_cannot_be_is_refused_with_the_reason(
    given: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValidationError, match=text):
        Calendar.model_validate(given)


def test_a_municipality_in_no_time_zone_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(ValidationError, match="no time zone 'Europe/Ebeltoft'"):
        Municipality(municipality_id="a", name="A", timezone="Europe/Ebeltoft")
