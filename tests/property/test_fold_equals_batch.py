"""The fold, however its fixes are cut into batches, equals the plain computation on the whole list.

Laws 1 and 2 on the fold itself: its segments tile the time from first to last fix, its hours add
up to the same, and the way to the result leaves no trace in it.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.segments import Segment, SegmentState
from processors.trips import Trip
from processors.usage import UsageHour
from processors.vehicle import VehicleState, advance
from schemas.fix import Fix
from schemas.rules import Rules
from stream.worker.fold import STATE, dump
from tests.property.examples import examples
from tests.scenario.batch_reference import Reference, compute

CABS = Path(__file__).resolve().parents[2] / "../shared/data/cabs/cabs.csv.gz"
_RULES = Rules()
_START = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
_STEP_DEG = 0.0004  # 44 m north: more than noise, five of them leave a standstill
_NONE_OR = (None, True, False)


@st.composite
def journeys(draw: st.DrawFn) -> list[Fix]:
    """Return fixes of one vehicle in order: grid moves, all kinds of intervals, any ignition."""
    fixes = []
    at, north, east = _START, 0.0, 0.0
    for _ in range(draw(st.integers(1, 40))):
        fixes.append(
            Fix(
                vehicle_id="syddjurs/car-1",
                recorded_at=at,
                lat=56.3 + north * _STEP_DEG,
                lon=10.4 + east * _STEP_DEG,
                speed_mps=draw(st.sampled_from((None, None, 0.0, 0.2, 8.0))),
                ignition=draw(st.sampled_from(_NONE_OR)),
            )
        )
        at += timedelta(
            seconds=draw(
                st.sampled_from((0.5, 5, 10, 15, 20, 29, 30, 60, 90, 180, 600, 3600, 3601, 9000))
            )
        )
        north += draw(st.sampled_from((0, 0, 0, 0.1, -0.3, 1, -1, 2, 4, -5, 9, 400)))
        east += draw(st.sampled_from((0, 0, 0, 0.2, 1, -4, 6)))
    return fixes


class _Rows:
    """The rows of one vehicle, as the database would hold them after each batch."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.trips: list[Trip] = []
        self.hours: list[UsageHour] = []
        self.refused: list[datetime] = []
        self._state: VehicleState | None = None

    def take(self, fixes: list[Fix]) -> None:
        """Fold a batch in."""
        self._state, changes = advance(self._state, fixes, (), _RULES)
        since = changes.segments.since
        self.segments = [one for one in self.segments if one.started_at < since]
        self.segments += changes.segments.rows
        since = changes.trips.since
        self.trips = [one for one in self.trips if one.started_at < since]
        self.trips += changes.trips.rows
        since = changes.hours.since
        self.hours = [one for one in self.hours if one.hour < since]
        self.hours += changes.hours.rows
        self.refused += [fix.recorded_at for fix, _ in changes.refused]


def _folded(fixes: list[Fix], cuts: list[int]) -> _Rows:
    rows = _Rows()
    for begin, end in pairwise([0, *sorted(cuts), len(fixes)]):
        if begin < end:
            rows.take(fixes[begin:end])
    return rows


def _same(rows: _Rows, expected: Reference) -> None:
    assert [(str(one.state), one.started_at, one.ended_at, one.moved) for one in rows.segments] == [
        (one.state, one.started_at, one.ended_at, one.moved) for one in expected.segments
    ]
    assert [one.distance_m for one in rows.segments] == pytest.approx(
        [one.distance_m for one in expected.segments]
    )
    assert [
        (one.started_at, one.ended_at, one.driving, one.idling, one.is_open) for one in rows.trips
    ] == [
        (one.started_at, one.ended_at, one.driving, one.idling, one.is_open)
        for one in expected.trips
    ]
    assert [one.distance_m for one in rows.trips] == pytest.approx(
        [one.distance_m for one in expected.trips]
    )
    assert rows.refused == expected.refused


