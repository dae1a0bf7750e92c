"""A silence costs what the two fixes around it say, however long it lasts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from processors.timeline.segments import Segment, SegmentState
from processors.timeline.vehicle_fold import advance
from processors.usage.hours import MAX_HOURLY_SILENCE, UsageHour
from schemas.events.fix import Fix
from schemas.fleet.rules import Rules

AT = datetime(2007, 4, 12, 8, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)


def report(at: datetime, *, ignition: bool | None = None, lat: float = 56.3) -> Fix:
    return Fix(vehicle_id="syddjurs/a", recorded_at=at, lat=lat, lon=10.4, ignition=ignition)


def folded(*fixes: Fix) -> tuple[tuple[Segment, ...], tuple[UsageHour, ...]]:
    _, changes = advance(None, fixes, (), Rules())
    return changes.segments.rows, changes.hours.rows


@pytest.mark.parametrize(
    ("engine", "state"), [(False, SegmentState.PARKED), (None, SegmentState.OFFLINE)]
)
def test_nineteen_years_are_one_segment_and_two_hours(
    engine: bool | None,  # noqa: FBT001 - a value, not a switch
    state: SegmentState,
) -> None:
    back = AT + timedelta(days=19 * 365, minutes=25)
    segments, hours = folded(report(AT, ignition=engine), report(back, ignition=engine))
    assert [(segment.state, segment.started_at, segment.ended_at) for segment in segments] == [
        (state, AT, back)
    ]
    spent = {hour.hour: getattr(hour, state.value) for hour in hours}
    assert spent == {
        AT.replace(minute=0): timedelta(minutes=40),
        back.replace(minute=0): timedelta(minutes=45),
    }


def test_a_month_is_told_hour_by_hour_and_a_microsecond_more_is_not() -> None:
    month = AT + MAX_HOURLY_SILENCE
    _, hours = folded(report(AT), report(month))
    assert sum((hour.offline for hour in hours), timedelta()) == MAX_HOURLY_SILENCE
    _, hours = folded(report(AT), report(month + timedelta(microseconds=1)))
    assert len(hours) == 2


def test_hours_at_whose_bounds_a_long_silence_begins_and_ends_have_no_row() -> None:
    start = AT.replace(minute=0)
    segments, hours = folded(report(start), report(start + 2 * MAX_HOURLY_SILENCE))
    assert len(segments) == 1
    assert hours == ()


def test_a_month_of_heartbeats_has_all_its_hours() -> None:
    fixes = [report(AT + number * HOUR, ignition=False) for number in range(24 * 40)]
    segments, hours = folded(*fixes)
    assert [segment.state for segment in segments] == [SegmentState.PARKED]
    assert len(hours) == 24 * 40
    assert sum((hour.parked for hour in hours), timedelta()) == 24 * 40 * HOUR - HOUR
