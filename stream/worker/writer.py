"""One transaction a batch: fixes, what derives from them, states, progress and outbox.

The transaction either moves the progress of every partition in the batch from where it was
expected to the end of the batch and writes all that follows from it, or it does nothing. A batch
that is delivered again is recognised by the progress and skipped.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from pydantic import ValidationError

from infra.database import stream as progress
from infra.database import timeline as store
from infra.database.fleet import Fleet, add_unregistered, load_fleet
from infra.database.pool import Pool
from infra.database.stream import Letter, Partition, ProgressLostError
from infra.kafka import Held, Topics
from processors.arrivals import fault
from schemas.ids import municipality_of
from stream.worker import metrics
from stream.worker.fold import STATE, Ground, Known, Writes, flush
from stream.worker.records import Decoded, Item, Record, decode, item_letter, letter

_FLEET_KEPT_S: Final = 30.0
_log: Final = structlog.get_logger(__name__)

Ask = Callable[[Sequence[Partition]], Awaitable[Mapping[tuple[str, int], Held]]]
"""Asks the broker what it holds of partitions."""


class OffsetGapError(RuntimeError):
    """Records that were never processed are missing: nothing may be guessed here."""

    def __init__(self, message: str, hole: Hole | None = None) -> None:
        super().__init__(message)
        self.hole = hole
        """Where in the stream, when one was seen between two records."""


class Hole(NamedTuple):
    """Offsets from `expected` to before `found` that the broker did not deliver."""

    partition: Partition
    expected: int
    found: int


class StaleCacheError(RuntimeError):
    """A vehicle's state is newer in the database than in our cache."""


class MasterDataError(RuntimeError):
    """What is stored of municipalities, depots or vehicles breaks the schema."""


class Writer:
    """Writes batches of records of the partitions that this worker owns."""

    def __init__(self, pool: Pool, topics: Topics) -> None:
        self._pool = pool
        self._topics = topics
        self._expected: dict[Partition, int] = {}
        self._known: dict[str, Known] = {}
        self._ground: Ground | None = None
        self._fleet_at = 0.0
        self._refused: dict[tuple[Partition, int], Exception] = {}
        self._nothing_there: set[Hole] = set()

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
        self._refused[_place(record)] = error

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
                    "replaced, move the progress with `fleetpulse progress set`"
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

    async def write(self, records: Sequence[Record]) -> int:
        """Write a batch in one transaction; return how many records were new.

        Raises `OffsetGapError` when a record is missing before these, and the errors of psycopg
        when the database is away or refuses; nothing is then written.
        """
        while True:
            try:
                return await self._try(records)
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

    async def _try(self, records: Sequence[Record]) -> int:
        began = time.monotonic()
        async with self._pool.connection() as connection, connection.transaction():
            moves, new = await self._positions(connection, records)
            if not new:
                return 0
            decoded = self._decoded(new)
            ground = await self._current_ground(connection, decoded)
            await progress.advance_progress(connection, moves)
            writes = Writes(letters=decoded.letters)
            await self._fold(connection, decoded, ground, writes)
            await flush(connection, writes, self._topics)
        for partition, (_, following) in moves.items():
            self._expected[partition] = following
        self._known.update(writes.states)
        self._nothing_there.clear()  # all of them lie behind us
        for record in new:
            self._refused.pop(_place(record), None)
        _measure(decoded, writes, began)
        return len(new)

    def _decoded(self, records: Sequence[Record]) -> Decoded:
        refused = [
            (record, error)
            for record in records
            if (error := self._refused.get(_place(record))) is not None
        ]
        decoded = decode(record for record in records if _place(record) not in self._refused)
        decoded.letters += [unprocessable(record, error) for record, error in refused]
        return decoded

    async def _positions(
        self, connection: AsyncConnection[TupleRow], records: Sequence[Record]
    ) -> tuple[dict[Partition, tuple[int, int]], list[Record]]:
        """Return how the progress moves, and the records that are not yet processed."""
        touched = {Partition(record.topic, record.partition) for record in records}
        unknown = sorted(touched - self._expected.keys())
        if unknown:
            self._expected.update(await progress.read_progress(connection, unknown))
        following: dict[Partition, int] = {}
        new: list[Record] = []
        for record in records:
            partition = Partition(record.topic, record.partition)
            if partition not in self._expected:
                raise OffsetGapError(
                    f"{partition.topic}[{partition.partition}] was never assigned to this worker"
                )
            expected = following.get(partition, self._expected[partition])
            if record.offset < expected:
                metrics.RECORDS_SKIPPED.inc()
                continue
            hole = Hole(partition, expected, record.offset)
            if record.offset > expected and hole not in self._nothing_there:
                raise _gap(*hole)
            following[partition] = record.offset + 1
            new.append(record)
        return {one: (self._expected[one], offset) for one, offset in following.items()}, new

    async def _current_ground(
        self, connection: AsyncConnection[TupleRow], decoded: Decoded
    ) -> Ground:
        """Return the master data, read again when it is old or does not know a municipality."""
        ground = self._ground
        if ground is not None and time.monotonic() - self._fleet_at < _FLEET_KEPT_S:
            seen = {municipality_of(item.arrival.fix.vehicle_id) for item in decoded.items}
            if seen <= ground.fleet.municipalities.keys():
                return ground
        try:
            fleet = await load_fleet(connection)
        except ValidationError as error:
            raise MasterDataError(f"master data cannot be read, mend it: {error}") from error
        self._ground, self._fleet_at = Ground(fleet), time.monotonic()
        return self._ground

    async def _fold(
        self,
        connection: AsyncConnection[TupleRow],
        decoded: Decoded,
        ground: Ground,
        writes: Writes,
    ) -> None:
        by_vehicle = _by_vehicle(decoded, ground.fleet, writes)
        unseen = by_vehicle.keys() - ground.fleet.vehicles.keys() - self._known.keys()
        if unseen:
            await add_unregistered(connection, unseen)
        known = await self._states(connection, by_vehicle.keys())
        for vehicle_id, items in by_vehicle.items():
            fold = ground.fold(vehicle_id, self._topics, writes)
            await fold.take(connection, known.get(vehicle_id), items)

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


