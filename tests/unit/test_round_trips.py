"""Round trips: how they end, how an over-long one is split, and where home was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from processors.depot_index import DepotIndex
from processors.geodesy import Point
from processors.timeline.mileage import Mileage
from processors.timeline.trips import Trip
from processors.usage.round_trips import RoundTrip, RoundTrips, home_at
from schemas.fleet.master_data import Depot, Home
from schemas.fleet.rules import Rules

_START = datetime(2026, 3, 2, 6, tzinfo=UTC)
_PLACES = {"A": Point(56.0, 10.0), "B": Point(56.1, 10.0), "x": Point(56.2, 10.0)}
_DEPOTS = DepotIndex(
    Depot(
        depot_id=f"odder/{name}",
        municipality_id="odder",
        name=name,
        lat=_PLACES[name].lat,
        lon=_PLACES[name].lon,
        capacity=1,
    )
    for name in "AB"
)


def _at(hours: float) -> datetime:
    return _START + timedelta(hours=hours)


def _trip(start_h: float, end_h: float, way: str, distance_m: float = 10_000.0) -> Trip:
    """Return an ended trip: `Ax` goes from depot A to somewhere else."""
    return Trip(
        _at(start_h),
        _at(end_h),
        _PLACES[way[0]],
        _PLACES[way[1]],
        is_open=False,
        mileage=Mileage(counted_m=distance_m),
    )


def _strung(*trips: Trip, rules: Rules | None = None) -> RoundTrips:
    strung = RoundTrips(None, (), _DEPOTS, rules or Rules())
    for trip in trips:
        strung.add(trip)
    return strung


def _said(
    round_trip: RoundTrip | None,
) -> tuple[float, float, str, str | None, str | None, int, int]:
    assert round_trip is not None
    return (
        (round_trip.started_at - _START) / timedelta(hours=1),
        (round_trip.ended_at - _START) / timedelta(hours=1),
        round_trip.kind.value,
        round_trip.start_depot_id and round_trip.start_depot_id[-1],
        round_trip.end_depot_id and round_trip.end_depot_id[-1],
        round_trip.trip_count,
        round_trip.part,
    )


def test_a_day_with_long_stops_stays_whole_while_it_is_short_enough() -> None:
    strung = _strung(_trip(0, 1, "Ax"), _trip(5, 6, "xx"), _trip(9, 10, "xA"))
    assert [_said(round_trip) for round_trip in strung.ended] == [
        (0, 10, "complete", "A", "A", 3, 0)
    ]
    assert strung.not_ended() is None


def test_an_over_long_one_is_split_at_stops_longer_than_three_quarters_of_an_hour() -> None:
    strung = _strung(
        _trip(0, 1, "Ax"),
        _trip(1.75, 2, "xx"),  # 45 min are not longer than 45 min
        _trip(2.8, 3, "xx"),
        _trip(14, 15, "xA"),  # a night elsewhere
        _trip(16, 17, "AB"),
    )
    assert [_said(round_trip) for round_trip in strung.ended] == [
        (0, 2, "over-long", "A", None, 2, 1),
        (2.8, 3, "over-long", None, None, 1, 2),
        (14, 15, "over-long", None, "A", 1, 3),
        (16, 17, "one-way", "A", "B", 1, 0),
    ]
    assert sum(round_trip.distance_m for round_trip in strung.ended) == 50_000


def test_without_a_long_stop_it_is_cut_before_the_trip_that_makes_it_too_long() -> None:
    trips = [_trip(hour, hour + 0.9, "xx") for hour in range(1, 12)]
    strung = _strung(_trip(0, 0.9, "Ax"), *trips, _trip(12, 12.9, "xB"))
    assert [_said(round_trip) for round_trip in strung.ended] == [
        (0, 9.9, "over-long", "A", None, 10, 1),
        (10, 12.9, "over-long", None, "B", 3, 2),
    ]


def test_a_single_trip_that_is_too_long_stays_whole() -> None:
    assert [_said(round_trip) for round_trip in _strung(_trip(0, 11, "AA")).ended] == [
        (0, 11, "over-long", "A", "A", 1, 0)
    ]


def test_what_is_underway_shows_its_last_part_once_it_is_over_long() -> None:
    strung = _strung(_trip(0, 1, "Ax"), _trip(5, 6, "xx"))
    assert _said(strung.not_ended()) == (0, 6, "open", "A", None, 2, 0)
    assert (strung.ended, len(strung.parts)) == ([], 2)
    strung.add(_trip(11, 12, "xx"))
    assert [_said(round_trip) for round_trip in strung.ended] == [
        (0, 1, "over-long", "A", None, 1, 1),
        (5, 6, "over-long", None, None, 1, 2),
    ]
    assert _said(strung.not_ended()) == (11, 12, "open", None, None, 1, 3)
    assert len(strung.parts) == 1


def test_a_vehicle_that_knows_no_depot_keeps_a_small_state_for_ever() -> None:
    strung = _strung(*(_trip(8 * day, 8 * day + 1, "xx") for day in range(400)))
    assert len(strung.parts) == 1
    assert [round_trip.part for round_trip in strung.ended] == list(range(1, 400))


def test_a_part_shorter_than_a_round_trip_does_not_count() -> None:
    strung = _strung(_trip(0, 1, "Ax"), _trip(5, 6, "xx", 99.0), _trip(11, 12, "xA"))
    assert [round_trip.part for round_trip in strung.ended] == [1, 3]


@pytest.mark.parametrize(
    ("then_h", "now_h", "since_h", "entries"),
    [
        # Longest allowed, before and after; all of it had been open, or its last part only.
        (10, 4, 0, [(0, 1, "over-long", "A", None, 1, 1), (5, 6, "over-long", None, "A", 2, 2)]),
        (4, 10, 5, [(5, 6, "over-long", None, "A", 2, 2)]),
    ],
)
def test_rules_that_change_underway_leave_neither_gap_nor_overlap(
    then_h: float, now_h: float, since_h: float, entries: list[object]
) -> None:
    before = _strung(
        _trip(0, 1, "Ax"), _trip(5, 5.5, "xx"), rules=Rules(round_trip_max_s=3600 * then_h)
    )
    after = RoundTrips(before.underway, before.parts, _DEPOTS, Rules(round_trip_max_s=3600 * now_h))
    assert after.since == _at(since_h)
    early = [_said(round_trip) for round_trip in after.ended]
    assert early == [entry for entry in entries if entry == (0, 1, "over-long", "A", None, 1, 1)]
    after.add(_trip(5.6, 6, "xA"))
    assert [_said(round_trip) for round_trip in after.ended] == entries


def test_a_state_from_before_round_trips_were_split_goes_on_as_one_part() -> None:
    before = _strung(_trip(0, 1, "Ax"), _trip(5, 6, "xx")).underway
    strung = RoundTrips(before, (), _DEPOTS, Rules())
    strung.add(_trip(11, 12, "xA"))
    assert [_said(round_trip) for round_trip in strung.ended] == [
        (0, 6, "over-long", "A", None, 2, 1),
        (11, 12, "over-long", None, "A", 1, 2),
    ]


def test_home_is_what_it_was_then() -> None:
    homes = (
        Home("odder/A", None, _at(10)),
        Home("odder/B", _at(10), _at(20)),
        Home("odder/A", _at(30), None),
    )
    for hours, expected in ((-99, "A"), (9.9, "A"), (10, "B"), (20, None), (30, "A"), (999, "A")):
        entry = home_at(homes, _at(hours))
        assert entry == (expected and f"odder/{expected}")
    assert home_at((), _START) is None
