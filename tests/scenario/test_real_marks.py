"""Recorded vehicles against marks of their own, and what the bench makes of them.

The limits are somewhat looser than what the bench prints: they hold what has been reached.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bench.intervals import between, common, differing_s, joined, lasts_s, total_s
from bench.ours import Rule, ours
from bench.recorded import Figures, fares, on_bare_van, on_taxis, on_van, told
from bench.rivals import RIVALS, Found
from tests.scenario.test_real_data import DATA

recorded = pytest.mark.skipif(not DATA.exists(), reason=f"recorded data are not at {DATA}")
_START = datetime(2026, 3, 2, tzinfo=UTC)


def _from(begin: float, end: float) -> Found:
    return Found(_START + timedelta(seconds=begin), _START + timedelta(seconds=end))


def test_sets_of_intervals_are_reckoned_as_by_hand() -> None:
    some, others = [_from(0, 10), _from(8, 20), _from(30, 40)], [_from(15, 35), _from(50, 60)]
    assert joined(some) == [_from(0, 20), _from(30, 40)]
    assert common(some, others) == [_from(15, 20), _from(30, 35)]
    assert between(some, _from(-5, 45)) == [_from(-5, 0), _from(20, 30), _from(40, 45)]
    assert total_s(some) == 30
    assert differing_s(some, others) == 30 + 30 - 2 * 10


@recorded
def test_the_vans_marks_are_read_as_its_events_tell_them() -> None:
    marks = told()
    assert list(map(lasts_s, marks.engine_on)) == [1703, 4528]
    assert list(map(lasts_s, marks.moving[:-1])) == [2037, 819]
    assert list(map(lasts_s, marks.standing)) == [72, 345]
    # Its clock puts one period where the other ends.
    assert marks.moving[0].ended_at == marks.standing[0].started_at
    assert marks.standing[0].ended_at == marks.moving[1].started_at
    assert marks.moving[1].ended_at == marks.standing[1].started_at
    assert marks.standing[1].ended_at == marks.moving[2].started_at


@recorded
def test_the_vans_engine_time_is_its_own_to_a_thousandth() -> None:
    figures = on_van(ours)
    assert figures["engine_error"] < 0.001
    assert figures["trip_time_engine_off"] < 0.001


@recorded
@pytest.mark.parametrize("score", [on_van, on_bare_van])
def test_the_vans_trips_are_nearer_to_its_trackers_periods_than_those_of_others(
    score: Callable[[Rule], Figures],
) -> None:
    figures = score(ours)
    assert figures["trip_recall"] >= 2 / 3
    assert figures["moving_error"] < 0.015
    for rival in RIVALS.values():
        others = score(rival)
        assert figures["trip_recall"] > others["trip_recall"]
        assert figures["trip_precision"] >= others["trip_precision"]
        assert figures["moving_error"] < others["moving_error"]
        assert figures["standing_error"] < others["standing_error"]


@recorded
def test_a_moving_fare_is_on_a_trip_and_a_standing_cab_is_not() -> None:
    figures = on_taxis(ours)
    assert sum(map(len, fares().values())) > 2000
    assert figures["fares_on_trip"] > 0.985
    assert figures["moving_fare_time_on_trip"] > 0.999
    assert figures["standing_time_on_trip"] < 0.001
    for rival in RIVALS.values():
        assert figures["moving_fare_time_on_trip"] > on_taxis(rival)["moving_fare_time_on_trip"]
