"""Late fixes: what is folded again may end where the state is what it was, wherever that is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from processors.depot_index import DepotIndex
from processors.timeline.vehicle_fold import (
    Changes,
    RowsToReplace,
    VehicleFoldState,
    VehicleState,
    advance,
)
from schemas.events.fix import Fix
from schemas.fleet.master_data import Depot
from schemas.fleet.rules import Rules
from stream.worker.fold.cached_state import dump
from tests.property.examples import examples
from tests.property.outages import outages
from tests.property.test_fold_equals_batch import journeys

_HOME = Depot(
    depot_id="syddjurs/home",
    municipality_id="syddjurs",
    name="Home",
    lat=56.3,
    lon=10.4,
    capacity=5,
)
_PLACES = DepotIndex([_HOME])
_RULES = Rules(round_trip_max_s=9_000.0, round_trip_split_stop_s=600.0)


def _states(fixes: Sequence[Fix]) -> list[VehicleState]:
    """Return the state after each fix."""
    folding = VehicleFoldState(None, _PLACES, _RULES)
    states = []
    for fix in fixes:
        folding.take([fix])
        states.append(folding.state())
    return states


def _spliced(old: RowsToReplace[Any], new: RowsToReplace[Any]) -> list[Any]:
    """Return rows as the database has them after the new ones took the place of some old ones."""
    stay = [
        row
        for row in old.rows
        if _begin(row) < new.since or (new.until is not None and _begin(row) >= new.until)
    ]
    return sorted([*stay, *new.rows], key=_begin)


def _begin(row: Any) -> Any:
    return row.hour if hasattr(row, "hour") else row.started_at


def _rows(changes: Changes) -> tuple[RowsToReplace[Any], ...]:
    return changes.segments, changes.trips, changes.round_trips, changes.hours


def test_rows_beyond_an_agreement_stay() -> None:
    agreements = 0

    @settings(max_examples=examples(150), deadline=None)
    @given(fixes=journeys() | outages(private=True), data=st.data())
    def law(fixes: list[Fix], data: st.DataObject) -> None:
        nonlocal agreements
        late = data.draw(st.lists(st.integers(0, len(fixes) - 1), min_size=1, max_size=3))
        entries = [fix for index, fix in enumerate(fixes) if index not in late]
        first, last = min(late), max(late)
        if not any(fix.recorded_at > fixes[last].recorded_at for fix in entries):
            return
        before = _states(entries)
        at_each = {fix.recorded_at: dump(state) for fix, state in zip(entries, before, strict=True)}
        _, old = advance(None, entries, _PLACES, _RULES)
        _, expected = advance(None, fixes, _PLACES, _RULES)
        folding = VehicleFoldState(before[first - 1] if first else None, _PLACES, _RULES)
        agreed = False
        for index, fix in enumerate(fixes[first:], start=first):
            folding.take([fix])
            if index > last and dump(folding.state()) == at_each[fix.recorded_at]:
                agreed = True
                break
        agreements += agreed
        undecided = folding.undecided if agreed else None
        _, new = folding.result(as_before=agreed)
        for was, becomes, should in zip(_rows(old), _rows(new), _rows(expected), strict=True):
            assert _spliced(was, becomes) == list(should.rows)
        taken = {fix.recorded_at for fix in fixes[first : index + 1]} - {undecided}
        reasons: dict[datetime, str | None] = {
            at: why for at, why in old.refused.items() if at not in taken
        }
        reasons |= new.refused
        reasons |= new.revised
        assert {at: why for at, why in reasons.items() if why is not None} == expected.refused

    law()
    assert agreements > 0
