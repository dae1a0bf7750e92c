"""One vehicle's part of a batch, folded into what the batch writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import TypeAdapter

from infra.database.connection.binary_copy import copy_encoded
from infra.database.fleet.master_data import Fleet
from infra.database.stream import progress
from infra.database.stream.progress import Letter
from infra.database.timeline import fixes as fix_store
from infra.database.timeline import tables
from infra.database.timeline import vehicle_states as store
from infra.database.timeline.tables import Row
from infra.database.timeline.vehicle_states import StoredState
from infra.kafka.client import Topics
from processors.depot_index import Places
from processors.timeline.bulk_fold import Measured
from processors.timeline.idle import idle_intervals
from processors.timeline.segments import SegmentState
from processors.timeline.stale_position import STALE_POSITION
from processors.timeline.state import Timeline
from processors.timeline.validation import Arrival, Receipt
from processors.timeline.vehicle_fold import Changes, VehicleState, advance, settled, silent
from processors.trackers import Tracker
from schemas.events.fix import Reported
from schemas.fleet.master_data import Home, Vehicle
from schemas.fleet.rules import Rules
from stream.worker.fold import rows
from stream.worker.fold.reorder_buffer import Recent

AT_ONCE: Final = 20_000
"""Stored fixes that are held in memory: where pages are cut makes no difference to the rows."""

_MICROSECOND: Final = timedelta(microseconds=1)
_QUARANTINE: Final = list(tables.FIX.columns).index("quarantine")
STATE: Final = TypeAdapter(VehicleState)
"""Reads states; they are written by `dump`, which is quicker at it."""


def dump(state: VehicleState) -> str:
    """Return a state as JSON."""
    return msgspec.json.encode(state).decode()


@dataclass(frozen=True, slots=True)
class Known:
    """A vehicle's state as we hold it."""

    version: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    state: VehicleState
    recent: Recent | None = None
    """The last fixes that the state was folded from, if they are few."""