def _tiles(rows: _Rows, fixes: list[Fix]) -> None:
    """Law 1: every second once."""
    counted = [fix for fix in fixes if fix.recorded_at not in rows.refused]
    if len(counted) < 2:
        assert not rows.segments
        return
    assert rows.segments[0].started_at == counted[0].recorded_at
    assert rows.segments[-1].ended_at == counted[-1].recorded_at
    assert all(one.ended_at == other.started_at for one, other in pairwise(rows.segments))
    by_hours = {
        SegmentState.DRIVING: sum((hour.driving for hour in rows.hours), timedelta()),
        SegmentState.IDLING: sum((hour.idling for hour in rows.hours), timedelta()),
        SegmentState.PARKED: sum((hour.parked for hour in rows.hours), timedelta()),
        SegmentState.OFFLINE: sum((hour.offline for hour in rows.hours), timedelta()),
    }
    by_segments = dict.fromkeys(SegmentState, timedelta())
    for one in rows.segments:
        by_segments[one.state] += one.ended_at - one.started_at
    assert by_hours == by_segments
    assert sum(hour.trip_count for hour in rows.hours) == len(rows.trips)
    driven_m = sum(one.distance_m for one in rows.segments if one.state is SegmentState.DRIVING)
    assert sum(hour.distance_m for hour in rows.hours) == pytest.approx(driven_m)


@settings(max_examples=examples(400), deadline=None)
@given(fixes=journeys(), data=st.data())
def test_any_batches_equal_the_whole_list(fixes: list[Fix], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(fixes)), max_size=6))
    rows = _folded(fixes, cuts)
    _same(rows, compute(fixes))
    _tiles(rows, fixes)


@settings(max_examples=examples(50), deadline=None)
@given(fixes=journeys())
def test_one_by_one_equals_the_whole_list(fixes: list[Fix]) -> None:
    rows = _folded(fixes, list(range(len(fixes))))
    _same(rows, compute(fixes))
    _tiles(rows, fixes)


@settings(max_examples=examples(100), deadline=None)
@given(fixes=journeys())
def test_a_state_is_read_as_it_was_written(fixes: list[Fix]) -> None:
    state, _ = advance(None, fixes, (), _RULES)
    again = STATE.validate_json(dump(state))
    assert again == state
    assert repr(again) == repr(STATE.validate_json(STATE.dump_json(state)))


@pytest.mark.xfail(
    strict=True,
    reason="the fold makes a stay final when it knows of the departure, and measures an ignition "
    "run that spans it anew",
)
def test_ignition_run_across_a_departure_counts_as_one() -> None:
    """Engine off for 30.5 s, 0.5 s of them before the departure: no noise as a whole."""
    fixes = [
        Fix(
            vehicle_id="syddjurs/car-1",
            recorded_at=_START + timedelta(seconds=seconds),
            lat=lat,
            lon=10.4,
            ignition=ignition,
        )
        for seconds, lat, ignition in (
            (0, 56.3, True),
            (0.5, 56.3, False),
            (1, 56.3, None),
            (11, 56.298, None),
            (31, 56.298, None),
        )
    ]
    _same(_folded(fixes, []), compute(fixes, whole_runs=True))


def _cabs() -> dict[str, list[Fix]]:
    cabs: defaultdict[str, list[Fix]] = defaultdict(list)
    with gzip.open(CABS, "rt", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            cabs[row["vehicle"]].append(
                Fix(
                    vehicle_id=f"san-francisco/{row['vehicle']}",
                    recorded_at=datetime.fromisoformat(row["recorded_at"]),
                    lat=float(row["lat"]),
                    lon=float(row["lon"]),
                )
            )
    return cabs


@pytest.mark.skipif(not CABS.exists(), reason=f"recorded taxis are not at {CABS}")
def test_recorded_taxis_equal_the_whole_list() -> None:
    for fixes in _cabs().values():
        unique = sorted({fix.recorded_at: fix for fix in fixes}.values(), key=_at)
        rows = _folded(unique, list(range(0, len(unique), 997)))
        _same(rows, compute(unique))
        _tiles(rows, unique)


def _at(fix: Fix) -> datetime:
    return fix.recorded_at
