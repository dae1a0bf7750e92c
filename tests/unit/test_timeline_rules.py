"""Each rule of the timeline on both sides of its limit, with instants calculated by hand.

Stories are seconds, metres north of the start, ignition and km/h; see `tests/timeline_report.py`.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from processors.timeline.validation import fault
from schemas.events.fix import Fix
from tests.timeline_report import RULES, START, VEHICLE, FixSpec, TimelineReport, fold_report

OFF, ON = False, True


def drive_out(until_s: float = 300, until_m: float = 3000) -> list[FixSpec]:
    """Return a departure at 60 s and a drive north with a report a minute, engine on."""
    minutes = int(until_s // 60)
    per_minute = until_m / (minutes - 1)
    return [
        FixSpec(0, 0, ON, 0),
        FixSpec(60, 0, ON, 0),
        *(FixSpec(60 * n, per_minute * (n - 1), ON, 40) for n in range(2, minutes)),
        FixSpec(until_s, until_m, ON, 0),
    ]


# Ignition on and below 1 km/h; reported when longer than 200 s (Geotab)
@pytest.mark.parametrize(("kmh", "state"), [(0.0, "idling"), (0.99, "idling"), (1.01, "driving")])
def test_on_a_trip_one_km_per_hour_tells_idling_from_driving(kmh: float, state: str) -> None:
    """A minute at one spot, at that speed by its own account."""
    story = [
        FixSpec(0, 0, ON, 40),
        FixSpec(60, 700, ON, kmh),
        FixSpec(120, 700, ON, kmh),
        FixSpec(180, 1400, ON, 40),
    ]
    minute = [
        name for name, begin, end in fold_report(story).segments if begin <= 60 and end >= 120
    ]
    assert minute == [state]


@pytest.mark.parametrize(("metres", "state"), [(27.0, "idling"), (28.5, "driving")])
def test_beyond_the_noise_of_positions_the_displacement_is_the_speed(
    metres: float, state: str
) -> None:
    """In 100 s at 1 km/h it is 27.8 m, whatever the reports say of the speed."""
    story = [
        FixSpec(0, 0, ON, 40),
        FixSpec(60, 700, ON, 0),
        FixSpec(160, 700 + metres, ON, 0),
        FixSpec(220, 1400, ON, 40),
    ]
    leg = [name for name, begin, end in fold_report(story).segments if begin <= 60 and end >= 160]
    assert leg == [state]


@pytest.mark.parametrize(("until_s", "reported"), [(199, 0), (200, 0), (200.001, 1)])
def test_idling_is_reported_when_longer_than_200_s(until_s: float, reported: int) -> None:
    result = fold_report([(0, 0, ON, 0), (until_s, 0, OFF, 0), (1000, 0, OFF, 0)])
    assert result.segments == [("idling", 0, until_s), ("parked", until_s, 1000)]
    assert result.idle == [(0, until_s)] * reported


def test_idling_before_a_departure_and_after_an_arrival_is_told_apart_from_the_trip() -> None:
    result = fold_report([*drive_out(), (600, 3000, OFF, 0), (900, 3000, OFF, 0)])
    assert result.segments == [
        ("idling", 0, 60),
        ("driving", 60, 300),
        ("idling", 300, 600),
        ("parked", 600, 900),
    ]
    assert result.trips == [(60, 300)]
    assert result.idle == [(300, 600)]
    assert result.idling_s == [0]


# On/off shorter than 30 s apart is ignored (Geotab)
@pytest.mark.parametrize(
    ("lasts_s", "states"),
    [(29.999, ["parked"]), (30, ["parked", "idling", "parked"])],
)
def test_an_engine_that_is_on_for_less_than_30_s_was_not_on(
    lasts_s: float, states: list[str]
) -> None:
    result = fold_report([(0, 0, OFF), (100, 0, ON), (100 + lasts_s, 0, OFF), (600, 0, OFF)])
    assert [state for state, _, _ in result.segments] == states


@pytest.mark.parametrize(
    ("lasts_s", "states"),
    [(29.999, ["idling"]), (30, ["idling", "parked", "idling"])],
)
def test_an_engine_that_is_off_for_less_than_30_s_was_not_off(
    lasts_s: float, states: list[str]
) -> None:
    result = fold_report([(0, 0, ON), (100, 0, OFF), (100 + lasts_s, 0, ON), (600, 0, ON)])
    assert [state for state, _, _ in result.segments] == states


def test_an_ignition_that_takes_effect_does_so_from_its_start() -> None:
    result = fold_report([(0, 0, OFF), (100, 0, ON), (115, 0, ON), (400, 0, OFF), (600, 0, OFF)])
    assert result.segments == [
        ("parked", 0, 100),
        ("idling", 100, 400),
        ("parked", 400, 600),
    ]


def test_a_second_without_engine_on_the_road_leaves_the_trip_whole() -> None:
    story = drive_out()
    story[3:3] = [FixSpec(150, 1000, OFF, 40), FixSpec(151, 1010, ON, 40)]
    result = fold_report([*story, (600, 3000, OFF, 0)])
    assert result.trips == [(60, 300)]
    assert result.driving_s == [240]


# 200 m from the last standstill, back-dated to the departure (Traccar, mended)
@pytest.mark.parametrize(("metres", "trips"), [(199.9, []), (200.1, [(600, 660)])])
def test_a_trip_starts_200_m_from_the_standstill(
    metres: float, trips: list[tuple[float, float]]
) -> None:
    result = fold_report([(0, 0, ON, 0), (600, 0, ON, 0), (660, metres, ON, 30)])
    assert result.trips == trips


def test_a_trip_is_back_dated_to_the_departure_not_stamped_where_200_m_were_reached() -> None:
    result = fold_report(
        [
            (0, 0, OFF, 0),
            (600, 0, ON, 0),
            (630, 60, ON, 15),  # leaves
            (660, 150, ON, 15),
            (690, 260, ON, 15),  # only here is it a trip
        ]
    )
    assert result.trips == [(600, 690)]
    assert result.segments == [("parked", 0, 600), ("driving", 600, 690)]
    assert result.trip_m == [pytest.approx(260)]


def test_a_start_is_told_by_the_distance_from_the_standstill_not_along_the_way() -> None:
    """Round the yard: 600 m driven, never 200 m away."""
    yard = [FixSpec(30 * n, 150 if n % 2 else 0, ON, 18) for n in range(1, 5)]
    result = fold_report(
        [FixSpec(0, 0, ON, 0), *yard, FixSpec(150, 0, OFF, 0), FixSpec(600, 0, OFF, 0)]
    )
    assert result.trips == []
    assert result.driven_m == 0


# No point 200 m away for 180 s, stamped at the arrival (Traccar, mended)
@pytest.mark.parametrize(("waits_s", "is_open"), [(179.9, 1), (180, 0)])
def test_a_stop_takes_180_s_and_is_stamped_at_the_arrival(waits_s: float, is_open: int) -> None:
    result = fold_report([*drive_out(), (400, 3000, ON, 0), (300 + waits_s, 3000, ON, 0)])
    assert result.open_trips == is_open
    assert result.trips == [(60, 300 + waits_s if is_open else 300)]


def test_the_confirming_fix_may_come_much_later_and_moves_nothing() -> None:
    """Traccar stamps the trip's end at 1500 s."""
    result = fold_report([*drive_out(), (1500, 3000, OFF, 0)])
    assert result.trips == [(60, 300)]
    assert result.segments[-1] == ("idling", 300, 1500)


