"""What is wrong with a fix by itself, and which of two contradicting ones counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.arrivals import Arrival, fault, resolve, suspects
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


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AROUND_THE_LIMIT = st.integers(-3, 3).map(
    lambda off: RECEIVED + timedelta(days=1, microseconds=off)
)


@given(
    at=st.datetimes(timezones=st.just(UTC)) | _AROUND_THE_LIMIT,
    lat=st.sampled_from((0.0, -0.0, 56.3)),
    lon=st.sampled_from((0.0, 10.4)),
)
def test_every_fault_is_suspected_from_afar(at: datetime, lat: float, lon: float) -> None:
    rules = Rules()
    suspected = suspects(
        lat=np.array([lat]),
        lon=np.array([lon]),
        recorded_us=np.array([(at - _EPOCH) // timedelta(microseconds=1)]),
        received_us=np.array([(RECEIVED - _EPOCH) // timedelta(microseconds=1)]),
        max_future_s=np.array([rules.max_future_s]),
    )[0]
    at_fault = fault(fix(at, lat, lon), RECEIVED, rules) is not None
    assert suspected or not at_fault
    if abs(at - RECEIVED - timedelta(days=1)) > timedelta(seconds=1):
        assert bool(suspected) is at_fault
