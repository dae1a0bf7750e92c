"""Vehicles that have fallen silent: their trips end, though no fix says so.

Event time decides: a vehicle is silent when others of its municipality have reported for longer
than a gap since its last fix. The clock on the wall bounds it: whose state was written a moment ago
is being caught up with. Only derived rows are written, never a state: the late truth wins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from infra.database.connection.pool import Pool
from infra.database.fleet.master_data import MasterDataError, load_fleet, newest_fixes
from infra.database.timeline import vehicle_states as store
from infra.kafka.client import Topics
from schemas.fleet.master_data import Municipality
from stream.process.background import count_fault, guarded, in_parts
from stream.worker.fold.cached_state import CachedState
from stream.worker.master_data import MasterData
from stream.worker.unit_of_work import UnitOfWork, flush

MAX_SILENT: Final = timedelta(days=7)
"""A vehicle that is gone for longer is not written on: it would fill the tables with nothing."""
_PAGE_SIZE: Final = 500
_TASK: Final = "silence"


async def settle_silent(pool: Pool, topics: Topics, *, unwritten_for: timedelta) -> int:
    """Write on the rows of silent vehicles; return how many there were.

    Vehicles are written some hundred in a transaction. One that fails is left behind, named and
    counted, and the others are written without it. Safe beside the workers that own them: states
    are locked while their rows are written.
    """
    async with pool.connection() as connection:
        fleet = await load_fleet(connection, strict=False)
        newest = await newest_fixes(connection)
    for concerned, reason in fleet.unreadable.items():
        count_fault("master-data", MasterDataError(reason), concerned=concerned)
    master_data = MasterData(fleet)
    count = 0
    for municipality_id, until in newest.items():
        municipality = fleet.municipalities.get(municipality_id)
        if municipality is None:  # entered a moment ago, or unreadable
            continue
        with guarded(_TASK, municipality_id=municipality_id):
            count += await _settle_municipality(
                pool, topics, master_data, municipality, until, unwritten_for
            )
    return count


async def _settle_municipality(  # noqa: PLR0913, PLR0917 - what is known, and what bounds silence
    pool: Pool,
    topics: Topics,
    master_data: MasterData,
    municipality: Municipality,
    until: datetime,
    unwritten_for: timedelta,
) -> int:
    count, after = 0, ""
    while True:
        async with pool.connection() as connection:
            untils = await store.find_silent(
                connection,
                municipality.municipality_id,
                until=until,
                gap=timedelta(seconds=municipality.rules.gap_s),
                at_most=MAX_SILENT,
                unwritten_for=unwritten_for,
                after=after,
                limit=_PAGE_SIZE,
            )
        if not untils:
            return count
        after = list(untils)[-1]  # in the database's order, not in ours

        async def settle(
            vehicle_ids: Sequence[str], untils: Mapping[str, datetime] = untils
        ) -> int:
            return await _settle(
                pool,
                topics,
                master_data,
                {vehicle_id: untils[vehicle_id] for vehicle_id in vehicle_ids},
            )

        count += await in_parts(
            _TASK, list(untils), settle, lambda vehicle_id: {"vehicle_id": vehicle_id}
        )


async def _settle(
    pool: Pool, topics: Topics, master_data: MasterData, untils: Mapping[str, datetime]
) -> int:
    """Write on the rows of these vehicles in one transaction; return of how many."""
    work = UnitOfWork()
    count = 0
    async with pool.connection() as connection, connection.transaction():
        # All at once, in the order in which the writer locks them: no circle of waiting.
        await store.lock_states(connection, list(untils))
        for stored in await store.read_states(connection, list(untils)):
            fold = master_data.fold(stored.vehicle_id, topics, work)
            until = untils[stored.vehicle_id]
            # Looked at once more: a fix may have come while we waited for the lock.
            if (until - stored.last_recorded_at).total_seconds() <= fold.rules.gap_s:
                continue
            cached = CachedState.of(stored)
            if cached.state.timeline is None:  # a late fix was private, and nothing else is left
                continue
            fold.silent(cached, until)
            count += 1
        await flush(connection, work, topics)
    return count