@pytest.mark.parametrize(
    ("waits_s", "trips"),
    [(179, [(60, 639)]), (181, [(60, 300), (481, 641)])],
)
def test_a_halt_is_part_of_the_trip_a_stop_is_not(
    waits_s: float, trips: list[tuple[float, float]]
) -> None:
    """It stands from 300 s for so long, then drives on for 160 s."""
    leaves = 300 + waits_s
    result = fold_report(
        [
            *drive_out(),
            (leaves, 3000, ON, 0),
            (leaves + 60, 3700, ON, 40),
            (leaves + 160, 5000, ON, 40),
        ]
    )
    assert result.trips == trips


@pytest.mark.parametrize(("away_m", "open_trips"), [(199, 0), (201, 1)])
def test_a_point_200_m_away_within_the_180_s_is_no_stop(away_m: float, open_trips: int) -> None:
    """Past the door, and on to a place so far beyond it, where it stands for 100 s."""
    result = fold_report(
        [*drive_out(), *((at_s, 3000 + away_m, ON, 0) for at_s in (400, 450, 500))]
    )
    assert result.open_trips == open_trips


def test_a_light_before_the_destination_is_traffic_not_the_arrival() -> None:
    result = fold_report(
        [
            *drive_out(),  # a red light at 300 s
            (330, 3000, ON, 0),
            (360, 3150, ON, 20),
            (390, 3190, ON, 0),  # the place
            (480, 3190, OFF, 0),
            (600, 3190, OFF, 0),
        ]
    )
    assert result.trips == [(60, 390)]
    assert result.idling_s == [30]


# 3600 s without a fix is offline, with movement and without told apart (Traccar)
@pytest.mark.parametrize(("lasts_s", "states"), [(3600, ["idling"]), (3600.001, ["offline"])])
def test_an_hour_is_still_heard_of_and_more_is_not(lasts_s: float, states: list[str]) -> None:
    result = fold_report([(0, 0, ON, 0), (lasts_s, 0, ON, 0)])
    assert [state for state, _, _ in result.segments] == states
    assert result.hours_s == pytest.approx(lasts_s)


