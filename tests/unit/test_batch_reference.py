"""The slow reference itself, on cases small enough to calculate by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from schemas.events.fix import Fix
from tests.scenario.batch_reference import compute

_START = datetime(2026, 3, 2, 8, tzinfo=UTC)
_DEG_PER_M = 1 / 111_340  # of latitude, at 56 degrees north


def _fixes(*rows: tuple[float, float, bool | None]) -> list[Fix]:
    """Return fixes from seconds, metres to the north and ignition."""
    return [
        Fix(
            vehicle_id="syddjurs/car-1",
            recorded_at=_START + timedelta(seconds=seconds),
            lat=56.3 + metres * _DEG_PER_M,
            lon=10.4,
            ignition=ignition,
        )
        for seconds, metres, ignition in rows
    ]


def _at(seconds: float) -> datetime:
    return _START + timedelta(seconds=seconds)


def test_a_trip_is_back_dated_and_stamped_at_the_arrival() -> None:
    out = _fixes(
        (0, 0, False),
        (600, 0, True),
        (660, 150, True),  # away, though not yet 200 m
        (720, 700, True),
        (780, 1000, True),  # arrives
        (840, 1000, False),
        (1500, 1000, False),
    )
    result = compute(out)
    (trip,) = result.trips
    assert (trip.started_at, trip.ended_at) == (_at(600), _at(780))
    assert trip.distance_m == pytest.approx(1000, rel=0.002)
    assert trip.driving == timedelta(seconds=180)
    assert not trip.is_open
    assert [(segment.state, segment.started_at) for segment in result.segments] == [
        ("parked", _at(0)),
        ("driving", _at(600)),
        ("idling", _at(780)),
        ("parked", _at(840)),
    ]


def test_a_trip_at_the_end_of_the_data_is_open() -> None:
    result = compute(_fixes((0, 0, True), (60, 600, True), (120, 1200, True)))
    (trip,) = result.trips
    assert trip.is_open
    assert trip.ended_at == _at(120)


def test_standing_at_a_light_is_idling_within_the_trip() -> None:
    result = compute(
        _fixes(
            (0, 0, True), (60, 800, True), (120, 800, True), (180, 1600, True), (240, 2400, True)
        )
    )
    (trip,) = result.trips
    assert (trip.driving, trip.idling) == (timedelta(seconds=180), timedelta(seconds=60))


def test_without_ignition_a_trip_is_all_driving() -> None:
    result = compute(_fixes((0, 0, None), (60, 800, None), (120, 800, None), (180, 1600, None)))
    assert [segment.state for segment in result.segments] == ["driving"]


def test_short_ignition_is_noise_and_long_ignition_is_not() -> None:
    short = compute(_fixes((0, 0, False), (60, 0, True), (80, 0, False), (600, 0, False)))
    assert [segment.state for segment in short.segments] == ["parked"]
    long = compute(_fixes((0, 0, False), (60, 0, True), (90, 0, False), (600, 0, False)))
    assert [segment.state for segment in long.segments] == ["parked", "idling", "parked"]


@pytest.mark.parametrize(
    ("ignition", "metres", "state", "moved"),
    [
        (False, 150, "parked", False),
        (False, 300, "offline", True),
        (True, 150, "offline", False),
        (None, 0, "offline", False),
    ],
)
def test_a_gap_is_parked_only_where_nothing_can_have_happened(
    ignition: bool | None,  # noqa: FBT001 - a parameter of the test
    metres: float,
    state: str,
    moved: bool,  # noqa: FBT001 - the same
) -> None:
    result = compute(_fixes((0, 0, ignition), (4000, metres, None)))
    (segment,) = result.segments
    assert (segment.state, segment.moved) == (state, moved)
    assert not result.trips


def test_a_gap_ends_a_trip_at_its_last_standstill() -> None:
    result = compute(
        _fixes(
            (0, 0, True), (60, 900, True), (90, 1500, True), (150, 1500, True), (9000, 1500, True)
        )
    )
    (trip,) = result.trips
    assert trip.ended_at == _at(90)
    assert not trip.is_open


def test_what_no_vehicle_can_reach_is_left_out() -> None:
    result = compute(_fixes((0, 0, False), (60, 50_000, False), (120, 0, False)))
    assert result.refused == [_at(60)]
    assert [(segment.state, segment.ended_at) for segment in result.segments] == [
        ("parked", _at(120))
    ]


def test_duplicates_count_once_and_contradictions_are_refused() -> None:
    fixes = _fixes((0, 0, False), (60, 0, False))
    assert compute([*fixes, fixes[0]]) == compute(fixes)
    with pytest.raises(ValueError, match="two different fixes"):
        compute([*fixes, *_fixes((60, 10, False))])
