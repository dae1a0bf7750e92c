"""Private mode: where the vehicle is stays unknown, and its time is accounted for all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from processors.timeline.segments import SegmentState
from processors.timeline.validation import Arrival, resolve
from processors.timeline.vehicle_fold import VehicleFoldState, advance
from schemas.events.fix import Fix, NativeFix
from schemas.fleet.rules import Rules

_START = datetime(2026, 3, 2, 7, tzinfo=UTC)
_KM_DEG = 1 / 111.3


def _fix(minute: float, km_north: float | None, **more: Any) -> Fix:
    return Fix(
        vehicle_id="syddjurs/car-1",
        recorded_at=_START + timedelta(minutes=minute),
        lat=None if km_north is None else 56.3 + km_north * _KM_DEG,
        lon=None if km_north is None else 10.4,
        private_mode=km_north is None,
        **more,
    )


def _minute(at: datetime) -> float:
    return (at - _START).total_seconds() / 60


def test_a_private_drive_is_offline_from_where_it_was_seen_to_where_it_is_seen_again() -> None:
    fixes = [_fix(0, 0), _fix(1, 1), _fix(2, 2), _fix(3, None), _fix(4, None), _fix(9, 8)]
    fixes += [_fix(10, 9), _fix(20, 9)]
    _, changes = advance(None, fixes, (), Rules())
    segments = [
        (row.state, _minute(row.started_at), _minute(row.ended_at), row.private, row.moved)
        for row in changes.segments.rows
    ]
    assert segments == [
        (SegmentState.DRIVING, 0, 2, False, False),
        (SegmentState.OFFLINE, 2, 9, True, True),
        (SegmentState.DRIVING, 9, 10, False, False),
        (SegmentState.PARKED, 10, 20, False, False),
    ]
    assert [(_minute(row.started_at), _minute(row.ended_at)) for row in changes.trips.rows] == [
        (0, 2),
        (9, 10),
    ]
    assert changes.refused == {}


def test_before_a_vehicle_was_seen_at_all_there_is_no_timeline() -> None:
    state, changes = advance(None, [_fix(0, None), _fix(1, None)], (), Rules())
    assert state.timeline is None
    assert changes.segments.rows == ()
    assert [*changes.refused.values()] == ["no-position-yet"] * 2
    state, changes = advance(state, [_fix(2, None), _fix(3, 0), _fix(4, 0)], (), Rules())
    assert state.timeline is not None
    assert [_minute(at) for at in changes.refused] == [2]
    assert [_minute(row.started_at) for row in changes.segments.rows] == [3]


def test_what_was_made_of_a_position_gives_way_when_that_turns_out_to_be_private() -> None:
    """Two reports of one instant: the private one wins, and the timeline begins after it."""
    _, before = advance(None, [_fix(0, 0), _fix(70, 0)], (), Rules())
    assert [_minute(row.started_at) for row in before.segments.rows] == [0]
    for later in ([], [_fix(70, 0), _fix(71, 0)]):
        _, after = advance(None, [_fix(0, None), *later], (), Rules())
        for replaced in (after.segments, after.trips, after.round_trips, after.hours):
            assert replaced.since <= before.segments.rows[0].started_at
        assert after.hours.since <= before.hours.rows[0].hour


def test_a_vehicle_cannot_have_come_too_far_in_private_mode() -> None:
    """200 km/h is 10 km in 3 minutes, since it was last seen."""
    possible = advance(None, [_fix(0, 0), _fix(1, None), _fix(3, 9.9)], (), Rules())[1]
    assert possible.refused == {}
    impossible = advance(None, [_fix(0, 0), _fix(1, None), _fix(3, 10.1)], (), Rules())[1]
    assert [*impossible.refused.values()] == ["impossible-leg"]


def test_private_mode_wins_over_a_position_of_the_same_instant() -> None:
    seen, private = Arrival(_fix(0, 0), _START), Arrival(_fix(0, None), _START)
    for arrivals in ((seen, private), (private, seen)):
        counting, lost = resolve(arrivals)
        assert list(counting.values()) == [private]
        assert lost == [seen]


def test_a_position_sent_in_private_mode_is_not_kept() -> None:
    sent = NativeFix(
        vehicle_id="car-1",
        recorded_at=_START,
        lat=56.3,
        lon=10.4,
        speed_mps=3.0,
        heading_deg=9.0,
        accuracy_m=5.0,
        odometer_m=1000.0,
        ignition=True,
        private_mode=True,
    )
    kept = sent.discreet()
    assert (kept.lat, kept.lon, kept.speed_mps, kept.heading_deg, kept.accuracy_m) == (None,) * 5
    assert (kept.odometer_m, kept.ignition) == (1000.0, True)


def test_a_missing_position_is_refused_unless_the_mode_is_private() -> None:
    with pytest.raises(ValidationError, match="send them, or private_mode true"):
        NativeFix(vehicle_id="car-1", recorded_at=_START, lat=56.3)


def test_a_late_private_fix_from_before_the_vehicle_was_seen_takes_no_later_row() -> None:
    """Folded again up to the next fix, after which the state is what it was: nothing known yet."""
    late, fix, seen = _fix(0, None), _fix(5, None), _fix(10, 0.0)
    _, old = advance(None, [fix, seen, _fix(20, 0.0)], (), Rules())
    folding = VehicleFoldState(None, (), Rules())
    folding.take([late, fix])
    state, new = folding.result(as_before=True)
    assert state.timeline is None
    assert set(new.refused) == {late.recorded_at, fix.recorded_at}
    for stays, replaced in (
        (old.segments.rows[0].started_at, new.segments),
        (old.hours.rows[0].hour, new.hours),
    ):
        assert replaced.until is not None
        assert replaced.since <= replaced.until <= stays