@pytest.mark.parametrize(("metres", "moved"), [(199.9, [False]), (200.1, [True])])
def test_whether_it_moved_meanwhile_is_told_by_200_m(metres: float, moved: list[bool]) -> None:
    result = fold_report([(0, 0, ON, 0), (4000, metres, ON, 0)])
    assert result.offline_moved == moved
    assert result.trips == []
    assert result.driven_m == 0


@pytest.mark.parametrize(
    ("metres", "state"), [(0.0, "parked"), (199.9, "parked"), (200.1, "offline")]
)
def test_with_the_engine_off_and_no_movement_it_was_parked(metres: float, state: str) -> None:
    result = fold_report([(0, 0, OFF, 0), (50_000, metres, OFF, 0)])
    assert result.segments == [(state, 0, 50_000)]


def test_a_gap_on_the_road_ends_the_trip_where_it_was_last_heard_of() -> None:
    result = fold_report([*drive_out()[:-1], (5000, 9000, ON, 40)])
    assert result.trips == [(60, 240)]
    assert result.open_trips == 0
    assert result.segments[1:] == [("driving", 60, 240), ("offline", 240, 5000)]


# Over 200 km/h, at 0,0, or more than a day ahead: left out with a reason, never dropped
@pytest.mark.parametrize(("metres", "refused"), [(3330.0, []), (3337.0, [(60, "impossible-leg")])])
def test_over_200_km_per_hour_is_an_impossible_leg(
    metres: float, refused: list[tuple[float, str]]
) -> None:
    """In a minute at 200 km/h it is 3,333 m."""
    result = fold_report([(0, 0, ON, 40), (60, metres, ON, 40)])
    assert result.refused == refused
    assert result.driven_m == pytest.approx(0 if refused else metres)


def test_the_next_leg_is_measured_from_the_last_fix_that_counts() -> None:
    result = fold_report([(0, 0, OFF, 0), (60, 50_000, OFF, 0), (120, 5, OFF, 0)])
    assert result.refused == [(60, "impossible-leg")]
    assert result.segments == [("parked", 0, 120)]


@pytest.mark.parametrize(
    ("lat", "lon", "reason"),
    [(0.0, 0.0, "null-island"), (0.0, 0.00001, None), (0.00001, 0.0, None), (0.0, 10.4, None)],
)
def test_exactly_0_0_is_null_island(lat: float, lon: float, reason: str | None) -> None:
    fix = Fix(vehicle_id=VEHICLE.vehicle_id, recorded_at=START, lat=lat, lon=lon)
    assert _reason(fix) == reason


@pytest.mark.parametrize(("ahead_s", "reason"), [(86_400, None), (86_400.001, "future")])
def test_more_than_a_day_ahead_of_its_receipt_is_the_future(
    ahead_s: float, reason: str | None
) -> None:
    at = START + timedelta(seconds=ahead_s)
    fix = Fix(vehicle_id=VEHICLE.vehicle_id, recorded_at=at, lat=56.3, lon=10.4)
    assert _reason(fix) == reason


# A vehicle that never reports ignition: driving on its trips, parked between them
def without_ignition(light_s: float) -> TimelineReport:
    """Out, a light on the way, and a stop, with speeds and no ignition."""
    return fold_report(
        [
            (0, 0, None, 0),
            (60, 0, None, 0),
            (120, 900, None, 0),
            (120 + light_s, 900, None, 0),
            (180 + light_s, 1800, None, 0),
            (900, 1800, None, 0),
        ]
    )


def test_a_vehicle_that_never_reports_ignition_never_idles() -> None:
    result = without_ignition(light_s=60)
    assert result.segments == [("parked", 0, 60), ("driving", 60, 240), ("parked", 240, 900)]
    assert result.idle == []


def test_trips_without_ignition_end_like_others() -> None:
    assert without_ignition(light_s=179).trips == [(60, 359)]
    assert without_ignition(light_s=180).trips == [(60, 120), (300, 360)]


def test_without_ignition_nobody_knows_what_happened_in_a_gap() -> None:
    assert fold_report([(0, 0), (4000, 0)]).segments == [("offline", 0, 4000)]


def test_an_engine_first_heard_of_counts_at_once() -> None:
    assert fold_report([(0, 0), (60, 0, ON), (70, 0, ON)]).segments == [
        ("parked", 0, 60),
        ("idling", 60, 70),
    ]


def _reason(fix: Fix) -> str | None:
    entries = fault(fix, START, RULES)
    return None if entries is None else entries[0]
