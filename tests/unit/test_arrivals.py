"""What is wrong with a fix by itself, and which of two contradicting ones counts."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from processors.timeline.validation import Arrival, fault, resolve, suspects
from schemas.events.fix import Fix
from schemas.events.history import HistoryRange
from schemas.fleet.rules import FIX_KEPT_DAYS, Rules

MICROSECOND = timedelta(microseconds=1)
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
        (fix(RECEIVED - timedelta(weeks=1024)), "too-old"),  # a week rollover
        (fix(RECEIVED - timedelta(days=90, microseconds=1)), "too-old"),
    ],
)
def test_faults_are_named_with_value_and_remedy(wrong: Fix, reason: str) -> None:
    entries = fault(wrong, RECEIVED, Rules())
    assert entries is not None
    assert entries[0] == reason
    assert any(word in entries[1] for word in ("correct", "set the device's clock", "send none"))


@pytest.mark.parametrize("at", [RECEIVED + timedelta(days=1), RECEIVED - timedelta(days=90)])
def test_a_day_ahead_and_what_retention_would_keep_are_taken(at: datetime) -> None:
    assert fault(fix(at), RECEIVED, Rules()) is None


def test_history_is_taken_within_its_range_both_ends_included() -> None:
    since, until = datetime(2008, 5, 17, tzinfo=UTC), datetime(2008, 6, 10, tzinfo=UTC)
    history = HistoryRange(since, until)
    assert fault(fix(since), RECEIVED, Rules(), history) is None
    assert fault(fix(until), RECEIVED, Rules(), history) is None
    for outside in (since - MICROSECOND, until + MICROSECOND):
        entries = fault(fix(outside), RECEIVED, Rules(), history)
        assert entries is not None
        assert entries[0] == "too-old"
        assert str(history) in entries[1]
    assert fault(fix(RECEIVED), RECEIVED, Rules(), history) is None  # live fixes beside it
    for never_set in (datetime(1980, 1, 6, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)):
        anything = HistoryRange(never_set, until)
        assert fault(fix(never_set), RECEIVED, Rules(), anything) is not None


def test_what_is_kept_is_said_alike_wherever_it_is_said() -> None:
    policy = importlib.import_module("infra.migrations.versions.0002_timescale")
    assert policy.FIX_KEPT_DAYS == FIX_KEPT_DAYS == Rules().max_age_days
    with pytest.raises(ValidationError, match="less than or equal to 90"):
        Rules(max_age_days=91)


def test_of_two_contradicting_fixes_the_same_counts_in_either_order() -> None:
    arrival, other = (Arrival(fix(lat=lat), RECEIVED) for lat in (56.3, 56.4))
    assert resolve([arrival, other]) == resolve([other, arrival])
    counting, lost = resolve([arrival, other, arrival])
    assert (list(counting.values()), lost) == ([arrival], [other])


@given(
    arrivals=st.lists(
        st.builds(
            Arrival,
            st.sampled_from((fix(), fix(lat=56.4))),
            st.integers(0, 2).map(lambda second: RECEIVED + timedelta(seconds=second)),
            st.sampled_from(("a", "b")),
        ).map(lambda arrival: arrival._replace(rank=int(arrival.vendor == "b"))),
        min_size=3,
        max_size=4,
    )
)
def test_what_counts_does_not_depend_on_what_lost_before(arrivals: list[Arrival]) -> None:
    """A second vendor's fix loses, and then the first vendor comes round to say the same."""
    counting, _ = resolve(arrivals)
    assert all(resolve(others)[0] == counting for others in permutations(arrivals))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIMITS = (timedelta(days=1), timedelta(days=-90))
_AROUND_A_LIMIT = st.tuples(st.sampled_from(_LIMITS), st.integers(-3, 3)).map(
    lambda near: RECEIVED + near[0] + near[1] * MICROSECOND
)
_RANGES = st.tuples(*2 * [_AROUND_A_LIMIT | st.datetimes(timezones=st.just(UTC))]).map(
    lambda ends: HistoryRange(min(ends), max(ends))
)


def _us(at: datetime) -> int:
    return (at - _EPOCH) // MICROSECOND


@given(
    at=st.datetimes(timezones=st.just(UTC)) | _AROUND_A_LIMIT,
    lat=st.sampled_from((0.0, -0.0, 56.3)),
    lon=st.sampled_from((0.0, 10.4)),
    history=st.none() | _RANGES,
)
def test_every_fault_is_suspected_from_afar(
    at: datetime, lat: float, lon: float, history: HistoryRange | None
) -> None:
    rules = Rules()
    since, until = (1, 0) if history is None else map(_us, history)
    suspected = suspects(
        lat=np.array([lat]),
        lon=np.array([lon]),
        recorded_us=np.array([_us(at)]),
        received_us=np.array([_us(RECEIVED)]),
        max_future_s=np.array([rules.max_future_s]),
        max_age_days=np.array([rules.max_age_days]),
        history_since_us=np.array([since]),
        history_until_us=np.array([until]),
    )[0]
    at_fault = fault(fix(at, lat, lon), RECEIVED, rules, history) is not None
    assert suspected or not at_fault
    if all(abs(at - RECEIVED - limit) > timedelta(seconds=1) for limit in _LIMITS):
        assert bool(suspected) is at_fault
