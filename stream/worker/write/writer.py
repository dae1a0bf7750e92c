"""Writes batches of records, each in one transaction.

The transaction either moves the progress of every partition in the batch from where it was
expected to the end of the batch and writes all that follows from it, or it does nothing. A batch
that is delivered again is recognised by the progress and skipped. What is done with a batch stands
in `stream.worker.pipeline`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import psycopg
import structlog

from infra.database.connection.pool import Pool
from infra.database.stream import progress
from infra.database.stream.progress import Partition, ProgressLostError
from infra.kafka.client import Topics
from stream.worker import metrics
from stream.worker.cache import Cache, StaleCacheError
from stream.worker.decode.batch import Batch
from stream.worker.decode.records import Record
from stream.worker.pipeline import Pipeline
from stream.worker.write.offsets import FetchOffsets, OffsetGap, OffsetGapError, records_lost

_log: Final = structlog.get_logger(__name__)


class Writer:
    """Writes batches of records of the partitions that this worker owns."""

    def __init__(self, pool: Pool, topics: Topics) -> None:
        self._pool = pool
        self._cache = Cache()
        self._pipeline = Pipeline(self._cache, topics)

    async def is_benign_gap(self, gap: OffsetGap, fetch_offsets: FetchOffsets) -> bool:
        """Ask the broker whether nothing was lost in a gap; if so, it may be passed from now on.

        What a broker still holds but does not deliver are marks of transactions, records of aborted
        ones, or what compaction has left out. What retention has deleted lies before `earliest`.
        """
        earliest, _ = (await fetch_offsets([gap.partition]))[gap.partition]
        if earliest > gap.expected:
            return False
        self._pipeline.benign_gaps.add(gap)
        return True

    def mark_poison(self, record: Record, error: Exception) -> None:
        """Have a record that fails on its own written as a dead letter instead."""
        self._pipeline.poison[record.place] = error

    def is_poison(self, record: Record) -> bool:
        """Return whether a record is to be written as a dead letter."""
        return record.place in self._pipeline.poison

    async def probe(self, records: Sequence[Record]) -> None:
        """Write, on another connection, as little as can be of these records' partitions.

        Raises whatever hinders it: then the records are not why they cannot be written.
        """
        partitions = {record.source for record in records}
        async with self._pool.connection() as connection, connection.transaction():
            await progress.probe_progress(connection, sorted(partitions))

    async def start_at(
        self, partitions: Sequence[Partition], fetch_offsets: FetchOffsets
    ) -> dict[Partition, int]:
        """Return where to read newly assigned partitions from, and drop what is cached.

        The broker is asked after the progress has been read, since who had the partitions before
        us may still move it. A partition without progress starts at its earliest record. Raises
        `OffsetGapError` when the progress lies outside of what the broker holds, and whatever
        asking raises.
        """
        async with self._pool.connection() as connection:
            stored = await progress.read_progress(connection, partitions)
        held = await fetch_offsets(partitions)
        for partition, offset in stored.items():
            earliest, end = held[partition]
            if offset < earliest:
                raise records_lost(OffsetGap(partition, offset, earliest))
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
        self.invalidate()
        self._cache.positions.update(stored)
        return stored

    def invalidate(self) -> None:
        """Drop every cached state and position; they are read again when needed."""
        self._cache.invalidate()
        self._pipeline.invalidate()

    async def write(self, records: Sequence[Record], following: Sequence[Record] = ()) -> int:
        """Write a batch in one transaction; return how many records were new.

        While the database writes, the records that follow are decoded and folded ahead; give the
        same sequence to the next call.

        Raises `OffsetGapError` when a record is missing before these, and the errors of psycopg
        when the database is away or refuses; nothing is then written.
        """
        while True:
            try:
                return await self._write_once(records, following)
            except (ProgressLostError, StaleCacheError, psycopg.errors.UniqueViolation) as lost:
                # Another worker has been here. Each time round its commit is in the database, so
                # that this ends; a unique violation of any other table is a fault, and is raised.
                if isinstance(lost, psycopg.errors.UniqueViolation) and not _of_a_state(lost):
                    self.invalidate()
                    raise
                _log.warning("cache dropped", reason=str(lost))
                metrics.CACHE_DROPS.inc()
                self.invalidate()
            except BaseException:
                self.invalidate()
                raise

    async def _write_once(self, records: Sequence[Record], following: Sequence[Record]) -> int:
        began = time.monotonic()
        try:
            async with self._pool.connection() as connection, connection.transaction():
                batch = await self._pipeline.run(connection, records, following)
        finally:
            await self._pipeline.settle()
        if batch.records:
            self._cache.committed(batch)
            self._pipeline.committed(batch)
            _measure(batch, began)
        return len(batch.records)


def _of_a_state(violation: psycopg.errors.UniqueViolation) -> bool:
    return violation.diag.table_name == "vehicle_state"


def _measure(batch: Batch, began: float) -> None:
    now = time.time()
    metrics.FIXES.inc(batch.received.total())
    metrics.BATCH_SECONDS.observe(time.monotonic() - began)
    for letter in batch.work.letters:
        metrics.DEAD_LETTERS.labels(letter.event.reason).inc()
    for received_at, count in batch.received.items():
        metrics.push_to_row(now - received_at.timestamp(), count)
    for record in {record.source: record for record in batch.records}.values():
        if record.received_at is not None:
            at = record.received_at.timestamp()
            metrics.COMMITTED.labels(record.topic, record.partition).set(at)
    for reason, count in batch.work.count_quarantined().items():
        metrics.FIXES_QUARANTINED.labels(reason).inc(count)
