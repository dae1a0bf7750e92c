"""One vehicle's part of a batch: folded onward, or again from before its earliest late fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import TypeAdapter

from infra.database import stream as progress
from infra.database import timeline as store
from infra.database.fleet import Fleet
from infra.database.stream import Letter
from infra.database.timeline import Row, StoredState
from infra.kafka import Topics
from processors.arrivals import Arrival, precedence, resolve
from processors.idle import idle_intervals
from processors.places import Places
from processors.segments import SegmentState
from processors.timeline import Timeline
from processors.trackers import Tracker
from processors.vehicle import Changes, VehicleState, advance, silent
from schemas.fix import Reported
from schemas.fleet import Home, Vehicle
from schemas.rules import Rules
from stream.worker import metrics, rows
from stream.worker.records import Item, conflict_letter, item_letter

_MICROSECOND: Final = timedelta(microseconds=1)
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


@dataclass(slots=True)
class Writes:
    """What a batch writes, gathered over its vehicles."""

    encoded_fixes: list[bytes] = field(default_factory=list)
    """In binary, of plain messages."""
    fresh_fixes: list[Row] = field(default_factory=list)
    changed_fixes: list[Row] = field(default_factory=list)
    replaced: dict[store.Table, tuple[list[tuple[str, datetime]], list[Row]]] = field(
        default_factory=dict
    )
    states: dict[str, Known] = field(default_factory=dict)
    messages: list[tuple[Any, str, str, dict[str, Any]]] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)

    def replace(
        self, table: store.Table, vehicle_id: str, since: datetime, new: Iterable[Row]
    ) -> None:
        """Note that a vehicle's rows from an instant on give way to new ones."""
        places, rows_ = self.replaced.setdefault(table, ([], []))
        places.append((vehicle_id, since))
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

    async def take(
        self, connection: AsyncConnection[TupleRow], known: Known | None, items: Sequence[Item]
    ) -> None:
        """Fold the items: onward from the state, or again from before the earliest late one."""
        counting, lost = resolve(item.arrival for item in items)
        self._lost(lost, items)
        in_order = sorted(counting)
        if known is None or in_order[0] > known.last_recorded_at:
            arrivals = [counting[at] for at in in_order]
            refused = self.onward(known, [arrival.fix for arrival in arrivals])
            self.writes.fresh_fixes += [
                rows.fix_row(self.vehicle.vehicle_id, arrival, refused.get(arrival.fix.recorded_at))
                for arrival in arrivals
            ]
        else:
            await self._again(connection, known, counting, items)

    def onward(self, known: Known | None, fixes: Sequence[Reported]) -> dict[datetime, str]:
        """Fold fixes that follow the state, in order; return which are left out, and why.

        Their own rows are up to the caller.
        """
        before = None if known is None else known.state
        state, changes = advance(before, fixes, self.depots, self.rules)
        since = fixes[0].recorded_at
        self._write(changes, checkpoints_since=since, onward_from=before)
        first = since if known is None else known.first_recorded_at
        self._keep(known, state, first, fixes[-1].recorded_at)
        return {fix.recorded_at: reason for fix, reason in changes.refused}

    async def _again(
        self,
        connection: AsyncConnection[TupleRow],
        known: Known,
        counting: dict[datetime, Arrival],
        items: Sequence[Item],
    ) -> None:
        """Fold again from the newest checkpoint before the earliest change to the end."""
        vehicle_id = self.vehicle.vehicle_id
        base: tuple[datetime, bytes] | None = await store.read_checkpoint(
            connection, vehicle_id, before=min(counting)
        )
        anchor = known.first_recorded_at if base is None else base[0]
        if not await store.has_fix(connection, vehicle_id, anchor):
            self._too_late(items, anchor)
            return
        stored = {
            row[1]: rows.stored_arrival(row)
            for row in await store.read_fixes(
                connection, vehicle_id, after=None if base is None else base[0]
            )
        }
        merged = {at: arrival for at, (arrival, _) in stored.items()}
        changed: set[datetime] = set()
        for at, arrival in counting.items():
            other = merged.get(at)
            merged[at] = arrival if other is None else self._stronger(arrival, other, items)
            if merged[at] is not other:
                changed.add(at)
        metrics.FIXES_LATE.inc(len(changed))
        touched = {at for at in changed if self._content_changed(stored.get(at), merged[at])}
        quarantine = {at: reason for at, (_, reason) in stored.items()}
        if touched:
            state = None if base is None else STATE.validate_json(base[1])
            quarantine = self.refold(known, state, [merged[at].fix for at in sorted(merged)])
        self.writes.changed_fixes += [
            rows.fix_row(vehicle_id, merged[at], quarantine.get(at))
            for at in sorted(merged)
            if at in changed or (at in stored and stored[at][1] != quarantine.get(at))
        ]

    def refold(
        self,
        known: Known,
        state: VehicleState | None,
        fixes: Sequence[Reported],
        *,
        again: bool = True,
    ) -> dict[datetime, str | None]:
        """Fold all fixes after a state, in order; return which of them are left out, and why.

        All rows from there on give way, unless they have been folded `again` up to the state.
        Without a fix, what the state itself says is all that is left.
        """
        before = state
        state, changes = advance(before, fixes, self.depots, self.rules)
        last = fixes[-1].recorded_at if fixes else known.last_recorded_at
        first = fixes[0].recorded_at if fixes else last + _MICROSECOND
        self._write(changes, checkpoints_since=first, onward_from=None if again else before)
        self._keep(
            known,
            state,
            min(known.first_recorded_at, first),
            max(known.last_recorded_at, last),
        )
        return {fix.recorded_at: reason for fix, reason in changes.refused}

    @staticmethod
    def _content_changed(stored: tuple[Arrival, str | None] | None, now: Arrival) -> bool:
        return stored is None or precedence(stored[0].fix) != precedence(now.fix)

    def _stronger(self, ours: Arrival, stored: Arrival, items: Sequence[Item]) -> Arrival:
        """Return which of two fixes of one instant counts; the other becomes a dead letter."""
        counting, lost = resolve((stored, ours))
        self._lost(lost, items)
        return counting[ours.fix.recorded_at]

    def _lost(self, lost: Sequence[Arrival], items: Sequence[Item]) -> None:
        for arrival in lost:
            at = arrival.fix.recorded_at
            occasion = next(item for item in items if item.arrival.fix.recorded_at == at)
            counted = Item(arrival, occasion.vendor, occasion.record, occasion.number)
            self.writes.letters.append(conflict_letter(counted, self.vehicle.vehicle_id))

    def _too_late(self, items: Sequence[Item], anchor: datetime) -> None:
        self.writes.letters += [
            item_letter(
                item,
                "too-late",
                f"the raw fixes from {anchor.isoformat()} on are past their retention, so that "
                "the timeline cannot be computed again; restore them and replay this letter",
            )
            for item in items
        ]

    def silent(self, known: Known, until: datetime) -> None:
        """Write what holds if the vehicle is not heard of until an instant; its state stays."""
        vehicle_id = self.vehicle.vehicle_id
        changes = silent(known.state, vehicle_id, until, self.depots, self.rules)
        self._write(changes, checkpoints_since=until)

    def _write(
        self,
        changes: Changes,
        *,
        checkpoints_since: datetime,
        onward_from: VehicleState | None = None,
    ) -> None:
        """Gather rows that take the place of others.

        Onward from a state, tables in which it has nothing provisional and gets nothing new are
        left alone: most fixes only move a segment, an hour and the state.
        """
        vehicle_id = self.vehicle.vehicle_id
        put = self.writes.replace
        before = onward_from
        timeline = None if before is None else before.timeline
        on_trip = timeline is None or timeline.trip is not None
        idle = idle_intervals(changes.segments.rows, self.vehicle, self.rules)
        segments = changes.segments.rows
        last = segments[-1].ended_at if segments else checkpoints_since
        put(
            store.SEGMENT,
            vehicle_id,
            changes.segments.since,
            rows.segment_rows(vehicle_id, segments),
        )
        if idle or timeline is None or _may_idle(timeline):
            put(
                store.IDLE_INTERVAL,
                vehicle_id,
                changes.segments.since,
                rows.idle_rows(vehicle_id, idle, open_until=last),
            )
        if on_trip or changes.trips.rows:
            put(
                store.TRIP,
                vehicle_id,
                changes.trips.since,
                rows.trip_rows(vehicle_id, changes.trips.rows, self.depots),
            )
        # Of a vehicle that fell silent on a trip, the end of the round trip may have been said.
        if on_trip or changes.round_trips.rows or (before and before.round_trip):
            put(
                store.ROUND_TRIP,
                vehicle_id,
                changes.round_trips.since,
                rows.round_trip_rows(vehicle_id, changes.round_trips.rows, self.homes),
            )
        put(
            store.USAGE_HOUR,
            vehicle_id,
            changes.hours.since,
            rows.usage_rows(self.vehicle, changes.hours.rows),
        )
        if changes.checkpoints or timeline is None:
            put(
                store.CHECKPOINT,
                vehicle_id,
                checkpoints_since,
                [(vehicle_id, at, dump(state)) for at, state in changes.checkpoints],
            )
        self.writes.messages += rows.ended_events(
            self.vehicle, changes.trips.rows, changes.round_trips.rows, self.topics
        )

    def _keep(
        self, known: Known | None, state: VehicleState, first: datetime, last: datetime
    ) -> None:
        version = 1 if known is None else known.version + 1
        self.writes.states[self.vehicle.vehicle_id] = Known(version, first, last, state)


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
        )


def _may_idle(timeline: Timeline) -> bool:
    """Return whether a provisional idle interval may rest on a timeline."""
    building = timeline.building
    return (
        (building is not None and building.state is SegmentState.IDLING)
        # A short run without ignition in the tail is noise, and takes the one before it.
        or bool(timeline.tail and timeline.engine)
        or any(leg.engine for leg in timeline.tail)
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
        await store.copy_encoded(connection, store.FIX, writes.encoded_fixes)
    if writes.fresh_fixes:
        await store.copy_rows(connection, store.FIX, writes.fresh_fixes)
    if writes.changed_fixes:
        await store.put_fixes(connection, writes.changed_fixes)
    for table, (places, new) in writes.replaced.items():
        await store.replace_rows(connection, table, places, new)
    await progress.put_outbox(connection, writes.messages)
    if writes.letters:
        await progress.put_dead_letters(connection, writes.letters, topics.dead_letters)
