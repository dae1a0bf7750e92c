"""A vehicle's items one by one: what is late is folded again, as far as it changes anything.

What belongs among the vehicle's last few fixes is folded again from memory. Anything else
from the newest checkpoint before the earliest change, in pages, up to the first checkpoint after
the latest one at which the state is what it was. From there on the rows are a function of the same
state and the same fixes, so they stay. Where that never happens, to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.timeline import checkpoints
from infra.database.timeline import fixes as fix_store
from infra.database.timeline.tables import Row
from processors.timeline.bulk_fold import measure_legs
from processors.timeline.validation import Arrival, Receipt, precedence, ranked, resolve
from processors.timeline.vehicle_fold import VehicleFoldState, VehicleState
from schemas.events.dead_letters import DeadLetterReason
from schemas.events.fix import Reported
from stream.worker import metrics
from stream.worker.decode.records import DecodedFix, conflict_letter, fix_letter
from stream.worker.fold import rows
from stream.worker.fold.cached_state import STATE, CachedState, dump
from stream.worker.fold.reorder_buffer import ReorderBuffer
from stream.worker.fold.vehicle import PAGE_SIZE, VehicleFold
from stream.worker.write.session_keepalive import kept_alive

_MICROSECOND: Final = timedelta(microseconds=1)


def append_if_in_order(
    fold: VehicleFold, cached: CachedState | None, items: Sequence[DecodedFix]
) -> bool:
    """Fold a vehicle's items unless any is late; return whether it was done."""
    if cached is not None and cached.last_recorded_at >= min(
        item.arrival.fix.recorded_at for item in items
    ):
        return False
    _append(fold, cached, _resolved(fold, items))
    return True


async def take_late(
    fold: VehicleFold,
    connection: AsyncConnection[TupleRow],
    cached: CachedState,
    items: Sequence[DecodedFix],
) -> None:
    """Fold a vehicle's items, some of them late, in the order of their arrival."""
    await _late(fold, connection, cached, _resolved(fold, items), items)


def _resolved(fold: VehicleFold, items: Sequence[DecodedFix]) -> list[Arrival]:
    """Return what counts of some items, in order of time; the others become dead letters."""
    counting, lost = resolve(ranked(item.arrival, fold.vendors) for item in items)
    _conflicting(fold, lost, items)
    return [counting[at] for at in sorted(counting)]


def _append(fold: VehicleFold, cached: CachedState | None, arrivals: Sequence[Arrival]) -> None:
    fixes = [arrival.fix for arrival in arrivals]
    receipts = [Receipt(arrival.received_at, arrival.vendor) for arrival in arrivals]
    refused = fold.append(cached, fixes, receipts)
    fold.work.fresh_fixes += [
        rows.fix_row(fold.vehicle.vehicle_id, arrival, refused.get(arrival.fix.recorded_at))
        for arrival in arrivals
    ]


async def _late(
    fold: VehicleFold,
    connection: AsyncConnection[TupleRow],
    cached: CachedState,
    arrivals: Sequence[Arrival],
    items: Sequence[DecodedFix],
) -> None:
    """Fold again what is late, unless it says nothing new, and append what is not."""
    late = [arrival for arrival in arrivals if arrival.fix.recorded_at <= cached.last_recorded_at]
    newer = arrivals[len(late) :]
    buffer = cached.buffer
    if buffer is not None and buffer.reaches(late[0].fix.recorded_at):
        _refold_from_buffer(fold, cached, buffer, late, newer, items)
        return
    await fix_store.allow_old_fixes(connection)
    stored = {
        row[1]: rows.stored_arrival(row)
        for row in await fix_store.read_fixes_at(
            connection, fold.vehicle.vehicle_id, [arrival.fix.recorded_at for arrival in late]
        )
    }
    refold = _Refold(fold, cached)
    refold.touched, refold.earlier = _diff_against_stored(fold, stored, late, items)
    agreed = True
    if refold.touched:
        metrics.FIXES_LATE.inc(len(refold.touched))
        if await refold.find_start(connection):
            agreed = await refold.run(connection, newer)
        else:
            _too_late(fold, items, refold)
    fold.work.changed_fixes += [
        rows.fix_row(fold.vehicle.vehicle_id, *row) for row in refold.earlier.values()
    ]
    if newer and agreed:
        _append(fold, fold.work.states.get(fold.vehicle.vehicle_id, cached), newer)