def _by_vehicle(decoded: Decoded, fleet: Fleet, writes: Writes) -> dict[str, list[Item]]:
    """Return the items of each vehicle; those that are wrong by themselves become dead letters."""
    every: defaultdict[str, list[Item]] = defaultdict(list)
    for item in decoded.items:
        every[item.arrival.fix.vehicle_id].append(item)
    by_vehicle: dict[str, list[Item]] = {}
    for vehicle_id, items in every.items():
        municipality = fleet.municipalities.get(municipality_of(vehicle_id))
        if municipality is None:
            writes.letters += [_unknown_municipality(item) for item in items]
            continue
        good = []
        for item in items:
            wrong = fault(item.arrival.fix, item.arrival.received_at, municipality.rules)
            if wrong is None:
                good.append(item)
            else:
                writes.letters.append(item_letter(item, *wrong))
        if good:
            by_vehicle[vehicle_id] = good
    return by_vehicle


def _unknown_municipality(item: Item) -> Letter:
    return item_letter(
        item,
        "unknown-municipality",
        f"no municipality {municipality_of(item.arrival.fix.vehicle_id)} is entered; enter it and "
        "replay this letter",
    )


def unprocessable(record: Record, error: Exception) -> Letter:
    """Return the dead letter of a record that fails on its own, through a fault of ours."""
    return letter(
        record,
        "unprocessable",
        f"{type(error).__name__}: {error}; a fault of this program: report it, and replay this "
        "letter once it is mended",
    )


def _place(record: Record) -> tuple[Partition, int]:
    return Partition(record.topic, record.partition), record.offset


def _gap(partition: Partition, expected: int, found: int) -> OffsetGapError:
    return OffsetGapError(
        f"{partition.topic}[{partition.partition}]: records {expected} to {found - 1} are gone "
        "from Kafka before they were processed (retention shorter than our absence?); to accept "
        f"the loss: fleetpulse progress set {partition.topic} {partition.partition} {found}",
        Hole(partition, expected, found),
    )


def _measure(decoded: Decoded, writes: Writes, began: float) -> None:
    now = time.time()
    metrics.FIXES.inc(len(decoded.items))
    metrics.BATCH_SECONDS.observe(time.monotonic() - began)
    for one in writes.letters:
        metrics.DEAD_LETTERS.labels(one.event.reason).inc()
    seen: dict[datetime, int] = defaultdict(int)
    for item in decoded.items:
        seen[item.arrival.received_at] += 1
    for received_at, count in seen.items():
        metrics.push_to_row(now - received_at.timestamp(), count)
