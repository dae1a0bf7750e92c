"""The fold, however its fixes are cut into batches, equals the plain computation on the whole list.

Laws 1 and 2 on the fold itself: its segments tile the time from first to last fix, its hours add
up to the same, and the way to the result leaves no trace in it. Round trips and hours, with the
time away, are those of an independent computation too.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Container, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.depot_index import DepotIndex
from processors.timeline.segments import Segment, SegmentState
from processors.timeline.trips import Trip
from processors.timeline.vehicle_fold import VehicleState, advance
from processors.usage.hours import MAX_HOURLY_SILENCE, UsageHour
from processors.usage.round_trips import RoundTrip
from schemas.events.fix import Fix
from schemas.fleet.master_data import Depot
from schemas.fleet.rules import Rules
from stream.worker.fold.cached_state import STATE, dump
from tests.property.examples import examples
from tests.property.outages import outages
from tests.scenario.batch_reference import Reference, compute
from tests.scenario.round_trip_reference import (
    ReferenceDepot,
    hours,
    round_trips,
)

CABS = Path(__file__).resolve().parents[2] / "../shared/data/cabs/cabs.csv.gz"
_RULES = Rules()
_START = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_STEP_DEG = 0.0004  # 44 m north: more than noise, five of them leave a standstill
_NONE_OR = (None, True, False)
_DEPOTS = (
    # Where journeys begin; one that overlaps it with a point equally near to its middle; a yard
    # drawn across both; one to the north, and a large one far out.
    ReferenceDepot("syddjurs/begin", 56.3, 10.4),
    ReferenceDepot("syddjurs/again", 56.3, 10.4, 150.0),
    ReferenceDepot("syddjurs/east", 56.3, 10.4025, 90.0),
    ReferenceDepot(
        "syddjurs/yard",
        56.3018,
        10.4011,
        polygon=(
            (56.30011, 10.39999),
            (56.30011, 10.40211),
            (56.30333, 10.40211),
            (56.30333, 10.40111),
            (56.30199, 10.40111),
            (56.30199, 10.39999),
        ),
    ),
    ReferenceDepot("syddjurs/north", 56.3036, 10.4, 100.0),
    ReferenceDepot("syddjurs/far", 56.46, 10.4, 1_000.0),
)
_SHORT = Rules(round_trip_max_s=1_500.0, round_trip_split_stop_s=240.0)
"""Under these every other round trip of a generated journey is over-long."""


@st.composite
def journeys(draw: st.DrawFn) -> list[Fix]:
    """Return fixes of one vehicle in order: grid moves, all kinds of intervals, any ignition."""
    fixes = []
    at, north, east, odometer_m = _START, 0.0, 0.0, 5000.0
    reads = draw(st.sampled_from(((None,), (None, 1.0, 1.0, 1.0), (1.0,), (1.0, 1.0, -3.0, 0.0))))
    discreet = draw(st.sampled_from(((False,), (False,) * 7 + (True,))))
    # A month exactly, a second more, and from here on to any minute of an hour.
    months = draw(st.sampled_from(((), (), (2_678_400, 2_678_401, 2_682_000, 3_457_200))))
    for _ in range(draw(st.integers(1, 40))):
        read = draw(st.sampled_from(reads))
        private = draw(st.sampled_from(discreet))
        fixes.append(
            Fix(
                vehicle_id="syddjurs/car-1",
                recorded_at=at,
                lat=None if private else 56.3 + north * _STEP_DEG,
                lon=None if private else 10.4 + east * _STEP_DEG,
                private_mode=private,
                odometer_m=None if read is None else max(0.0, odometer_m),
                speed_mps=draw(st.sampled_from((None, None, 0.0, 0.2, 8.0))),
                ignition=draw(st.sampled_from(_NONE_OR)),
            )
        )
        at += timedelta(
            seconds=draw(
                st.sampled_from(
                    (0.5, 5, 10, 15, 20, 29, 30, 60, 90, 180, 600, 3600, 3601, 9000, *months)
                )
            )
        )
        moves = draw(st.sampled_from((0, 0, 0, 0.1, -0.3, 1, -1, 2, 4, -5, 9, 400)))
        north += moves
        east += draw(st.sampled_from((0, 0, 0, 0.2, 1, -4, 6)))
        odometer_m += (read or 0.0) * abs(moves) * draw(st.sampled_from((40.0, 45.0, 48.0, 100.0)))
    return fixes


class _Rows:
    """The rows of one vehicle, as the database would hold them after each batch."""

    def __init__(self, depots: Sequence[ReferenceDepot] = (), rules: Rules = _RULES) -> None:
        self.segments: list[Segment] = []
        self.round_trips: list[RoundTrip] = []
        self.trips: list[Trip] = []
        self.hours: list[UsageHour] = []
        self.reasons: dict[datetime, str] = {}
        self._state: VehicleState | None = None
        self._places = DepotIndex(_as_entered(depot) for depot in depots)
        self._rules = rules

    def take(self, fixes: list[Fix]) -> None:
        """Fold a batch in."""
        self._state, changes = advance(self._state, fixes, self._places, self._rules)
        since = changes.segments.since
        self.segments = [segment for segment in self.segments if segment.started_at < since]
        self.segments += changes.segments.rows
        since = changes.trips.since
        self.trips = [trip for trip in self.trips if trip.started_at < since]
        self.trips += changes.trips.rows
        since = changes.round_trips.since
        self.round_trips = [
            round_trip for round_trip in self.round_trips if round_trip.started_at < since
        ]
        self.round_trips += changes.round_trips.rows
        since = changes.hours.since
        self.hours = [hour for hour in self.hours if hour.hour < since]
        self.hours += changes.hours.rows
        for at, reason in [*changes.revised.items(), *changes.refused.items()]:
            if reason is None:
                self.reasons.pop(at, None)
            else:
                self.reasons[at] = reason

    @property
    def refused(self) -> list[datetime]:
        """When the fixes were that are left out."""
        return sorted(self.reasons)


def _as_entered(depot: ReferenceDepot) -> Depot:
    return Depot(
        depot_id=depot.depot_id,
        municipality_id="syddjurs",
        name="Depot",
        lat=depot.lat,
        lon=depot.lon,
        radius_m=depot.radius_m,
        polygon=depot.polygon,
        capacity=1,
    )


def _folded(
    fixes: list[Fix],
    cuts: list[int],
    depots: Sequence[ReferenceDepot] = (),
    rules: Rules = _RULES,
) -> _Rows:
    rows = _Rows(depots, rules)
    for begin, end in pairwise([0, *sorted(cuts), len(fixes)]):
        if begin < end:
            rows.take(fixes[begin:end])
    return rows


def _same(rows: _Rows, expected: Reference) -> None:
    assert [
        (str(segment.state), segment.started_at, segment.ended_at, segment.moved, segment.private)
        for segment in rows.segments
    ] == [
        (segment.state, segment.started_at, segment.ended_at, segment.moved, segment.private)
        for segment in expected.segments
    ]
    assert [segment.distance_m for segment in rows.segments] == pytest.approx(
        [segment.distance_m for segment in expected.segments]
    )
    assert [
        (trip.started_at, trip.ended_at, trip.driving, trip.idling, trip.is_open, trip.motion_only)
        for trip in rows.trips
    ] == [
        (trip.started_at, trip.ended_at, trip.driving, trip.idling, trip.is_open, trip.motion_only)
        for trip in expected.trips
    ]
    assert [trip.mileage.source for trip in rows.trips] == [trip.source for trip in expected.trips]
    for trip, other in zip(rows.trips, expected.trips, strict=True):
        assert trip.mileage.gps_m == pytest.approx(other.gps_m)
        assert trip.mileage.odometer_m == pytest.approx(other.odometer_m)
    assert [trip.distance_m for trip in rows.trips] == pytest.approx(
        [trip.distance_m for trip in expected.trips]
    )
    assert rows.refused == expected.refused


def _same_round_trips(
    rows: _Rows,
    expected: Reference,
    fixes: list[Fix],
    depots: Sequence[ReferenceDepot],
    rules: Rules,
) -> None:
    reference_round_trips = round_trips(
        expected,
        fixes,
        depots,
        longest=timedelta(seconds=rules.round_trip_max_s),
        split_stop=timedelta(seconds=rules.round_trip_split_stop_s),
    )
    assert [
        (
            round_trip.started_at,
            round_trip.ended_at,
            str(round_trip.kind),
            round_trip.start_depot_id,
            round_trip.end_depot_id,
            round_trip.trip_count,
            round_trip.is_open,
            round_trip.part,
        )
        for round_trip in rows.round_trips
    ] == [
        (
            reference_round_trip.started_at,
            reference_round_trip.ended_at,
            reference_round_trip.kind,
            reference_round_trip.start_depot_id,
            reference_round_trip.end_depot_id,
            reference_round_trip.trip_count,
            reference_round_trip.is_open,
            reference_round_trip.part,
        )
        for reference_round_trip in reference_round_trips
    ]
    assert [round_trip.distance_m for round_trip in rows.round_trips] == pytest.approx(
        [reference_round_trip.distance_m for reference_round_trip in reference_round_trips]
    )


def _same_hours(
    rows: _Rows, expected: Reference, fixes: list[Fix], depots: Sequence[ReferenceDepot]
) -> None:
    by_hour = hours(expected, fixes, depots)
    none = timedelta()
    assert {
        hour.hour: (
            hour.driving,
            hour.idling,
            hour.parked,
            hour.offline,
            hour.away,
            hour.trip_count,
        )
        for hour in rows.hours
    } == {
        hour: (
            *(
                reference_hour.lengths.get(state, none)
                for state in ("driving", "idling", "parked", "offline")
            ),
            reference_hour.away,
            reference_hour.trip_count,
        )
        for hour, reference_hour in by_hour.items()
    }
    for usage in rows.hours:
        assert (
            usage.driving
            <= usage.away
            <= usage.driving + usage.idling + usage.parked + usage.offline
        )


def _tiles(rows: _Rows, fixes: list[Fix]) -> None:
    """Law 1: every second once."""
    counted = [fix for fix in fixes if fix.recorded_at not in rows.refused]
    if len(counted) < 2:
        assert not rows.segments
        return
    assert rows.segments[0].started_at == counted[0].recorded_at
    assert rows.segments[-1].ended_at == counted[-1].recorded_at
    assert all(segment.ended_at == other.started_at for segment, other in pairwise(rows.segments))
    by_hours = {
        SegmentState.DRIVING: sum((hour.driving for hour in rows.hours), timedelta()),
        SegmentState.IDLING: sum((hour.idling for hour in rows.hours), timedelta()),
        SegmentState.PARKED: sum((hour.parked for hour in rows.hours), timedelta()),
        SegmentState.OFFLINE: sum((hour.offline for hour in rows.hours), timedelta()),
    }
    by_segments = dict.fromkeys(SegmentState, timedelta())
    instants = {hour.hour for hour in rows.hours}
    for segment in rows.segments:
        by_segments[segment.state] += segment.ended_at - segment.started_at
        by_hours[segment.state] += _HOUR * len(_untold(segment, instants, counted))
    assert by_hours == by_segments
    assert sum(hour.trip_count for hour in rows.hours) == len(rows.trips)
    driven_m = sum(
        segment.distance_m for segment in rows.segments if segment.state is SegmentState.DRIVING
    )
    assert sum(hour.distance_m for hour in rows.hours) == pytest.approx(driven_m)


def _untold(segment: Segment, container: Container[datetime], counted: list[Fix]) -> list[datetime]:
    """Return the hours within a segment that have no row: none but those of a long silence."""
    hour = segment.started_at.replace(minute=0, second=0, microsecond=0)
    if hour < segment.started_at:
        hour += _HOUR
    untold = []
    while hour + _HOUR <= segment.ended_at:
        if hour not in container:
            untold.append(hour)
            before = max(fix.recorded_at for fix in counted if fix.recorded_at <= hour)
            after = min(fix.recorded_at for fix in counted if fix.recorded_at > hour)
            assert hour + _HOUR <= after
            assert after - before > MAX_HOURLY_SILENCE
            assert segment.state in {SegmentState.PARKED, SegmentState.OFFLINE}
        hour += _HOUR
    return untold


@settings(max_examples=examples(400), deadline=None)
@given(fixes=journeys() | outages(private=True), data=st.data())
def test_any_batches_equal_the_whole_list(fixes: list[Fix], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(fixes)), max_size=6))
    rows = _folded(fixes, cuts)
    _same(rows, compute(fixes))
    _tiles(rows, fixes)


@settings(max_examples=examples(60), deadline=None)
@given(fixes=journeys() | outages(private=True))
def test_one_by_one_equals_the_whole_list(fixes: list[Fix]) -> None:
    rows = _folded(fixes, list(range(len(fixes))))
    _same(rows, compute(fixes))
    _tiles(rows, fixes)


@settings(max_examples=examples(100), deadline=None)
@given(fixes=journeys() | outages(private=True))
def test_a_state_is_read_as_it_was_written(fixes: list[Fix]) -> None:
    state, _ = advance(None, fixes, (), _RULES)
    again = STATE.validate_json(dump(state))
    assert again == state
    assert repr(again) == repr(STATE.validate_json(STATE.dump_json(state)))


@pytest.mark.parametrize("rules", [_RULES, _SHORT], ids=["defaults", "short"])
def test_round_trips_and_hours_equal_those_of_the_whole_list(rules: Rules) -> None:
    @settings(max_examples=examples(200), deadline=None)
    @given(fixes=journeys() | outages(private=True), data=st.data())
    def law(fixes: list[Fix], data: st.DataObject) -> None:
        depots = data.draw(st.lists(st.sampled_from(_DEPOTS), unique=True))
        cuts = data.draw(st.lists(st.integers(0, len(fixes)), max_size=6))
        rows = _folded(fixes, cuts, depots, rules)
        expected = compute(fixes)
        _same_round_trips(rows, expected, fixes, depots, rules)
        _same_hours(rows, expected, fixes, depots)

    law()


def test_ignition_run_across_a_departure_is_measured_when_the_departure_is_told() -> None:
    """Engine off for 30.5 s, 0.5 s of them before the departure, which 10.5 s of them tell.

    Measured as a whole the run would be no noise; but the stay is final once its end is told.
    """
    fixes = [
        Fix(
            vehicle_id="syddjurs/car-1",
            recorded_at=_START + timedelta(seconds=seconds),
            lat=lat,
            lon=10.4,
            ignition=ignition,
            speed_mps=speed_mps,
        )
        for seconds, lat, ignition, speed_mps in (
            (0, 56.3, True, None),
            (0.5, 56.3, False, None),
            (1, 56.3, None, None),
            (11, 56.298, None, 22.0),
            (31, 56.298, None, None),
        )
    ]
    rows = _folded(fixes, [])
    _same(rows, compute(fixes))
    assert rows.segments[0].state is SegmentState.IDLING
    assert rows.segments[0].ended_at == _START + timedelta(seconds=1)


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
    cabs = list(_cabs().values())
    for fixes in cabs[: examples(len(cabs))]:
        unique = sorted({fix.recorded_at: fix for fix in fixes}.values(), key=_at)
        lat, lon = unique[0].lat, unique[0].lon
        assert lat is not None
        assert lon is not None
        depots = (ReferenceDepot("san-francisco/depot", lat, lon, 500.0),)
        rows = _folded(unique, list(range(0, len(unique), 997)), depots)
        expected = compute(unique)
        _same(rows, expected)
        _tiles(rows, unique)
        _same_round_trips(rows, expected, unique, depots, _RULES)
        _same_hours(rows, expected, unique, depots)


def _at(fix: Fix) -> datetime:
    return fix.recorded_at
