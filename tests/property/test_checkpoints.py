"""States are kept by time and by count, and which ones depends on nothing but two fixes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.timeline.checkpoints import EVERY, LEGS, are_due, is_due
from tests.property.examples import examples

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENTURY = datetime(2000, 1, 2, tzinfo=UTC)
_START = datetime(2026, 2, 2, 5, 59, tzinfo=UTC)
_US = timedelta(microseconds=1)
_DAY = timedelta(days=1)


def _kept(fixes: list[datetime]) -> list[int]:
    """Return after which fixes a state is kept."""
    return [
        number
        for number, (before, at) in enumerate(pairwise(fixes), start=1)
        if is_due(before.timestamp(), at.timestamp())
    ]


@settings(max_examples=examples(300))
@given(
    start=st.integers(0, 10**15).map(lambda us: _CENTURY + us * _US),
    from_a_bound=st.none() | st.integers(-2, 2),
    legs=st.lists(
        st.integers(1, 10**6)
        | st.sampled_from((10**6, 10**7, 60 * 10**6, 3600 * 10**6))
        | st.integers(10**6, 10**12),
        min_size=1,
        max_size=30,
    ),
)
def test_many_fixes_are_judged_as_each_is(
    start: datetime, from_a_bound: int | None, legs: list[int]
) -> None:
    if from_a_bound is not None:
        hour = start.replace(minute=0, second=0, microsecond=0)
        start = hour + (from_a_bound - legs[0]) * _US
    fixes = [start]
    for leg in legs:
        fixes.append(fixes[-1] + leg * _US)
    due = are_due(np.array([(at - _EPOCH) // _US for at in fixes], np.int64))
    assert np.flatnonzero(due[1:]).tolist() == [number - 1 for number in _kept(fixes)]


@pytest.mark.parametrize("every_s", [0.1, 0.5, 0.999, 1, 1.001, 2, 5, 10])
def test_a_dense_stream_keeps_a_state_each_few_hundred_fixes(every_s: float) -> None:
    fixes = [_START + timedelta(seconds=every_s * number) for number in range(20_000)]
    kept = _kept(fixes)
    assert max(after - before for before, after in pairwise([0, *kept, len(fixes)])) <= 2 * LEGS + 1
    by_time = _DAY / EVERY * (fixes[-1] - fixes[0]) / _DAY
    assert len(kept) <= len(fixes) / LEGS + by_time + 2


@pytest.mark.parametrize("every_s", [60, 300, 3600, 100_000])
def test_a_sparse_stream_keeps_a_state_each_six_hours(every_s: int) -> None:
    fixes = [_START + timedelta(seconds=every_s * number) for number in range(2_000)]
    due = {at.timestamp() // EVERY.total_seconds() for at in fixes[1:]}
    assert len(_kept(fixes)) == len(due)


def test_no_fix_but_its_neighbours_decides_where_states_are_kept() -> None:
    fixes = [_START + timedelta(seconds=number) for number in range(5_000)]
    late = 2_345
    kept, without = (
        {instants[number] for number in _kept(instants)}
        for instants in (fixes, fixes[:late] + fixes[late + 1 :])
    )
    assert kept ^ without <= {fixes[late], fixes[late + 1]}
