"""The way of a batch, from records of Kafka to rows: its steps in order. Begin to read here.

    decode     records become fixes, or dead letters     decode/batch.py, columnar.py, records.py
    progress   offsets move by compare-and-set           infra/database/stream/progress.py
    validate   fixes that are wrong, other vendors'      group/validate.py
    group      fixes by vehicle, through its trackers    group/by_vehicle.py
    lock       states of the vehicles                    cache.py
    fold       fixes and state become segments, trips    fold/append.py, fold/late_arrivals.py
    derive     idle time, round trips, hours, rows       fold/vehicle.py, fold/rows.py
    write      states, fixes, derived rows               unit_of_work.py
    outbox     events and dead letters for Kafka         unit_of_work.py

All of it is one transaction, which `write/writer.py` opens and repeats where another worker was
ahead. Progress comes early, so that a batch that is not ours any more costs nothing. Decode to fold
ask nothing of the database as long as all is known: while PostgreSQL writes a batch, the next one
goes through them.
"""

from __future__ import annotations

import asyncio
from collections import ChainMap
from collections.abc import Mapping, Sequence
from functools import partial

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.fleet import tracker_assignments
from infra.database.fleet.master_data import add_unregistered
from infra.database.fleet.vendors import register_first_vendors
from infra.database.stream import progress
from infra.database.stream.progress import Partition
from infra.kafka.client import Topics
from stream.worker import metrics
from stream.worker.cache import Cache
from stream.worker.decode.batch import Batch, decode_batch
from stream.worker.decode.records import Record, RecordPlace
from stream.worker.fold.append import append_all, append_columns
from stream.worker.fold.cached_state import CachedState
from stream.worker.fold.late_arrivals import take_late
from stream.worker.group.by_vehicle import group_by_vehicle
from stream.worker.group.validate import first_vendors
from stream.worker.master_data import MasterData
from stream.worker.unit_of_work import flush
from stream.worker.write.offsets import OffsetGap, new_records
from stream.worker.write.session_keepalive import kept_alive, waited_for


class Pipeline:
    """Takes batches through the steps, each in the transaction that it is given."""

    def __init__(self, cache: Cache, topics: Topics) -> None:
        self._cache = cache
        self._topics = topics
        self._prepared: tuple[Sequence[Record], asyncio.Task[Batch]] | None = None
        self.poison: dict[RecordPlace, Exception] = {}
        """Records that become dead letters, with what they fail with."""
        self.benign_gaps: set[OffsetGap] = set()
        """Gaps in which nothing was lost."""

    async def run(
        self,
        connection: AsyncConnection[TupleRow],
        records: Sequence[Record],
        following: Sequence[Record],
    ) -> Batch:
        """Take records through all steps; return what came of them, empty if none is new.

        `following` are prepared meanwhile: call `settle` before anything else is done. Raises
        `OffsetGapError`, `ProgressLostError`, `StaleCacheError` and the errors of psycopg.
        """
        batch = await self._decode(connection, records)
        metrics.RECORDS_SKIPPED.inc(len(records) - len(batch.records))
        if batch.records:
            await progress.advance_progress(connection, batch.moves)
            master_data = await self._validate_and_group(connection, batch)
            states = await self._lock_states(connection, batch, master_data)
            await self._fold_and_derive(connection, batch, master_data, states)
            self._prepare(following, batch)
            await flush(connection, batch.work, self._topics)  # write, outbox
        return batch

    async def settle(self) -> None:
        """Wait until nothing is being prepared: a thread cannot be stopped."""
        if self._prepared is not None:
            _, preparing = self._prepared
            await asyncio.wait((preparing,))
            preparing.exception()  # raised when its turn comes, if it does

    def committed(self, batch: Batch) -> None:
        """Forget what lies behind a batch that was written."""
        self.benign_gaps.clear()
        for record in batch.records:
            self.poison.pop(record.place, None)

    def invalidate(self) -> None:
        """Drop what was prepared: it rests on a batch that was not written."""
        self._prepared = None

    async def _decode(
        self, connection: AsyncConnection[TupleRow], records: Sequence[Record]
    ) -> Batch:
        positions = await self._cache.read_positions(connection, records)
        if self._prepared is not None and self._prepared[0] is records:
            return await waited_for(connection, self._prepared[1])
        return await kept_alive(connection, partial(self._decode_new, records, positions))

    def _decode_new(self, records: Sequence[Record], positions: Mapping[Partition, int]) -> Batch:
        """Decode the records that are not processed yet."""
        moves, new = new_records(records, positions, self.benign_gaps)
        return decode_batch(new, moves, self.poison)

    async def _validate_and_group(
        self, connection: AsyncConnection[TupleRow], batch: Batch
    ) -> MasterData:
        if batch.master_data is not None:  # prepared
            return batch.master_data
        master_data = await self._cache.load_master_data(connection, batch.municipalities)
        if first := first_vendors(batch, master_data):
            master_data.vendors |= await register_first_vendors(connection, first)
        await kept_alive(connection, partial(group_by_vehicle, batch, master_data))
        return master_data

    async def _lock_states(
        self, connection: AsyncConnection[TupleRow], batch: Batch, master_data: MasterData
    ) -> dict[str, CachedState]:
        vehicles = batch.waiting.keys() | batch.work.states.keys()
        unseen = vehicles - master_data.fleet.vehicles.keys() - self._cache.states.keys()
        if unseen:
            await add_unregistered(connection, unseen)
        if batch.of_no_vehicle or not vehicles <= self._cache.states.keys():
            await tracker_assignments.share_assignments(connection)
        return await self._cache.lock_states(connection, vehicles, master_data)

    async def _fold_and_derive(
        self,
        connection: AsyncConnection[TupleRow],
        batch: Batch,
        master_data: MasterData,
        states: Mapping[str, CachedState],
    ) -> None:
        """Fold what was not folded ahead: first what only goes on, then what is late."""
        if not batch.waiting:
            return
        new = batch.waiting.keys() - states.keys()
        append = partial(append_all, batch, master_data, states, new, self._topics)
        for fold, items in await kept_alive(connection, append):
            await take_late(fold, connection, states[fold.vehicle.vehicle_id], items)

    def _prepare(self, following: Sequence[Record], batch: Batch) -> None:
        """Decode, group and fold the records after a batch, from the states that it will write.

        Nothing is believed of it that its own transaction does not check: it moves the progress by
        compare-and-set, and locks every state and compares its version with the one folded from.
        When this batch fails, what was prepared is dropped with everything else.
        """
        self._prepared = None
        master_data = self._cache.master_data
        if not following or master_data is None or not self._cache.has_fresh_master_data():
            return
        positions = {**self._cache.positions, **batch.next_offsets}
        # After a cache was dropped, positions are known of those partitions only that came since.
        if not {record.source for record in following} <= positions.keys():
            return
        states = ChainMap(batch.work.states, self._cache.states)

        def prepare() -> Batch:
            prepared = self._decode_new(following, positions)
            has_all = prepared.municipalities <= master_data.fleet.municipalities.keys()
            if has_all and not first_vendors(prepared, master_data):
                group_by_vehicle(prepared, master_data)
                append_columns(prepared, states, (), self._topics)
            return prepared

        self._prepared = following, asyncio.create_task(asyncio.to_thread(prepare))
