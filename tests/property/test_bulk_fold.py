"""Stretches taken in one go leave what the fold leaves fix by fix: rows, refusals and states."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.depot_index import DepotIndex
from processors.timeline.bulk_fold import LegColumns, measure
from processors.timeline.vehicle_fold import advance
from schemas.events.fix import Fix
from schemas.fleet.master_data import Depot
from schemas.fleet.rules import Rules
from stream.worker.fold.cached_state import dump
from tests.property.examples import examples
from tests.property.outages import outages

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_START = datetime(2026, 2, 2, 5, 40, tzinfo=UTC)
_STEP_DEG = 0.00009  # 10 m
_DEPOTS = (
    Depot(
        depot_id="syddjurs/home",
        municipality_id="syddjurs",
        name="Home",
        lat=56.3,
        lon=10.4,
        radius_m=30.0,
        capacity=5,
    ),
)
_RULES = (Rules(), Rules(rest_radius_m=250.0, open_at_most_s=200.0), Rules(stop_after_s=40.0))


@st.composite
def routines(draw: st.DrawFn) -> list[Fix]:
    """Return fixes of a vehicle that does the same for a while, and then something else."""
    fixes: list[Fix] = []
    at, north, odometer_m = _START, 0.0, 1000.0
    for _ in range(draw(st.integers(1, 8))):
        every_s = draw(st.sampled_from((1, 5, 10, 10, 30, 60, 400, 3600, 3700)))
        steps = draw(st.sampled_from((0, 0, 0, 0.2, 3, 6, 12, -12, 12, 30, 6000)))
        speed = draw(st.sampled_from((None, 0.0, 0.0, 11.0)))
        ignition = draw(st.sampled_from((None, True, True, False)))
        reads = draw(st.sampled_from((None, 10.0, 10.0, 12.0, 0.0)))
        turns = draw(st.sampled_from((0, 0, 3)))
        flickers = draw(st.sampled_from((None, None, 2, 6)))
        for number in range(draw(st.integers(1, 25))):
            north += -steps if turns and number // turns % 2 else steps
            odometer_m += 0.0 if reads is None else reads * abs(steps)
            fixes.append(
                Fix(
                    vehicle_id="syddjurs/car-1",
                    recorded_at=at,
                    lat=min(89.0, 56.3 + north * _STEP_DEG),
                    lon=10.4,
                    speed_mps=speed,
                    ignition=not ignition if number == flickers else ignition,
                    odometer_m=None if reads is None else odometer_m,
                )
            )
            at += timedelta(seconds=every_s)
    return fixes


def measured(fixes: Sequence[Fix], rules: Rules) -> LegColumns:
    """Return the legs of fixes, as the worker measures them."""

    def column(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([getattr(fix, name) for fix in fixes], np.float64)

    return measure(
        lat=column("lat"),
        lon=column("lon"),
        recorded_us=np.array(
            [(fix.recorded_at - _EPOCH) // timedelta(microseconds=1) for fix in fixes], np.int64
        ),
        speed_mps=column("speed_mps"),
        ignition=np.array([-1 if fix.ignition is None else fix.ignition for fix in fixes], np.int8),
        begins=np.arange(len(fixes)) == 0,
        rules=rules,
    )


@settings(max_examples=examples(200), deadline=None)
@given(
    fixes=routines() | outages(),
    rules=st.sampled_from(_RULES),
    depots=st.sampled_from(((), _DEPOTS)),
    data=st.data(),
)
def test_stretches_make_no_difference(
    fixes: list[Fix], rules: Rules, depots: tuple[Depot, ...], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(fixes)), max_size=3))
    bounds = sorted({0, *cuts, len(fixes)})
    places = DepotIndex(depots)
    plain = quick = None
    for start, end in pairwise(bounds):
        part = fixes[start:end]
        plain, expected = advance(plain, part, places, rules)
        quick, changes = advance(quick, part, places, rules, measured(part, rules))
        assert changes == expected
        assert dump(quick) == dump(plain)
