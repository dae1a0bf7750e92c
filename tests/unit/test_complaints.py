"""What users of other systems complain about (docs/domain.md), as tests of ours, named after it.

Stories are seconds, metres north of the start, ignition and km/h; see `tests/timeline_report.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from processors.timeline.validation import Arrival, resolve
from processors.timeline.vehicle_fold import silent
from schemas.events.fix import Fix, NativeFix
from tests.timeline_report import (
    RULES,
    START,
    VEHICLE,
    FixSpec,
    fixes,
    fold_report,
    folded,
    report_of_changes,
    report_of_fixes,
)

OFF, ON = False, True

TOWN = [
    FixSpec(0, 0, OFF, 0),
    FixSpec(60, 0, ON, 0),
    FixSpec(120, 0, ON, 0),
    FixSpec(180, 900, ON, 0),  # a light
    FixSpec(240, 900, ON, 0),
    FixSpec(300, 1800, ON, 40),
    FixSpec(360, 2500, ON, 0),  # arrives, and lets the engine run
    FixSpec(960, 2500, OFF, 0),
    FixSpec(1800, 2500, OFF, 0),
]
"""A minute of warming up, a light, ten minutes of idling at the destination."""


def test_traccar_4781_no_idle_or_moving_time_is_missing() -> None:
    result = fold_report(TOWN)
    assert result.segments == [
        ("parked", 0, 60),
        ("idling", 60, 120),
        ("driving", 120, 180),
        ("idling", 180, 240),
        ("driving", 240, 360),
        ("idling", 360, 960),
        ("parked", 960, 1800),
    ]
    assert (result.driving_s, result.idling_s) == ([180], [60])
    assert result.idle == [(360, 960)]
    assert result.hours_s == 1800


def test_traccar_4781_an_engine_on_between_two_distant_reports_idles() -> None:
    result = fold_report([(0, 0, ON, 0), (3600, 0, ON, 0), (7200, 0, OFF, 0), (9000, 0, OFF, 0)])
    assert result.idle == [(0, 7200)]


def test_traccar_4301_the_trip_of_a_tracker_that_fell_silent_has_an_end() -> None:
    """While it is silent, from what is said of it then."""
    state, changes = folded(fixes(TOWN[:6]))
    assert report_of_changes(changes).open_trips == 1
    until = START + timedelta(seconds=300 + 3601)
    entry = report_of_changes(silent(state, VEHICLE.vehicle_id, until, (), RULES))
    assert (entry.trips, entry.open_trips) == ([(120, 300)], 0)
    assert entry.segments[-1] == ("offline", 300, 3901)


@pytest.mark.parametrize(("back_m", "moved"), [(1800, [False]), (40_000, [True])])
def test_traccar_4301_the_trip_ends_where_it_was_last_heard_of_when_the_tracker_is_back(
    back_m: float, moved: list[bool]
) -> None:
    result = fold_report([*TOWN[:6], (9000, back_m, ON, 0)])
    assert (result.trips, result.open_trips) == ([(120, 300)], 0)
    assert result.segments[-1] == ("offline", 300, 9000)
    assert result.offline_moved == moved


def test_traccar_trips_a_light_splits_none_and_a_visit_merges_none() -> None:
    visit = [FixSpec(960, 2500, OFF, 0), FixSpec(1020, 2500, ON, 0), FixSpec(1080, 1800, ON, 40)]
    result = fold_report([*TOWN[:7], *visit, (1200, 0, ON, 0), (1500, 0, OFF, 0)])
    assert result.trips == [(120, 360), (1020, 1200)]


@pytest.mark.parametrize("stays_s", [0, 30, 120, 600])
def test_traccar_short_out_and_back_trips_are_not_lost(stays_s: float) -> None:
    """300 m out and back at 36 km/h, in a minute of driving."""
    leaves = 90 + stays_s
    out = [
        FixSpec(60, 0, ON, 0),
        FixSpec(75, 150, ON, 36),
        FixSpec(90, 300, ON, 0 if stays_s else 36),
    ]
    turn = [FixSpec(leaves, 300, ON, 0)] if stays_s else []
    back = [FixSpec(leaves + 15, 150, ON, 36), FixSpec(leaves + 30, 0, OFF, 0)]
    result = fold_report(
        [FixSpec(0, 0, OFF, 0), *out, *turn, *back, FixSpec(leaves + 300, 0, OFF, 0)]
    )
    whole = [(60, leaves + 30)]
    assert result.trips == (whole if stays_s < 180 else [(60, 90), (690, 720)])
    assert result.open_trips == 0
    assert sum(result.trip_m) == pytest.approx(600)
    assert sum(result.driving_s) == 60


def test_traccar_2871_a_jump_adds_no_kilometres() -> None:
    story = TOWN.copy()
    story.insert(5, FixSpec(270, 40_000, ON, 40))
    result = fold_report(story)
    assert result.refused == [(270, "impossible-leg")]
    assert result.segments == fold_report(TOWN).segments
    assert result.driven_m == pytest.approx(fold_report(TOWN).driven_m) == pytest.approx(2500)


def test_traccar_2871_jitter_of_a_parked_vehicle_adds_no_kilometres() -> None:
    night = [FixSpec(60 * n, (0, 12, -9, 20, 3)[n % 5], OFF, 0) for n in range(480)]
    result = fold_report(night)
    assert result.segments == [("parked", 0, 60 * 479)]
    assert (result.trips, result.driven_m) == ([], 0)


def test_traccar_2871_jitter_at_a_light_adds_no_kilometres() -> None:
    story = TOWN.copy()
    story[4:4] = [FixSpec(190, 915, ON, 0), FixSpec(200, 892, ON, 0), FixSpec(210, 910, ON, 0)]
    result = fold_report(story)
    assert result.idling_s == [60]
    assert result.trip_m == [pytest.approx(2500)]


def test_traccar_2871_a_jump_below_200_km_per_hour_of_a_parked_vehicle_makes_no_trip() -> None:
    """One position of 20, 300 m away: it was a trip of 600 m with the engine off."""
    result = fold_report([FixSpec(60 * n, 300 if n == 5 else 0, OFF, 0) for n in range(20)])
    assert (result.trips, result.driven_m) == ([], 0)


@pytest.mark.parametrize(
    ("away", "trips"),
    [
        ([(300, OFF, 0), (300, OFF, 0)], [(240, 420)]),  # another one confirms it
        ([(300, OFF, 30)], [(240, 360)]),  # its speed does
        ([(300, ON, 0)], [(240, 360)]),  # its engine does
    ],
)
def test_traccar_2871_a_position_far_away_that_something_confirms_makes_a_trip(
    away: list[tuple[float, bool, float]], trips: list[tuple[float, float]]
) -> None:
    back = 5 + len(away)
    entries = [*[(0, OFF, 0)] * 5, *away, *[(0, OFF, 0)] * (20 - back)]
    result = fold_report([FixSpec(60 * n, *entry) for n, entry in enumerate(entries)])
    assert result.trips == trips


def test_traccar_2871_a_stale_position_does_not_outlaw_the_true_ones_after_it() -> None:
    """Back in coverage, a tracker says its last position once more: it had stood for 20 minutes.

    So the recorded taxis do, ten times (aiwalb on 2008-05-20 from 06:56 to 07:18, and 08:21).
    """
    before = [FixSpec(0, 0), FixSpec(60, 900), FixSpec(120, 1800)]
    stale = [FixSpec(1284, 1800)]
    after = [FixSpec(1303, 9000), FixSpec(1360, 9600), FixSpec(1420, 10_200), FixSpec(1480, 10_800)]
    result = fold_report([*before, *stale, *after, FixSpec(2400, 10_800)])
    assert result.trips == [(0, 1480)]


def test_traccar_5601_a_static_odometer_makes_no_trip_of_0_km() -> None:
    stuck = [fix.model_copy(update={"odometer_m": 123_456.0}) for fix in fixes(TOWN)]
    assert report_of_fixes(stuck).trip_m == [pytest.approx(2500)]


def test_traccar_6015_a_late_fix_counts_where_it_was_recorded() -> None:
    """Its place in the row of fixes is by device time; in rows: `test_complaints_in_rows.py`."""
    first, late, second = fixes(TOWN[:4]), fixes([(210, 950, ON, 20)]), fixes(TOWN[4:])
    arriving = [Arrival(fix, START) for fix in (*first, *second, *late)]
    counting, lost = resolve(arriving)
    assert not lost
    assert sorted(counting) == [fix.recorded_at for fix in (*first, *late, *second)]


def test_traccar_3572_the_offset_of_a_time_changes_nothing_but_how_it_is_written() -> None:
    reports = fixes(TOWN)
    zones = ("+00:00", "+02:00", "-07:00", "+05:45")
    written = []
    for index, fix in enumerate(reports):
        offset = zones[index % len(zones)]
        zone = datetime.fromisoformat(f"2026-01-01T00:00{offset}").tzinfo
        local = fix.recorded_at.astimezone(zone)
        written.append(fix.model_dump(mode="json") | {"recorded_at": local.isoformat()})
    again = [Fix.model_validate(entry) for entry in written]
    assert report_of_fixes(again) == fold_report(TOWN)
    assert all(fix.recorded_at.tzinfo is UTC for fix in again)


def test_traccar_3572_a_time_without_offset_is_refused_not_guessed() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        NativeFix.model_validate(
            {"vehicle_id": "a", "recorded_at": "2026-03-02T08:00:00", "lat": 56.3, "lon": 10.4}
        )


@pytest.mark.parametrize(
    "local_night",
    [datetime(2026, 3, 29, 0, 55, tzinfo=UTC), datetime(2026, 10, 25, 0, 55, tzinfo=UTC)],
)
def test_traccar_3572_a_clock_change_on_the_way_makes_no_trip_longer(
    local_night: datetime,
) -> None:
    """Copenhagen goes from 02:00 to 03:00, and back from 03:00 to 02:00, at 01:00 UTC."""
    shift = local_night - START
    moved = [fix.model_copy(update={"recorded_at": fix.recorded_at + shift}) for fix in fixes(TOWN)]
    result = report_of_fixes(moved)
    assert result.driving_s == [180]
    assert result.hours_s == 1800


def test_traccar_4373_a_trip_needs_no_ignition() -> None:
    """The wire is loose: the engine is reported off all the way."""
    loose = fold_report([entry._replace(ignition=OFF) for entry in TOWN])
    assert loose.trips == fold_report(TOWN).trips
    assert loose.trip_m == pytest.approx(fold_report(TOWN).trip_m)
    assert loose.driving_s == [180]


def test_traccar_4373_a_trip_ends_though_the_ignition_stays_on() -> None:
    stuck = fold_report([entry._replace(ignition=ON) for entry in TOWN])
    assert (stuck.trips, stuck.open_trips) == (fold_report(TOWN).trips, 0)


def test_traccar_4373_an_ignition_that_flickers_changes_nothing() -> None:
    flickering = []
    for entry in TOWN:
        flickering.append(entry)
        if 120 <= entry.at_s < 960:
            flickering += [
                entry._replace(at_s=entry.at_s + 1, ignition=OFF),
                entry._replace(at_s=entry.at_s + 2, ignition=ON),
            ]
    assert fold_report(flickering).segments == [
        ("parked", 0, 60),
        ("idling", 60, 122),  # it stands for two seconds more by these reports
        ("driving", 122, 180),
        ("idling", 180, 242),
        ("driving", 242, 360),
        ("idling", 360, 960),
        ("parked", 960, 1800),
    ]


def test_duplicates_count_once_whoever_received_them_when() -> None:
    reports = fixes(TOWN)
    later = START + timedelta(days=3)
    twice = [Arrival(fix, at) for at in (later, START) for fix in reversed(reports)]
    counting, lost = resolve(twice)
    assert not lost
    assert report_of_fixes([counting[at].fix for at in sorted(counting)]) == fold_report(TOWN)
    assert {arrival.received_at for arrival in counting.values()} == {START}