@dataclass(slots=True)
class Writes:
    """What a batch writes, gathered over its vehicles."""

    encoded_fixes: list[bytes] = field(default_factory=list)
    """In binary, of plain messages."""
    fresh_fixes: list[Row] = field(default_factory=list)
    changed_fixes: list[Row] = field(default_factory=list)
    revised_fixes: dict[tuple[str, datetime], str | None] = field(default_factory=dict)
    """Why a stored fix is left out after all, by vehicle and instant; None where it counts."""
    replaced: dict[tables.Table, tuple[list[tables.Span], list[Row]]] = field(default_factory=dict)
    states: dict[str, Known] = field(default_factory=dict)
    messages: list[tuple[Any, str, str, dict[str, Any]]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    quarantined: Counter[str] = field(default_factory=Counter)
    """How many fixes of plain messages are left out, by reason."""

    def count_quarantined(self) -> Counter[str]:
        """Return how many of the fixes that came are left out of the timeline, by reason."""
        return self.quarantined + Counter(
            reason for row in self.fresh_fixes if (reason := row[_QUARANTINE]) is not None
        )

    def replace(
        self,
        table: tables.Table,
        vehicle_id: str,
        since: datetime,
        new: Iterable[Row],
        until: datetime | None = None,
    ) -> None:
        """Note that a vehicle's rows from an instant on, to another if any, give way."""
        places, rows_ = self.replaced.setdefault(table, ([], []))
        places.append((vehicle_id, since, until))
        rows_.extend(new)


@dataclass(frozen=True, slots=True)
class VehicleFold:
    """Folds one vehicle's part of a batch into what the batch writes."""

    vehicle: Vehicle
    homes: Sequence[Home]
    depots: Places
    rules: Rules
    topics: Topics
    writes: Writes
    vendors: Mapping[str, Sequence[str]]
    """Who may report an id that is sent, the first one first."""

    def onward(
        self,
        known: Known | None,
        fixes: Sequence[Reported],
        receipts: Sequence[Receipt],
        legs: Measured | None = None,
    ) -> dict[datetime, str]:
        """Fold fixes that follow the state, in order; return which are left out, and why.

        `receipts` says when each was received and from whom, `legs` are measured from them, if
        they are. Their own rows are up to the caller.
        """
        before = None if known is None else known.state
        state, changes = advance(before, fixes, self.depots, self.rules, legs)
        since = fixes[0].recorded_at
        self.write(changes, checkpoints_since=since, onward_from=before)
        if STALE_POSITION in changes.revised.values():  # else what was stored is told once more
            self.revise(changes)
        first = since if known is None else known.first_recorded_at
        kept, last = (None, None) if known is None else (known.recent, known.last_recorded_at)
        recent = Recent.after(
            None if kept is None else kept.revised(changes.revised),
            before,
            last,
            fixes,
            receipts,
            changes.refused,
        )
        self.keep(known, state, first, fixes[-1].recorded_at, recent)
        return changes.refused

    def again(
        self, known: Known, recent: Recent, arrivals: Sequence[Arrival]
    ) -> dict[datetime, str]:
        """Fold all that came after a recent state anew, in order; return which are left out, why.

        Rows from the state on give way.
        """
        fixes = [arrival.fix for arrival in arrivals]
        state, changes = advance(recent.before, fixes, self.depots, self.rules)
        first = fixes[0].recorded_at
        self.write(changes, checkpoints_since=first)
        self.revise(changes)
        receipts = [Receipt(arrival.received_at, arrival.vendor) for arrival in arrivals]
        merged = Recent.after(None, recent.before, recent.since, fixes, receipts, changes.refused)
        first = min(known.first_recorded_at, first)
        self.keep(known, state, first, fixes[-1].recorded_at, merged)
        return changes.refused

    def refold(
        self,
        known: Known,
        state: VehicleState | None,
        fixes: Sequence[Reported],
        *,
        again: bool = True,
        more: bool = False,
    ) -> dict[datetime, str]:
        """Fold all fixes after a state, in order; return which of them are left out, and why.

        All rows from there on give way, unless they have been folded `again` up to the state.
        Without a fix, what the state itself says is all that is left. That there is `more` says
        that others follow, which may yet change what has ended.
        """
        before = state
        state, changes = advance(before, fixes, self.depots, self.rules)
        last = fixes[-1].recorded_at if fixes else known.last_recorded_at
        first = fixes[0].recorded_at if fixes else last + _MICROSECOND
        self.write(
            changes,
            checkpoints_since=first,
            onward_from=None if again else before,
            goes_on_from=state if more else None,
        )
        self.revise(changes)
        self.keep(
            known,
            state,
            min(known.first_recorded_at, first),
            max(known.last_recorded_at, last),
        )
        return changes.refused

    def revise(self, changes: Changes) -> None:
        """Note what has been told of fixes that are stored, and not among those just folded."""
        vehicle_id = self.vehicle.vehicle_id
        self.writes.revised_fixes |= {
            (vehicle_id, at): reason for at, reason in changes.revised.items()
        }

    def silent(self, known: Known, until: datetime) -> None:
        """Write what holds if the vehicle is not heard of until an instant; its state stays."""
        vehicle_id = self.vehicle.vehicle_id
        changes = silent(known.state, vehicle_id, until, self.depots, self.rules)
        self.write(changes, checkpoints_since=until)

    def write(
        self,
        changes: Changes,
        *,
        checkpoints_since: datetime,
        checkpoints_until: datetime | None = None,
        onward_from: VehicleState | None = None,
        goes_on_from: VehicleState | None = None,
    ) -> None:
        """Gather rows that take the place of others.

        Onward from a state, tables in which it has nothing provisional and gets nothing new are
        left alone: most fixes only move a segment, an hour and the state. Where it goes on from
        the state after, only what that leaves final is published.
        """
        vehicle_id = self.vehicle.vehicle_id
        put = self.writes.replace
        before = onward_from
        timeline = None if before is None else before.timeline
        # A fix that confirms a doubted one is on a trip, and may turn out to be stale.
        on_trip = timeline is None or timeline.trip is not None or timeline.doubted
        segments, trips, strung = changes.segments, changes.trips, changes.round_trips
        idle = idle_intervals(segments.rows, self.vehicle, self.rules)
        # The last segment is open, unless others that stay follow it.
        ends_at = segments.rows[-1].ended_at if segments.rows and segments.until is None else None
        put(
            tables.SEGMENT,
            vehicle_id,
            segments.since,
            rows.segment_rows(vehicle_id, segments.rows, open_until=ends_at),
            segments.until,
        )
        if idle or timeline is None or _may_idle(timeline):
            put(
                tables.IDLE_INTERVAL,
                vehicle_id,
                segments.since,
                rows.idle_rows(vehicle_id, idle, open_until=ends_at),
                segments.until,
            )
        if on_trip or trips.rows:
            put(
                tables.TRIP,
                vehicle_id,
                trips.since,
                rows.trip_rows(vehicle_id, trips.rows, self.depots),
                trips.until,
            )
        # Of a vehicle that fell silent on a trip, the end of the round trip may have been said.
        if on_trip or strung.rows or (before and before.round_trip):
            put(
                tables.ROUND_TRIP,
                vehicle_id,
                strung.since,
                rows.round_trip_rows(vehicle_id, strung.rows, self.homes),
                strung.until,
            )
        put(
            tables.USAGE_HOUR,
            vehicle_id,
            changes.hours.since,
            rows.usage_rows(self.vehicle, changes.hours.rows),
            changes.hours.until,
        )
        if changes.checkpoints or timeline is None:
            put(
                tables.CHECKPOINT,
                vehicle_id,
                checkpoints_since,
                [(vehicle_id, at, dump(state)) for at, state in changes.checkpoints],
                checkpoints_until,
            )
        ended = trips.rows, strung.rows
        if goes_on_from is not None:
            ended = settled(changes, goes_on_from)
        self.writes.messages += rows.ended_events(self.vehicle, *ended, self.topics)

    def keep(
        self,
        known: Known | None,
        state: VehicleState,
        first: datetime,
        last: datetime,
        recent: Recent | None = None,
    ) -> None:
        """Note the vehicle's state after the batch, and what it was folded from last."""
        version = 1 if known is None else known.version + 1
        self.writes.states[self.vehicle.vehicle_id] = Known(version, first, last, state, recent)


class Ground:
    """A fleet as the fold needs it: made once from master data, asked for each vehicle."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._places = {
            municipality_id: Places(depots) for municipality_id, depots in fleet.depots.items()
        }
        self._nowhere = Places()
        self.trackers = {
            tracker_id: Tracker(tracker_id, assignments)
            for tracker_id, assignments in fleet.trackers.items()
        }
        """Those that were ever assigned, by the id that they send."""
        self.vendors = dict(fleet.vendors)
        """Who may report an id that is sent; grows as ids are seen for the first time."""

    def fold(self, vehicle_id: str, topics: Topics, writes: Writes) -> VehicleFold:
        """Return the fold of a vehicle of a municipality that is entered."""
        vehicle = self.fleet.vehicle(vehicle_id)
        return VehicleFold(
            vehicle,
            self.fleet.homes.get(vehicle_id, ()),
            self._places.get(vehicle.municipality_id, self._nowhere),
            self.fleet.municipalities[vehicle.municipality_id].rules,
            topics,
            writes,
            self.vendors,
        )


def _may_idle(timeline: Timeline) -> bool:
    """Return whether a provisional idle interval may rest on a timeline."""
    building = timeline.building
    return (
        (building is not None and building.state is SegmentState.IDLING)
        # A short run without ignition in the tail is noise, and takes the one before it.
        or bool(timeline.tail and timeline.engine)
        or any(leg.engine for leg in timeline.tail)
        or (timeline.repeat is not None and timeline.ignition is True)
    )


async def flush(connection: AsyncConnection[TupleRow], writes: Writes, topics: Topics) -> None:
    """Write what was gathered. Call it in the transaction that moves the progress."""
    # States first: two workers that meet a new vehicle at once meet here, and nowhere else.
    await store.write_states(
        connection,
        [
            StoredState(
                vehicle_id,
                known.version,
                known.first_recorded_at,
                known.last_recorded_at,
                dump(known.state),
            )
            for vehicle_id, known in writes.states.items()
        ],
    )
    if writes.encoded_fixes:
        await copy_encoded(connection, tables.FIX, writes.encoded_fixes)
    if writes.fresh_fixes:
        await tables.copy_rows(connection, tables.FIX, writes.fresh_fixes)
    if writes.changed_fixes:
        await fix_store.put_fixes(connection, writes.changed_fixes)
    if writes.revised_fixes:
        await fix_store.revise_fixes(connection, writes.revised_fixes)
    for table, (places, new) in writes.replaced.items():
        await tables.replace_rows(connection, table, places, new)
    await progress.put_outbox(connection, writes.messages)
    if writes.letters:
        await progress.put_dead_letters(connection, writes.letters, topics.dead_letters)
