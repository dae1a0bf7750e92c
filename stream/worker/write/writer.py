"""One transaction a batch: fixes, what derives from them, states, progress and outbox.

The transaction either moves the progress of every partition in the batch from where it was
expected to the end of the batch and writes all that follows from it, or it does nothing. A batch
that is delivered again is recognised by the progress and skipped.
"""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.connection.pool import Pool
from infra.database.fleet import tracker_assignments
from infra.database.fleet.master_data import add_unregistered, load_fleet
from infra.database.fleet.vendors import register_first_vendors
from infra.database.stream import progress
from infra.database.stream.progress import Letter, Partition, ProgressLostError
from infra.database.timeline import vehicle_states as store
from infra.kafka.client import Held, Topics
from schemas.errors import InternalError, UserError
from schemas.events.dead_letters import DeadLetterReason
from stream.process.outages import Fault, judge
from stream.worker import metrics
from stream.worker.decode.batch import Batch, Place, place_of
from stream.worker.decode.records import Item, Record, letter
from stream.worker.fold import late_arrivals
from stream.worker.fold.vehicle import STATE, Ground, Known, VehicleFold, flush
from stream.worker.write.session_keepalive import kept_alive, waited_for

_FLEET_KEPT_S: Final = 30.0
_ERROR_LIMIT: Final = 1_500
_log: Final = structlog.get_logger(__name__)

Ask = Callable[[Sequence[Partition]], Awaitable[Mapping[tuple[str, int], Held]]]
"""Asks the broker what it holds of partitions."""


class OffsetGapError(UserError):
    """Records that were never processed are missing: nothing may be guessed here."""

    exit_code = 1

    def __init__(self, message: str, hole: Hole | None = None) -> None:
        super().__init__(message)
        self.hole = hole
        """Where in the stream, when one was seen between two records."""


class Hole(NamedTuple):
    """Offsets from `expected` to before `found` that the broker did not deliver."""

    partition: Partition
    expected: int
    found: int


class StaleCacheError(InternalError):
    """A vehicle's state, or who is in which vehicle, is newer in the database than in our cache."""