def _refold_from_buffer(  # noqa: PLR0913, PLR0917 - what is there, and what has come
    fold: VehicleFold,
    cached: CachedState,
    buffer: ReorderBuffer,
    late: Sequence[Arrival],
    newer: Sequence[Arrival],
    items: Sequence[DecodedFix],
) -> None:
    """Fold again from the state before the vehicle's last fixes, which is in memory."""
    stored = buffer.stored()
    touched, earlier = _diff_against_stored(fold, stored, late, items)
    if not touched and not earlier:
        if newer:
            _append(fold, cached, newer)
        return
    metrics.FIXES_LATE.inc(len(touched))
    metrics.FIXES_FOLDED_AGAIN.inc(len(stored))
    metrics.FOLDS_AGAIN.inc()
    merged = {at: arrival for at, (arrival, _) in stored.items()}
    merged |= touched
    merged |= {at: arrival for at, (arrival, _) in earlier.items()}
    merged |= {arrival.fix.recorded_at: arrival for arrival in newer}
    arrivals = [merged[at] for at in sorted(merged)]
    refused = fold.refold_recent(cached, buffer, arrivals)
    vehicle_id = fold.vehicle.vehicle_id
    for arrival in arrivals:
        at = arrival.fix.recorded_at
        row = rows.fix_row(vehicle_id, arrival, refused.get(at))
        if at not in stored:
            fold.work.fresh_fixes.append(row)
        elif at in touched or at in earlier or stored[at][1] != refused.get(at):
            fold.work.changed_fixes.append(row)


def _diff_against_stored(
    fold: VehicleFold,
    stored: Mapping[datetime, tuple[Arrival, str | None]],
    late: Sequence[Arrival],
    items: Sequence[DecodedFix],
) -> tuple[dict[datetime, Arrival], dict[datetime, tuple[Arrival, str | None]]]:
    """Return what late fixes say that is new, and what was only received earlier than we knew.

    The latter with why the timeline leaves it out. What loses to another of its instant becomes a
    dead letter.
    """
    touched: dict[datetime, Arrival] = {}
    earlier: dict[datetime, tuple[Arrival, str | None]] = {}
    for arrival in late:
        at = arrival.fix.recorded_at
        before, quarantine = stored.get(at, (None, None))
        if before is None:
            touched[at] = arrival
            continue
        counting, lost = resolve((ranked(before, fold.vendors), arrival))
        counts = counting[at]
        _conflicting(fold, lost, items)
        if precedence(before.fix) != precedence(counts.fix):
            touched[at] = counts
        elif counts[:3] != before[:3]:
            earlier[at] = counts, quarantine
    return touched, earlier


