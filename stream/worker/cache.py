"""What a worker remembers from one batch to the next, each checked against the database.

Positions are checked by compare-and-set, states by their version under a lock, assignments of
trackers by their revision; other master data may be half a minute old.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import structlog
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.fleet import tracker_assignments
from infra.database.fleet.master_data import load_fleet
from infra.database.stream import progress
from infra.database.stream.progress import Partition
from infra.database.timeline import vehicle_states as state_store
from schemas.errors import InternalError
from stream.worker.decode.batch import Batch
from stream.worker.decode.records import Record
from stream.worker.fold.cached_state import CachedState
from stream.worker.master_data import MasterData

_MASTER_DATA_TTL_S: Final = 30.0
_log: Final = structlog.get_logger(__name__)


class StaleCacheError(InternalError):
    """A vehicle's state, or who is in which vehicle, is newer in the database than in our cache."""


class Cache:
    """Positions of partitions, states of vehicles, and master data."""

    def __init__(self) -> None:
        self.positions: dict[Partition, int] = {}
        self.states: dict[str, CachedState] = {}
        self.master_data: MasterData | None = None
        self._loaded_at = 0.0

    def invalidate(self) -> None:
        """Drop all of it; it is read again when needed."""
        self.positions.clear()
        self.states.clear()
        self.master_data = None

    def committed(self, batch: Batch) -> None:
        """Take over what a batch has written."""
        self.positions |= batch.next_offsets
        self.states.update(batch.work.states)

    def has_fresh_master_data(self) -> bool:
        """Return whether master data are there, and read not too long ago."""
        return (
            self.master_data is not None and time.monotonic() - self._loaded_at < _MASTER_DATA_TTL_S
        )

    async def read_positions(
        self, connection: AsyncConnection[TupleRow], records: Sequence[Record]
    ) -> Mapping[Partition, int]:
        """Return the positions of at least these records' partitions."""
        touched = {record.source for record in records}
        if unknown := sorted(touched - self.positions.keys()):
            self.positions.update(await progress.read_progress(connection, unknown))
        return dict(self.positions)

    async def load_master_data(
        self, connection: AsyncConnection[TupleRow], municipalities: Collection[str]
    ) -> MasterData:
        """Return the master data, read again when old or when a municipality is not in them."""
        before = self.master_data
        if (
            before is not None
            and self.has_fresh_master_data()
            and before.fleet.municipalities.keys() | before.fleet.unreadable.keys()
            >= set(municipalities)
        ):
            return before
        fleet = await load_fleet(connection, strict=False)
        if before is not None and before.fleet.tracker_revision != fleet.tracker_revision:
            # A vehicle may have lost its state and begun anew since, at a version that we know.
            self.states.clear()
        self.master_data, self._loaded_at = MasterData(fleet), time.monotonic()
        return self.master_data

    async def lock_states(
        self,
        connection: AsyncConnection[TupleRow],
        vehicle_ids: Collection[str],
        master_data: MasterData,
    ) -> dict[str, CachedState]:
        """Lock the vehicles' states and return them, from the cache where it is current.

        Raises `StaleCacheError` where it is not, or where trackers were assigned since the master
        data were read.
        """
        versions = await state_store.lock_states(connection, list(vehicle_ids))
        missing = []
        for vehicle_id in vehicle_ids:
            ours = self.states.get(vehicle_id)
            if ours is None:
                if vehicle_id in versions:
                    missing.append(vehicle_id)
            elif versions.get(vehicle_id) != ours.version:
                raise StaleCacheError(f"state of {vehicle_id} was written by another worker")
        for stored in await state_store.read_states(connection, missing) if missing else ():
            self.states[stored.vehicle_id] = CachedState.of(stored)
        # Only now: who changed an assignment of these vehicles has committed, or comes after us.
        revision = await tracker_assignments.read_revision(connection)
        if revision != master_data.fleet.tracker_revision:
            raise StaleCacheError("trackers were assigned to other vehicles")
        return {
            vehicle_id: self.states[vehicle_id]
            for vehicle_id in vehicle_ids
            if vehicle_id in self.states
        }
