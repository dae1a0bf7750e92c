"""How far a trip went: the odometer where it can be believed, else the positions."""

from __future__ import annotations

import pytest

from processors.timeline.mileage import DistanceSource, Mileage
from schemas.fleet.rules import Rules

_RULES = Rules()


def _driven(readings: list[float | None], legs_m: list[float]) -> Mileage:
    """Return the mileage of legs of these lengths between these readings."""
    whole, metres = Mileage().driven(legs_m, readings[0], readings[1:], _RULES)
    mileage = Mileage()
    for index, length_m in enumerate(legs_m):
        before_m = mileage.counted_m
        mileage, [more_m] = mileage.driven(
            [length_m], readings[index], [readings[index + 1]], _RULES
        )
        assert metres[index] == more_m == mileage.counted_m - before_m
    assert mileage == whole
    return whole


def test_an_odometer_that_agrees_counts_bends_that_positions_cut() -> None:
    mileage = _driven([1000.0, 1120.0, 1240.0, 1360.0], [100.0, 100.0, 100.0])
    assert mileage.counted_m == 360.0
    assert mileage.source is DistanceSource.ODOMETER
    assert (mileage.gps_m, mileage.odometer_m) == (300.0, 360.0)


def test_without_readings_positions_count() -> None:
    mileage = _driven([None, None, None], [100.0, 100.0])
    assert mileage.counted_m == 200.0
    assert mileage.source is DistanceSource.GPS
    assert mileage.odometer_m is None


def test_an_odometer_that_stands_still_makes_no_trip_of_0_km() -> None:
    """Traccar #5601."""
    mileage = _driven([1000.0] * 11, [100.0] * 10)
    assert mileage.counted_m == pytest.approx(1000.0)
    assert mileage.source is DistanceSource.GPS
    assert mileage.odometer_m == 0.0


def test_an_odometer_that_jumps_back_counts_on_from_where_it_is() -> None:
    mileage = _driven([9000.0, 9110.0, 10.0, 120.0, 230.0], [100.0] * 4)
    assert mileage.counted_m == pytest.approx(110 + 90 + 110 + 110)
    assert mileage.source is DistanceSource.MIXED
    assert mileage.odometer_m == 230.0 - 9000.0


def test_an_odometer_of_whole_kilometres_does_not_inflate_a_trip() -> None:
    readings: list[float | None] = [float(100 * index // 1000 * 1000) for index in range(51)]
    mileage = _driven(readings, [100.0] * 50)
    assert mileage.counted_m == pytest.approx(5000.0)


def test_a_coarse_odometer_is_off_by_no_more_than_one_step() -> None:
    readings: list[float | None] = [float(80 * index // 100 * 100) for index in range(101)]
    mileage = _driven(readings, [80.0] * 100)
    assert mileage.counted_m == pytest.approx(8000.0, abs=100.0)


def test_a_reading_that_comes_late_catches_up() -> None:
    mileage = _driven([1000.0, None, None, 1330.0], [100.0] * 3)
    assert mileage.counted_m == pytest.approx(330.0)
    assert mileage.odometer_m == 330.0


@pytest.mark.parametrize(
    ("said_m", "source"),
    [
        (1000 * 0.7 - 50, DistanceSource.ODOMETER),
        (1000 * 0.7 - 51, DistanceSource.GPS),
        (1050 / 0.7, DistanceSource.ODOMETER),
        (1050 / 0.7 + 1, DistanceSource.GPS),
    ],
)
def test_limit_of_agreement(said_m: float, source: DistanceSource) -> None:
    assert _driven([0.0, said_m], [1000.0]).source is source
