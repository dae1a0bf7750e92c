"""A tracker turns out to be in another vehicle: told at any time, and it holds since it happened.

One transaction, beside running workers: the states of all vehicles that it touches are locked, what
is stored of the tracker moves, and their timelines are folded again from there. What had lost an
instant to a fix that goes, and what was of no vehicle until now, is taken up from the dead letters.
So the tables are as if the assignments had been known before the first fix. See ADR 0012.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.connection.pool import Pool
from infra.database.fleet import tracker_assignments
from infra.database.fleet.master_data import load_fleet
from infra.database.fleet.tracker_assignments import WaitingLetter
from infra.database.fleet.vendors import load_vendors
from infra.database.stream.dead_letters import mark_replayed
from infra.database.timeline import checkpoints
from infra.database.timeline import fixes as fix_store
from infra.database.timeline import vehicle_states as store
from infra.kafka.client import Topics
from processors.timeline.validation import Arrival, ranked, resolve
from processors.timeline.vehicle_fold import VehicleState
from processors.trackers import (
    ReassignedSpan,
    Tracker,
    TrackerRefusedError,
    assigned,
    changes,
    released,
)
from schemas.errors import UserError
from schemas.events.dead_letters import DeadLetterReason
from schemas.events.fix import FixBatch
from schemas.fleet.master_data import Assignment
from stream.worker.decode.records import (
    DecodedFix,
    Record,
    as_taken,
    conflict_letter,
    fix_letter,
)
from stream.worker.fold import rows
from stream.worker.fold.cached_state import STATE, CachedState
from stream.worker.fold.vehicle import PAGE_SIZE
from stream.worker.master_data import MasterData
from stream.worker.refold.recompute import already_published, fold_stored
from stream.worker.unit_of_work import UnitOfWork, flush

_ORIGIN: Final = "tracker_assignment"
"""Stands for the topic in letters of fixes that were stored; the revision is their offset."""
_VENDOR: Final = "reassigned"
"""Of such fixes: who sent them is not stored."""

Tell = Callable[[Sequence[Assignment]], tuple[Assignment, ...]]


class PastRetentionError(UserError):
    """Raw fixes that a change of an assignment would move, or rest on, are deleted already."""


@dataclass(frozen=True, slots=True)
class Reassigned:
    """What a change of a tracker's assignments has done.

    Fixes `moved` from one vehicle to another, were `set_aside` as dead letters, some of the moved
    ones among them, or `taken_up` from there; `vehicles` were computed again.
    """

    tracker_id: str
    moved: int
    set_aside: int
    taken_up: int
    vehicles: tuple[str, ...]


async def assign(  # noqa: PLR0913 - who, to whom, since when
    pool: Pool,
    topics: Topics,
    tracker_id: str,
    vehicle_id: str,
    since: datetime,
    *,
    at_once: int = PAGE_SIZE,
) -> Reassigned:
    """Let a tracker be in a vehicle from an instant on, wherever it was before.

    Raises `TrackerRefusedError` for a vehicle that is not known or of another municipality, and
    where earlier assignments speak of that time; `PastRetentionError`; and what psycopg and the
    master data raise. Nothing is changed then.
    """

    def tell(assignments: Sequence[Assignment]) -> tuple[Assignment, ...]:
        return assigned(tracker_id, assignments, vehicle_id, since)

    async with pool.connection() as connection, connection.transaction():
        if not await tracker_assignments.has_vehicle(connection, vehicle_id):
            raise TrackerRefusedError(
                f"vehicle {vehicle_id!r} is not known; enter it first: fleetpulse fleet apply"
            )
        return await _Reassignment(connection, topics, tracker_id, at_once).make(tell)


async def release(
    pool: Pool, topics: Topics, tracker_id: str, until: datetime, *, at_once: int = PAGE_SIZE
) -> Reassigned:
    """Let a tracker be in no vehicle from an instant on; raises as `assign` does."""

    def tell(assignments: Sequence[Assignment]) -> tuple[Assignment, ...]:
        return released(tracker_id, assignments, until)

    async with pool.connection() as connection, connection.transaction():
        return await _Reassignment(connection, topics, tracker_id, at_once).make(tell)


@dataclass(slots=True)
class _Reassignment:
    """One change, in its transaction."""

    connection: AsyncConnection[TupleRow]
    topics: Topics
    tracker_id: str
    at_once: int
    revision: int = 0
    spans: tuple[ReassignedSpan, ...] = ()
    trackers: Mapping[str, Tracker] = field(default_factory=dict)
    """As they are from now on."""
    vendors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Who may report an id that is sent, the first one first."""
    states: dict[str, CachedState] = field(default_factory=dict)
    """States of the vehicles, of those that have one."""
    reach: dict[str, datetime | None] = field(default_factory=dict)
    """Of vehicles that have lost raw fixes, the checkpoint from which they can be folded again."""
    changed: dict[str, datetime] = field(default_factory=dict)
    """The earliest instant of which a vehicle has another fix than before."""
    moved: int = 0
    set_aside: int = 0
    taken_up: int = 0

    async def make(self, tell: Tell) -> Reassigned:
        """Change the assignments and all that follows from them."""
        await tracker_assignments.lock_assignments(self.connection)
        _, every = await tracker_assignments.load_assignments(self.connection)
        before = every.get(self.tracker_id, ())
        after = tell(before)
        await tracker_assignments.write_assignments(self.connection, self.tracker_id, after)
        self.revision = await tracker_assignments.read_revision(self.connection)
        self.vendors = await load_vendors(self.connection)
        now = {**every, self.tracker_id: after}
        self.trackers = {
            tracker_id: Tracker(tracker_id, assignments) for tracker_id, assignments in now.items()
        }
        self.spans = changes(Tracker(self.tracker_id, before), self.trackers[self.tracker_id])
        vehicles = {
            vehicle_id
            for span in self.spans
            for vehicle_id in (span.before, span.after)
            if vehicle_id is not None
        }
        await self._lock(vehicles)
        await fix_store.allow_old_fixes(self.connection)
        for span in self.spans:
            await self._move(span)
        senders = {
            tracker_id
            for tracker_id in now
            for given in now[tracker_id]
            if given.vehicle_id in vehicles
        }
        await self._take_letters({self.tracker_id, *vehicles, *senders})
        master_data = MasterData(await load_fleet(self.connection))
        for vehicle_id, since in sorted(self.changed.items()):
            await self._fold_again(master_data, vehicle_id, since)
        return Reassigned(
            self.tracker_id, self.moved, self.set_aside, self.taken_up, tuple(sorted(self.changed))
        )

    async def _lock(self, vehicles: Collection[str]) -> None:
        """Lock the states, and see that all that would move is still there."""
        await store.lock_states(self.connection, list(vehicles))
        for stored in await store.read_states(self.connection, list(vehicles)):
            vehicle_id = stored.vehicle_id
            self.states[vehicle_id] = CachedState.of(stored)
            first = stored.first_recorded_at
            if not await fix_store.has_fix(self.connection, vehicle_id, first):
                oldest = await checkpoints.oldest_checkpoint(
                    self.connection, vehicle_id, since=first
                )
                self.reach[vehicle_id] = None if oldest is None else oldest[0]
        for span in self.spans:
            former_id = span.before
            if former_id is None or former_id not in self.reach:
                continue
            kept = await tracker_assignments.oldest_fix(self.connection, former_id)
            if kept is None or span.since < kept:
                raise _past_retention(former_id, span.since, self.reach[former_id])

    async def _move(self, span: ReassignedSpan) -> None:
        """Give what the tracker sent in a stretch of time to the vehicle that it was in."""
        vehicle_id = span.before
        if vehicle_id is None:
            return
        last: datetime | None = None
        while page := await tracker_assignments.read_sent(
            self.connection,
            vehicle_id,
            self.tracker_id,
            span.since,
            span.until,
            last,
            self.at_once,
        ):
            arrivals = [ranked(rows.stored_arrival(row)[0], self.vendors) for row in page]
            last = page[-1][1]
            self._note(vehicle_id, arrivals[0].fix.recorded_at)
            work = UnitOfWork()
            lost: Sequence[Arrival] = arrivals
            if span.after is not None:
                self.moved += len(arrivals)
                lost = await self._bring(span.after, arrivals, work)
            for arrival in lost:
                self._set_aside(span.after, arrival, work)
            await flush(self.connection, work, self.topics)
        await tracker_assignments.delete_sent(
            self.connection, vehicle_id, self.tracker_id, span.since, span.until
        )

    async def _bring(
        self, vehicle_id: str, arrivals: Sequence[Arrival], work: UnitOfWork
    ) -> list[Arrival]:
        """Write fixes of a vehicle; return those that lose their instant, stored ones among them.

        They are left out or not once the timeline is folded again.
        """
        instants = {arrival.fix.recorded_at for arrival in arrivals}
        stored = {
            row[1]: rows.stored_arrival(row)[0]
            for row in await fix_store.read_fixes_at(self.connection, vehicle_id, sorted(instants))
        }
        stored = {at: ranked(arrival, self.vendors) for at, arrival in stored.items()}
        counting, lost = resolve(chain(stored.values(), arrivals))
        for at, arrival in counting.items():
            if arrival is stored.get(at):
                continue
            into = work.changed_fixes if at in stored else work.fresh_fixes
            into.append(rows.fix_row(vehicle_id, arrival, None))
            self._note(vehicle_id, at)
        return lost

    def _note(self, vehicle_id: str, at: datetime) -> None:
        self.changed[vehicle_id] = min(at, self.changed.get(vehicle_id, at))

    def _set_aside(self, vehicle_id: str | None, arrival: Arrival, work: UnitOfWork) -> None:
        """Make a dead letter of a fix that loses its instant in a vehicle, or is of no vehicle."""
        fix = arrival.fix
        record = Record(
            _ORIGIN, 0, self.revision, fix.vehicle_id.encode(), None, arrival.received_at
        )
        vendors = self.vendors.get(fix.vehicle_id, ())
        vendor = arrival.vendor or (vendors[0] if vendors else _VENDOR)
        item = DecodedFix(arrival, vendor, record, self.set_aside)
        self.set_aside += 1
        if vehicle_id is not None:
            work.letters.append(conflict_letter(item, vehicle_id))
            return
        wrong = self.trackers[fix.vehicle_id].unassigned(fix.recorded_at)
        work.letters.append(fix_letter(as_taken(item), *wrong))

    async def _take_letters(self, senders: Collection[str]) -> None:
        """Take up letters of the changed stretches of time that count now."""
        last: UUID | None = None
        while page := await tracker_assignments.take_letters(
            self.connection, senders, last, self.at_once
        ):
            last = page[-1].letter_id
            by_vehicle: defaultdict[str | None, list[tuple[WaitingLetter, Arrival]]]
            by_vehicle = defaultdict(list)
            for letter in page:
                batch = FixBatch.model_validate_json(letter.value)
                for fix in batch.fixes:  # one: a letter is of one fix
                    if any(span.holds(fix.recorded_at) for span in self.spans):
                        sent = Arrival(fix.discreet(), batch.received_at, batch.vendor)
                        arrival = ranked(sent, self.vendors)
                        by_vehicle[self._vehicle_of(arrival)].append((letter, arrival))
            for vehicle_id, letters in by_vehicle.items():
                await self._take_up(vehicle_id, letters)

    def _vehicle_of(self, arrival: Arrival) -> str | None:
        fix = arrival.fix
        tracker = self.trackers.get(fix.vehicle_id)
        return fix.vehicle_id if tracker is None else tracker.vehicle_at(fix.recorded_at)

    async def _take_up(
        self, vehicle_id: str | None, letters: Sequence[tuple[WaitingLetter, Arrival]]
    ) -> None:
        """Write what counts of some letters of one vehicle, or of none; the rest keeps waiting."""
        work, done = UnitOfWork(), []
        waiting = {id(arrival): letter for letter, arrival in letters}
        arrivals = [arrival for _, arrival in letters]
        if vehicle_id is None:
            for letter, arrival in letters:
                if (
                    letter.reason != DeadLetterReason.UNASSIGNED_TRACKER
                ):  # it says what is no longer so
                    self._set_aside(None, arrival, work)
                    done.append(letter.letter_id)
        elif self._touches(vehicle_id):
            for arrival in await self._bring(vehicle_id, arrivals, work):
                of = waiting.pop(id(arrival), None)
                if of is not None and of.reason == DeadLetterReason.CONFLICTING_FIX:
                    continue
                self._set_aside(vehicle_id, arrival, work)
                if of is not None:
                    done.append(of.letter_id)
            self.taken_up += len(waiting)
            done += [letter.letter_id for letter in waiting.values()]
        await flush(self.connection, work, self.topics)
        await mark_replayed(self.connection, done)

    def _touches(self, vehicle_id: str) -> bool:
        return any(vehicle_id in {span.before, span.after} for span in self.spans)

    async def _fold_again(self, master_data: MasterData, vehicle_id: str, since: datetime) -> None:
        """Compute a vehicle from its stored fixes; without any, it has no timeline any more."""
        cached = self.states.get(vehicle_id)
        base = None if cached is None else await self._base(vehicle_id, since)
        published: set[UUID] = set()
        if cached is not None:
            from_ = cached.first_recorded_at if base is None else base[0]
            published = await already_published(self.connection, vehicle_id, from_)
        await tracker_assignments.forget_rows(
            self.connection, vehicle_id, after=None if base is None else base[0]
        )
        if cached is not None and base is not None:
            bounds = replace(cached, last_recorded_at=base[0])
        else:
            oldest = await tracker_assignments.oldest_fix(self.connection, vehicle_id)
            if oldest is None:
                await tracker_assignments.forget_state(self.connection, vehicle_id)
                return
            version = 0 if cached is None else cached.version
            bounds = CachedState(version, oldest, oldest, VehicleState(None))
        count, _ = await fold_stored(
            self.connection,
            self.topics,
            master_data,
            vehicle_id,
            bounds,
            base,
            published,
            self.at_once,
        )
        if base is not None and not count:
            work = UnitOfWork()
            fold = master_data.fold(vehicle_id, self.topics, work)
            fold.refold(bounds, STATE.validate_json(base[1]), ())
            await flush(self.connection, work, self.topics)

    async def _base(self, vehicle_id: str, since: datetime) -> tuple[datetime, bytes] | None:
        """Return the newest checkpoint before a change; None is to begin with the first fix.

        A checkpoint counts while its fix is stored.
        """
        base = await checkpoints.read_checkpoint(self.connection, vehicle_id, before=since)
        if base is not None and await fix_store.has_fix(self.connection, vehicle_id, base[0]):
            return base
        if vehicle_id in self.reach:
            raise _past_retention(vehicle_id, since, self.reach[vehicle_id])
        return None


def _past_retention(vehicle_id: str, since: datetime, reach: datetime | None) -> PastRetentionError:
    kept = "does not reach back at all" if reach is None else f"reaches back to {reach.isoformat()}"
    remedy = "" if reach is None else "give an instant after that, or "
    return PastRetentionError(
        f"the timeline of {vehicle_id} would change from {since.isoformat()} on, and raw fixes "
        f"that this takes are past their retention: what is kept of it {kept}; {remedy}restore "
        "the fixes first. Nothing was changed"
    )
