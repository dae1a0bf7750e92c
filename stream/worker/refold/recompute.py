"""Folding again what is stored, with the rules, depots and homes of today.

One vehicle a transaction, beside running workers: the vehicle's state is locked, and written with a
new version, so that a worker that holds it in its cache drops that, and its master data with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.connection.pool import Pool
from infra.database.fleet.master_data import load_fleet
from infra.database.timeline import checkpoints, tables
from infra.database.timeline import fixes as fix_store
from infra.database.timeline import vehicle_states as store
from infra.kafka.client import Topics
from schemas.errors import UserError
from stream.worker.fold import rows
from stream.worker.fold.cached_state import STATE, CachedState
from stream.worker.fold.vehicle import PAGE_SIZE
from stream.worker.master_data import MasterData
from stream.worker.unit_of_work import UnitOfWork, flush


class NothingToRecomputeError(UserError):
    """A municipality or a vehicle that is not there."""


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What was done for a vehicle.

    `since` is the fix from which on it was folded again; None where no raw fixes are left that
    would do. `short` says that this is later than what was asked for: rows from before it stay.
    """

    vehicle_id: str
    fixes: int
    since: datetime | None
    short: bool


@dataclass(frozen=True, slots=True)
class _Start:
    """Where folding again can begin: a checkpoint, or before the first fix of all."""

    checkpoint: tuple[datetime, bytes] | None
    short: bool


async def recompute(  # noqa: PLR0913 - each bounds what is folded
    pool: Pool,
    topics: Topics,
    municipality_id: str,
    *,
    vehicle_id: str | None = None,
    since: datetime | None = None,
    at_once: int = PAGE_SIZE,
) -> AsyncIterator[Recomputed]:
    """Fold the stored fixes of a municipality's vehicles, or of one of them, again.

    With `since`, from the newest checkpoint before it on. What the checkpoint has as underway
    keeps what was made of it. Yields after each vehicle's transaction. Raises
    `NothingToRecomputeError`, and what psycopg and the master data raise.
    """
    async with pool.connection() as connection:
        if municipality_id not in (await load_fleet(connection)).municipalities:
            raise NothingToRecomputeError(
                f"municipality {municipality_id!r} is not entered; remedy: enter it first"
            )
        vehicle_ids = await store.vehicles_with_state(connection, municipality_id)
    if vehicle_id is not None:
        if vehicle_id not in vehicle_ids:
            raise NothingToRecomputeError(
                f"vehicle {vehicle_id!r} has sent no fix that counts; give one of "
                f"{municipality_id}'s that has"
            )
        vehicle_ids = [vehicle_id]
    for chosen_id in vehicle_ids:
        async with pool.connection() as connection, connection.transaction():
            done = await _recompute(connection, topics, chosen_id, since, at_once)
        if done is not None:
            yield done


async def _recompute(
    connection: AsyncConnection[TupleRow],
    topics: Topics,
    vehicle_id: str,
    since: datetime | None,
    at_once: int,
) -> Recomputed | None:
    """Fold a vehicle's fixes again; None where they all have gone to other vehicles meanwhile."""
    await store.lock_states(connection, [vehicle_id])
    states = await store.read_states(connection, [vehicle_id])
    if not states:
        return None
    [stored] = states
    cached = CachedState(
        stored.version,
        stored.first_recorded_at,
        stored.last_recorded_at,
        STATE.validate_json(stored.state),
    )
    await fix_store.allow_old_fixes(connection)
    start = await _start(connection, vehicle_id, cached, since)
    if start is None:
        return Recomputed(vehicle_id, 0, None, short=True)
    # Read after the lock: no worker folds with master data from before what we read here, unless
    # it had not met the vehicle yet.
    master_data = MasterData(await load_fleet(connection))
    at = None if start.checkpoint is None else start.checkpoint[0]
    published = await already_published(
        connection, vehicle_id, cached.first_recorded_at if at is None else at
    )
    count, first = await fold_stored(
        connection, topics, master_data, vehicle_id, cached, start.checkpoint, published, at_once
    )
    return Recomputed(vehicle_id, count, first, start.short)


async def fold_stored(  # noqa: PLR0913, PLR0917 - where to begin, by what, and what is known
    connection: AsyncConnection[TupleRow],
    topics: Topics,
    master_data: MasterData,
    vehicle_id: str,
    cached: CachedState,
    checkpoint: tuple[datetime, bytes] | None,
    published: Collection[UUID],
    at_once: int = PAGE_SIZE,
) -> tuple[int, datetime | None]:
    """Fold a vehicle's stored fixes after a checkpoint, or all; return how many, and since when.

    The vehicle's state is locked by us; `known` bounds what comes out from before. Events whose
    ids are among the `said` do not leave again.
    """
    at = None if checkpoint is None else checkpoint[0]
    state = None if checkpoint is None else STATE.validate_json(checkpoint[1])
    count, first = 0, at
    while page := await fix_store.read_fixes(connection, vehicle_id, after=at, limit=at_once):
        work = UnitOfWork()
        arrivals = [rows.stored_arrival(row) for row in page]
        refused = master_data.fold(vehicle_id, topics, work).refold(
            cached,
            state,
            [arrival.fix for arrival, _ in arrivals],
            again=count == 0,
            more=len(page) == at_once,
        )
        work.changed_fixes += [
            rows.fix_row(vehicle_id, arrival, refused.get(arrival.fix.recorded_at))
            for arrival, quarantine in arrivals
            if quarantine != refused.get(arrival.fix.recorded_at)
        ]
        # What is as it was has been said already, and may have left the outbox long ago.
        work.messages = [message for message in work.messages if message[0] not in published]
        await flush(connection, work, topics)
        cached = work.states[vehicle_id]
        state, at = cached.state, page[-1][1]
        first = first or page[0][1]
        count += len(page)
    return count, first


async def _start(
    connection: AsyncConnection[TupleRow],
    vehicle_id: str,
    cached: CachedState,
    since: datetime | None,
) -> _Start | None:
    """Return where to begin; None where the raw fixes that it takes are past their retention.

    A fix that is stored vouches for all after it: retention deletes the oldest.
    """
    first = cached.first_recorded_at
    if not await fix_store.has_fix(connection, vehicle_id, cached.last_recorded_at):
        return None
    newest = None
    if since is not None:
        newest = await checkpoints.read_checkpoint(connection, vehicle_id, before=since)
    if newest is None and await fix_store.has_fix(connection, vehicle_id, first):
        return _Start(None, short=False)
    if newest is not None and await fix_store.has_fix(connection, vehicle_id, newest[0]):
        return _Start(newest, short=False)
    oldest = await checkpoints.oldest_checkpoint(connection, vehicle_id, since=first)
    return None if oldest is None else _Start(oldest, short=True)


async def already_published(
    connection: AsyncConnection[TupleRow], vehicle_id: str, since: datetime
) -> set[UUID]:
    """Return the ids of what was published of the rows that are there."""
    trips = await store.read_ended(connection, tables.TRIP, vehicle_id, since=since)
    back = await store.read_ended(connection, tables.ROUND_TRIP, vehicle_id, since=since)
    return {rows.trip_event_id(vehicle_id, *row) for row in trips} | {
        rows.round_trip_event_id(vehicle_id, *row) for row in back
    }
