"""What is known of a gap: parked, or a drive that only the odometer tells of."""

from __future__ import annotations

import pytest

from tests.scenario.batch_reference import compute
from tests.timeline_report import fixes, folded, report_of_fixes

OFF = False


@pytest.mark.parametrize(
    ("driven_m", "north_m", "state", "moved", "distance_m"),
    [
        (0.0, 0.0, "parked", [], 0.0),
        (1999.0, 0.0, "parked", [], 0.0),  # an odometer that came late, or counts kilometres
        (2000.0, 0.0, "offline", [True], 2000.0),
        (46_000.0, 0.0, "offline", [True], 46_000.0),
        (46_000.0, 9000.0, "offline", [True], 46_000.0),
        (5000.0, 9000.0, "offline", [True], 9000.0),  # less than the straight line: it lags
        (900_000.0, 0.0, "parked", [], 0.0),  # another odometer
        (-5000.0, 0.0, "parked", [], 0.0),
    ],
)
def test_an_odometer_knows_of_a_drive_that_nobody_saw(
    driven_m: float, north_m: float, state: str, moved: list[bool], distance_m: float
) -> None:
    before, after = fixes([(0, 0, OFF, 0), (10_000, north_m, OFF, 0)])
    entries = [
        before.model_copy(update={"odometer_m": 12_345_000.0}),
        after.model_copy(update={"odometer_m": 12_345_000.0 + driven_m}),
    ]
    result = report_of_fixes(entries)
    assert result.segments == [(state, 0, 10_000)]
    assert result.offline_moved == moved
    assert result.trips == []
    _, changes = folded(entries)
    assert changes.segments.rows[0].distance_m == pytest.approx(distance_m, abs=1)
    (reference,) = compute(entries).segments
    assert (reference.state, reference.moved) == (state, bool(moved))
    assert reference.distance_m == pytest.approx(distance_m, abs=1)


def test_what_an_odometer_says_of_private_mode_is_not_told() -> None:
    before, private, after = fixes([(0, 0, OFF, 0), (600, 0, OFF, 0), (10_000, 0, OFF, 0)])
    entries = [
        before.model_copy(update={"odometer_m": 1000.0}),
        private.model_copy(update={"private_mode": True, "lat": None, "lon": None}),
        after.model_copy(update={"odometer_m": 47_000.0}),
    ]
    _, changes = folded(entries)
    assert [(row.private, row.moved, row.distance_m) for row in changes.segments.rows] == [
        (True, False, 0.0)
    ]