@dataclass(slots=True)
class _Refold:
    """What changes in a vehicle's past, and from where on it is folded again."""

    fold: VehicleFold
    cached: CachedState
    touched: dict[datetime, Arrival] = field(default_factory=dict)
    """What is new or says something else now."""
    earlier: dict[datetime, tuple[Arrival, str | None]] = field(default_factory=dict)
    """What is there, was received earlier, and is not written yet; with why it is left out."""
    start: tuple[datetime, bytes] | None = None
    """The checkpoint to begin at; None: before the first fix of all."""

    @property
    def anchor(self) -> datetime:
        """The fix that has to be stored still: it vouches for all after it."""
        return self.cached.first_recorded_at if self.start is None else self.start[0]

    async def find_start(self, connection: AsyncConnection[TupleRow]) -> bool:
        """Return whether the fixes from where to begin are there, and not past their retention."""
        vehicle_id = self.fold.vehicle.vehicle_id
        self.start, is_kept = await checkpoints.read_start(
            connection, vehicle_id, before=min(self.touched), first=self.cached.first_recorded_at
        )
        return is_kept

    async def run(self, connection: AsyncConnection[TupleRow], newer: Sequence[Arrival]) -> bool:
        """Fold from the start; return whether the state became what it was, before `newer`."""
        fold, vehicle_id = self.fold, self.fold.vehicle.vehicle_id
        at = None if self.start is None else self.start[0]
        state = None if self.start is None else STATE.validate_json(self.start[1])
        folding = VehicleFoldState(state, fold.depots, fold.rules)
        waiting, latest = dict(self.touched), max(self.touched)
        agreed = False
        while True:
            checkpoint = await checkpoints.next_checkpoint(connection, vehicle_id, after=at)
            page = await fix_store.read_fixes(
                connection,
                vehicle_id,
                after=at,
                until=None if checkpoint is None else checkpoint[0],
                limit=PAGE_SIZE,
            )
            whole = len(page) < PAGE_SIZE
            at_end = whole and checkpoint is None
            at = checkpoint[0] if whole and checkpoint is not None else page[-1][1] if page else at
            here = [new_at for new_at in waiting if at_end or (at is not None and new_at <= at)]
            more = [waiting.pop(new_at) for new_at in here]
            now = [*more, *newer] if at_end else more
            await kept_alive(connection, partial(self._take, folding, page, now))
            if at_end:
                break
            if checkpoint is not None and at == checkpoint[0] and at >= latest:
                agreed = _is(folding.state(), checkpoint[1])
                if agreed:
                    break
        state, changes = folding.result(as_before=agreed)
        since = min(self.touched)
        fold.revise(changes)
        fold.write(
            changes,
            checkpoints_since=since,
            checkpoints_until=at + _MICROSECOND if agreed and at is not None else None,
        )
        last = newer[-1].fix.recorded_at if newer and not agreed else self.cached.last_recorded_at
        fold.keep(
            self.cached,
            self.cached.state if agreed else state,
            min(self.cached.first_recorded_at, since),
            last,
        )
        metrics.FOLDS_AGAIN.inc()
        return agreed

    def _take(
        self, folding: VehicleFoldState, page: Sequence[Row], more: Sequence[Arrival]
    ) -> None:
        """Fold a page of stored fixes together with what is new in it, and note what to write."""
        stored = {row[1]: row for row in page}
        changed = {arrival.fix.recorded_at: arrival for arrival in more}
        changed |= {at: self.earlier.pop(at)[0] for at in stored if at in self.earlier}
        merged: dict[datetime, Reported] = {at: rows.stored_fix(row) for at, row in stored.items()}
        merged |= {at: arrival.fix for at, arrival in changed.items()}
        fixes = [merged[at] for at in sorted(merged)]
        quarantine = folding.take(fixes, measure_legs(fixes, self.fold.rules))
        stored_reasons = {at: rows.quarantine(row) for at, row in stored.items()}
        undecided = folding.undecided
        if undecided is not None:
            reason = stored_reasons.get(undecided)
            if reason is not None:  # as long as the fixes after it have not decided it
                quarantine[undecided] = reason
        vehicle_id = self.fold.vehicle.vehicle_id
        for at in sorted(merged):
            if at in changed:
                row = rows.fix_row(vehicle_id, changed[at], quarantine.get(at))
            elif stored_reasons[at] != quarantine.get(at):
                arrival, _ = rows.stored_arrival(stored[at])
                row = rows.fix_row(vehicle_id, arrival, quarantine.get(at))
            else:
                continue
            self.fold.work.changed_fixes.append(row)
        metrics.FIXES_FOLDED_AGAIN.inc(len(merged))


def _is(state: VehicleState, stored: bytes) -> bool:
    """Return whether a state is a stored one, which may be from before it had all that it has now.

    Written as it would be today, as a rule; reading it takes longer.
    """
    return dump(state).encode() == stored or STATE.validate_json(stored) == state


def _conflicting(fold: VehicleFold, lost: Sequence[Arrival], items: Sequence[DecodedFix]) -> None:
    for arrival in lost:
        at = arrival.fix.recorded_at
        occasion = next(item for item in items if item.arrival.fix.recorded_at == at)
        vendor = arrival.vendor or occasion.vendor
        losing = DecodedFix(arrival, vendor, occasion.record, occasion.number)
        fold.work.letters.append(conflict_letter(losing, fold.vehicle.vehicle_id))


def _too_late(fold: VehicleFold, items: Sequence[DecodedFix], refold: _Refold) -> None:
    fold.work.letters += [
        fix_letter(
            item,
            DeadLetterReason.TOO_LATE,
            f"the raw fixes from {refold.anchor.isoformat()} on are past their retention, so that "
            "the timeline cannot be computed again; restore them and replay this letter",
        )
        for item in items
        if item.arrival.fix.recorded_at in refold.touched
    ]
