"""One vehicle's part of a batch, folded into what the batch writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from infra.database.timeline import tables
from infra.kafka.client import Topics
from processors.depot_index import DepotIndex
from processors.timeline.bulk_fold import LegColumns
from processors.timeline.idle import idle_intervals
from processors.timeline.segments import SegmentState
from processors.timeline.stale_position import STALE_POSITION
from processors.timeline.state import Timeline
from processors.timeline.validation import Arrival, Receipt
from processors.timeline.vehicle_fold import Changes, VehicleState, advance, settled, silent
from schemas.events.fix import Reported
from schemas.fleet.master_data import Home, Vehicle
from schemas.fleet.rules import Rules
from stream.worker.fold import rows
from stream.worker.fold.cached_state import CachedState, dump
from stream.worker.fold.reorder_buffer import ReorderBuffer
from stream.worker.unit_of_work import UnitOfWork

PAGE_SIZE: Final = 20_000
"""Stored fixes that are held in memory: where pages are cut makes no difference to the rows."""

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class VehicleFold:
    """Folds one vehicle's part of a batch into what the batch writes."""

    vehicle: Vehicle
    homes: Sequence[Home]
    depots: DepotIndex
    rules: Rules
    topics: Topics
    work: UnitOfWork
    vendors: Mapping[str, Sequence[str]]
    """Who may report an id that is sent, the first one first."""

    def append(
        self,
        cached: CachedState | None,
        fixes: Sequence[Reported],
        receipts: Sequence[Receipt],
        legs: LegColumns | None = None,
    ) -> dict[datetime, str]:
        """Fold fixes that follow the state, in order; return which are left out, and why.

        `receipts` says when each was received and from whom, `legs` are measured from them, if
        they are. Their own rows are up to the caller.
        """
        before = None if cached is None else cached.state
        state, changes = advance(before, fixes, self.depots, self.rules, legs)
        since = fixes[0].recorded_at
        self.write(changes, checkpoints_since=since, appended_to=before)
        if STALE_POSITION in changes.revised.values():  # else what was stored is told once more
            self.revise(changes)
        first = since if cached is None else cached.first_recorded_at
        older, last = (None, None) if cached is None else (cached.buffer, cached.last_recorded_at)
        buffer = ReorderBuffer.after(
            None if older is None else older.revised(changes.revised),
            before,
            last,
            fixes,
            receipts,
            changes.refused,
        )
        self.keep(cached, state, first, fixes[-1].recorded_at, buffer)
        return changes.refused

    def refold_recent(
        self, cached: CachedState, buffer: ReorderBuffer, arrivals: Sequence[Arrival]
    ) -> dict[datetime, str]:
        """Fold all after the buffer's state anew, in order; return which are left out, and why.

        Rows from the state on give way.
        """
        fixes = [arrival.fix for arrival in arrivals]
        state, changes = advance(buffer.before, fixes, self.depots, self.rules)
        first = fixes[0].recorded_at
        self.write(changes, checkpoints_since=first)
        self.revise(changes)
        receipts = [Receipt(arrival.received_at, arrival.vendor) for arrival in arrivals]
        merged = ReorderBuffer.after(
            None, buffer.before, buffer.since, fixes, receipts, changes.refused
        )
        first = min(cached.first_recorded_at, first)
        self.keep(cached, state, first, fixes[-1].recorded_at, merged)
        return changes.refused

    def refold(
        self,
        cached: CachedState,
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
        last = fixes[-1].recorded_at if fixes else cached.last_recorded_at
        first = fixes[0].recorded_at if fixes else last + _MICROSECOND
        self.write(
            changes,
            checkpoints_since=first,
            appended_to=None if again else before,
            goes_on_from=state if more else None,
        )
        self.revise(changes)
        self.keep(
            cached,
            state,
            min(cached.first_recorded_at, first),
            max(cached.last_recorded_at, last),
        )
        return changes.refused

    def revise(self, changes: Changes) -> None:
        """Note what has been told of fixes that are stored, and not among those just folded."""
        vehicle_id = self.vehicle.vehicle_id
        self.work.revised_fixes |= {
            (vehicle_id, at): reason for at, reason in changes.revised.items()
        }

    def silent(self, cached: CachedState, until: datetime) -> None:
        """Write what holds if the vehicle is not heard of until an instant; its state stays."""
        vehicle_id = self.vehicle.vehicle_id
        changes = silent(cached.state, vehicle_id, until, self.depots, self.rules)
        self.write(changes, checkpoints_since=until)

    def write(
        self,
        changes: Changes,
        *,
        checkpoints_since: datetime,
        checkpoints_until: datetime | None = None,
        appended_to: VehicleState | None = None,
        goes_on_from: VehicleState | None = None,
    ) -> None:
        """Gather rows that take the place of others.

        Where fixes are appended to a state, tables in which it has nothing provisional and gets
        nothing new are left alone: most fixes only move a segment, an hour and the state. Where it
        goes on from the state after, only what that leaves final is published.
        """
        vehicle_id = self.vehicle.vehicle_id
        put = self.work.replace
        before = appended_to
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
        self.work.messages += rows.ended_events(self.vehicle, *ended, self.topics)

    def keep(
        self,
        cached: CachedState | None,
        state: VehicleState,
        first: datetime,
        last: datetime,
        buffer: ReorderBuffer | None = None,
    ) -> None:
        """Note the vehicle's state after the batch, and what it was folded from last."""
        version = 1 if cached is None else cached.version + 1
        self.work.states[self.vehicle.vehicle_id] = CachedState(version, first, last, state, buffer)


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