class Writer:
    """Writes batches of records of the partitions that this worker owns."""

    def __init__(self, pool: Pool, topics: Topics) -> None:
        self._pool = pool
        self._topics = topics
        self._expected: dict[Partition, int] = {}
        self._known: dict[str, Known] = {}
        self._ground: Ground | None = None
        self._fleet_at = 0.0
        self._refused: dict[Place, Exception] = {}
        self._nothing_there: set[Hole] = set()
        self._ahead: tuple[Sequence[Record], asyncio.Task[Batch]] | None = None

    async def nothing_lost(self, hole: Hole, ask: Ask) -> bool:
        """Ask the broker whether a hole is none of loss; if so, it may be passed from now on.

        What a broker still holds but does not deliver are marks of transactions, records of aborted
        ones, or what compaction has left out. What retention has deleted lies before `earliest`.
        """
        earliest, _ = (await ask([hole.partition]))[hole.partition]
        if earliest > hole.expected:
            return False
        self._nothing_there.add(hole)
        return True

    def refuse(self, record: Record, error: Exception) -> None:
        """Have a record that fails on its own written as a dead letter instead."""
        self._refused[place_of(record)] = error

    def is_refused(self, record: Record) -> bool:
        """Return whether a record is to be written as a dead letter."""
        return place_of(record) in self._refused

    async def probe(self, records: Sequence[Record]) -> None:
        """Write, on another connection, as little as can be of these records' partitions.

        Raises whatever hinders it: then the records are not why they cannot be written.
        """
        partitions = {Partition(record.topic, record.partition) for record in records}
        async with self._pool.connection() as connection, connection.transaction():
            await progress.probe_progress(connection, sorted(partitions))

    async def start_at(self, partitions: Sequence[Partition], ask: Ask) -> dict[Partition, int]:
        """Return where to read newly assigned partitions from, and forget what we knew.

        The broker is asked after the progress has been read, since who had the partitions before
        us may still move it. A partition without progress starts at its earliest record. Raises
        `OffsetGapError` when the progress lies outside of what the broker holds, and whatever
        asking raises.
        """
        async with self._pool.connection() as connection:
            stored = await progress.read_progress(connection, partitions)
        held = await ask(partitions)
        for partition, offset in stored.items():
            earliest, end = held[partition]
            if offset < earliest:
                raise _gap(partition, offset, earliest)
            if offset > end:
                raise OffsetGapError(
                    f"{partition.topic}[{partition.partition}] ends at offset {end}, "
                    f"but {offset} records of it were processed: this is another topic of the "
                    "same name; set FLEETPULSE_KAFKA_TOPIC_PREFIX, or, where the broker was "
                    "replaced and what it held is given up: "
                    f"fleetpulse offsets reset {partition.topic}"
                )
        if missing := set(partitions) - stored.keys():
            starts = {partition: held[partition].earliest for partition in missing}
            async with self._pool.connection() as connection:
                await progress.begin_progress(connection, starts)
                stored |= await progress.read_progress(connection, sorted(missing))
        self.forget()
        self._expected.update(stored)
        return stored

    def forget(self) -> None:
        """Drop every cached state and position; they are read again when needed."""
        self._known.clear()
        self._expected.clear()
        self._ground = None
        self._ahead = None

    async def write(self, records: Sequence[Record], following: Sequence[Record] = ()) -> int:
        """Write a batch in one transaction; return how many records were new.

        While the database writes, the records that follow are decoded and folded ahead; give the
        same sequence to the next call.

        Raises `OffsetGapError` when a record is missing before these, and the errors of psycopg
        when the database is away or refuses; nothing is then written.
        """
        while True:
            try:
                return await self._try(records, following)
            except (ProgressLostError, StaleCacheError, psycopg.errors.UniqueViolation) as lost:
                # Another worker has been here. Each time round its commit is in the database, so
                # that this ends; a unique violation of any other table is a fault, and is raised.
                if isinstance(lost, psycopg.errors.UniqueViolation) and not _of_a_state(lost):
                    self.forget()
                    raise
                _log.warning("cache dropped", reason=str(lost))
                metrics.CACHE_DROPS.inc()
                self.forget()
            except BaseException:
                self.forget()
                raise

    async def _try(self, records: Sequence[Record], following: Sequence[Record]) -> int:
        began = time.monotonic()
        ahead: asyncio.Task[Batch] | None = None
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await self._know_positions(connection, records)
                batch = await self._folded_ahead(connection, records)
                if batch is None:
                    begin = partial(self._begin, records, dict(self._expected))
                    batch = await kept_alive(connection, begin)
                metrics.RECORDS_SKIPPED.inc(len(records) - len(batch.records))
                if not batch.records:
                    return 0
                await progress.advance_progress(connection, batch.moves)
                await self._fold(connection, batch)
                ahead = self._fold_ahead(batch, following)
                await flush(connection, batch.writes, self._topics)
        finally:
            if ahead is not None:  # a thread cannot be stopped: have it end before anything else
                await asyncio.wait((ahead,))
                ahead.exception()  # raised when its turn comes, if it does
        self._expected |= batch.following
        self._known.update(batch.writes.states)
        self._nothing_there.clear()  # all of them lie behind us
        for record in batch.records:
            self._refused.pop(place_of(record), None)
        self._ahead = None if ahead is None else (following, ahead)
        _measure(batch, began)
        return len(batch.records)

    def _begin(self, records: Sequence[Record], expected: Mapping[Partition, int]) -> Batch:
        """Return a batch of those records that are new, decoded."""
        moves, new = self._positions(records, expected)
        refused = {
            place: unprocessable(record, error)
            for record in new
            if (error := self._refused.get(place := place_of(record))) is not None
        }
        return Batch(new, moves, refused)

    def _fold_ahead(self, batch: Batch, following: Sequence[Record]) -> asyncio.Task[Batch] | None:
        """Start to fold the records after a batch, from the states that it is about to write.

        Nothing is believed of it that its own transaction does not check: it moves the progress by
        compare-and-set, and locks every state and compares its version with the one folded from.
        When this batch fails, what was folded ahead is forgotten with everything else.
        """
        if not following or self._ground is None or self._fleet_is_old():
            return None
        ground = self._ground
        expected = {**self._expected, **batch.following}
        # After a cache was dropped, positions are known of those partitions only that came since.
        if not {Partition(one.topic, one.partition) for one in following} <= expected.keys():
            return None
        known = ChainMap(batch.writes.states, self._known)

        def fold() -> Batch:
            ahead = self._begin(following, expected)
            known_all = ahead.municipalities <= ground.fleet.municipalities.keys()
            if known_all and not ahead.first_vendors(ground):
                ahead.share_out(ground)
                ahead.fold_onward(known, (), self._topics)
            return ahead

        return asyncio.create_task(asyncio.to_thread(fold))

    async def _folded_ahead(
        self, connection: AsyncConnection[TupleRow], records: Sequence[Record]
    ) -> Batch | None:
        """Return what was folded ahead of these records; raises what that raised."""
        if self._ahead is None or self._ahead[0] is not records:
            return None
        return await waited_for(connection, self._ahead[1])

    async def _know_positions(
        self, connection: AsyncConnection[TupleRow], records: Sequence[Record]
    ) -> None:
        touched = {Partition(record.topic, record.partition) for record in records}
        unknown = sorted(touched - self._expected.keys())
        if unknown:
            self._expected.update(await progress.read_progress(connection, unknown))

    def _positions(
        self, records: Sequence[Record], expected: Mapping[Partition, int]
    ) -> tuple[dict[Partition, tuple[int, int]], list[Record]]:
        """Return how the progress moves, and the records that are not yet processed."""
        following: dict[Partition, int] = {}
        new: list[Record] = []
        for record in records:
            partition = Partition(record.topic, record.partition)
            if partition not in expected:
                raise OffsetGapError(
                    f"{partition.topic}[{partition.partition}] was never assigned to this worker"
                )
            next_offset = following.get(partition, expected[partition])
            if record.offset < next_offset:
                continue
            hole = Hole(partition, next_offset, record.offset)
            if record.offset > next_offset and hole not in self._nothing_there:
                raise _gap(*hole)
            following[partition] = record.offset + 1
            new.append(record)
        return {one: (expected[one], offset) for one, offset in following.items()}, new

    async def _current_ground(
        self, connection: AsyncConnection[TupleRow], municipalities: Collection[str]
    ) -> Ground:
        """Return the master data, read again when it is old or does not know a municipality."""
        ground = self._ground
        if (
            ground is not None
            and not self._fleet_is_old()
            and ground.fleet.municipalities.keys() | ground.fleet.unreadable.keys()
            >= set(municipalities)
        ):
            return ground
        fleet = await load_fleet(connection, strict=False)
        if ground is not None and ground.fleet.tracker_revision != fleet.tracker_revision:
            # A vehicle may have lost its state and begun anew since, at a version that we know.
            self._known.clear()
        self._ground, self._fleet_at = Ground(fleet), time.monotonic()
        return self._ground

    def _fleet_is_old(self) -> bool:
        return time.monotonic() - self._fleet_at >= _FLEET_KEPT_S

    async def _fold(self, connection: AsyncConnection[TupleRow], batch: Batch) -> None:
        """Fold what was not folded ahead, and check what that was folded from."""
        ground = batch.ground
        if ground is None:
            ground = await self._current_ground(connection, batch.municipalities)
            if first := batch.first_vendors(ground):
                ground.vendors |= await register_first_vendors(connection, first)
            await kept_alive(connection, partial(batch.share_out, ground))
        vehicles = batch.waiting.keys() | batch.writes.states.keys()
        unseen = vehicles - ground.fleet.vehicles.keys() - self._known.keys()
        if unseen:
            await add_unregistered(connection, unseen)
        if batch.of_no_vehicle or not vehicles <= self._known.keys():
            await tracker_assignments.come_as_newcomer(connection)
        known = await self._states(connection, vehicles)
        # Only now: who changed an assignment of these vehicles has committed, or comes after us.
        if await tracker_assignments.read_revision(connection) != ground.fleet.tracker_revision:
            raise StaleCacheError("trackers were assigned to other vehicles")
        if batch.waiting:
            new = vehicles - known.keys()
            onward = partial(self._fold_onward, batch, ground, known, new)
            for fold, items in await kept_alive(connection, onward):
                await late_arrivals.take(fold, connection, known[fold.vehicle.vehicle_id], items)

    def _fold_onward(
        self, batch: Batch, ground: Ground, known: Mapping[str, Known], new: Collection[str]
    ) -> list[tuple[VehicleFold, list[Item]]]:
        """Fold all that only goes on; return what is late, with the fold of its vehicle."""
        batch.fold_onward(known, new, self._topics)
        behind = []
        for vehicle_id, share in batch.waiting.items():
            fold, items = ground.fold(vehicle_id, self._topics, batch.writes), batch.items_of(share)
            if not late_arrivals.take_onward(fold, known.get(vehicle_id), items):
                behind.append((fold, items))
        return behind

    async def _states(
        self, connection: AsyncConnection[TupleRow], vehicle_ids: Collection[str]
    ) -> dict[str, Known]:
        """Lock the vehicles' states and return them, from the cache where it is current."""
        versions = await store.lock_states(connection, list(vehicle_ids))
        missing = []
        for vehicle_id in vehicle_ids:
            ours = self._known.get(vehicle_id)
            if ours is None:
                if vehicle_id in versions:
                    missing.append(vehicle_id)
            elif versions.get(vehicle_id) != ours.version:
                raise StaleCacheError(f"state of {vehicle_id} was written by another worker")
        for stored in await store.read_states(connection, missing) if missing else ():
            self._known[stored.vehicle_id] = Known(
                stored.version,
                stored.first_recorded_at,
                stored.last_recorded_at,
                STATE.validate_json(stored.state),
            )
        return {one: self._known[one] for one in vehicle_ids if one in self._known}


