"""What is wrong with a fix by itself, and which of two contradicting ones counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from processors.arrivals import Arrival, fault, resolve
from schemas.fix import Fix
from schemas.rules import Rules

RECEIVED = datetime(2026, 3, 2, 8, tzinfo=UTC)


def fix(recorded_at: datetime = RECEIVED, lat: float = 56.3, lon: float = 10.4) -> Fix:
    return Fix(vehicle_id="syddjurs/a", recorded_at=recorded_at, lat=lat, lon=lon)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (fix(lat=0, lon=0), "null-island"),
        (fix(RECEIVED + timedelta(days=1, seconds=1)), "future"),
        (fix(datetime(1, 1, 1, tzinfo=UTC)), "too-old"),  # a clock that was never set
        (fix(datetime(1970, 1, 1, tzinfo=UTC)), "too-old"),
        (fix(datetime(1980, 1, 6, tzinfo=UTC)), "too-old"),
    ],
)
def test_faults_are_named_with_value_and_remedy(wrong: Fix, reason: str) -> None:
    found = fault(wrong, RECEIVED, Rules())
    assert found is not None
    assert found[0] == reason
    assert any(word in found[1] for word in ("correct", "set the device's clock", "send none"))


@pytest.mark.parametrize("at", [RECEIVED + timedelta(days=1), datetime(2008, 5, 17, tzinfo=UTC)])
def test_a_day_ahead_and_an_old_recording_are_taken(at: datetime) -> None:
    assert fault(fix(at), RECEIVED, Rules()) is None


def test_of_two_contradicting_fixes_the_same_counts_in_either_order() -> None:
    one, other = (Arrival(fix(lat=lat), RECEIVED) for lat in (56.3, 56.4))
    assert resolve([one, other]) == resolve([other, one])
    counting, lost = resolve([one, other, one])
    assert (list(counting.values()), lost) == ([one], [other])