def _of_a_state(violation: psycopg.errors.UniqueViolation) -> bool:
    return violation.diag.table_name == "vehicle_state"


def unprocessable(record: Record, error: Exception) -> Letter:
    """Return the dead letter of a record that fails on its own, through a fault of ours."""
    if judge(error) is Fault.SESSION:
        what = "the database ended our session or statement over it each time, and took others"
    else:
        what = "a fault of this program"
    # An error may cite what no text in the database may hold, such as half a surrogate pair.
    name = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    detail = f"{name[:_ERROR_LIMIT]}; {what}: report it, and replay this letter once it is mended"
    return letter(record, DeadLetterReason.UNPROCESSABLE, detail)


def _gap(partition: Partition, expected: int, found: int) -> OffsetGapError:
    return OffsetGapError(
        f"{partition.topic}[{partition.partition}]: records {expected} to {found - 1} are gone "
        "from Kafka before they were processed (retention shorter than our absence?); to accept "
        f"the loss: fleetpulse offsets set {partition.topic} {partition.partition} {found}",
        Hole(partition, expected, found),
    )


def _measure(batch: Batch, began: float) -> None:
    now = time.time()
    metrics.FIXES.inc(batch.received.total())
    metrics.BATCH_SECONDS.observe(time.monotonic() - began)
    for one in batch.writes.letters:
        metrics.DEAD_LETTERS.labels(one.event.reason).inc()
    for received_at, count in batch.received.items():
        metrics.push_to_row(now - received_at.timestamp(), count)
    for record in {Partition(one.topic, one.partition): one for one in batch.records}.values():
        if record.received_at is not None:
            at = record.received_at.timestamp()
            metrics.COMMITTED.labels(record.topic, record.partition).set(at)
    for reason, count in batch.writes.count_quarantined().items():
        metrics.FIXES_QUARANTINED.labels(reason).inc(count)
