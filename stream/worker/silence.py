"""Vehicles that have fallen silent: their trips end, though no fix says so.

Event time decides: a vehicle is silent when others of its municipality have reported for longer
than a gap since its last fix. The clock on the wall bounds it: whose state was written a moment ago
is being caught up with. Only derived rows are written, never a state: the late truth wins.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from infra.database import timeline as store
from infra.database.fleet import load_fleet, newest_fixes
from infra.database.pool import Pool
from infra.kafka import Topics
from stream.worker.fold import STATE, Ground, Known, Writes, flush

SILENT_AT_MOST: Final = timedelta(days=7)
"""A vehicle that is gone for longer is not written on: it would fill the tables with nothing."""
_AT_ONCE: Final = 500


async def settle_silent(pool: Pool, topics: Topics, *, unwritten_for: timedelta) -> int:
    """Write on the rows of silent vehicles in one transaction; return how many there were.

    Safe beside the workers that own them: states are locked while their rows are written.
    """
    async with pool.connection() as connection, connection.transaction():
        fleet = await load_fleet(connection)
        untils: dict[str, datetime] = {}
        for municipality_id, until in (await newest_fixes(connection)).items():
            municipality = fleet.municipalities.get(municipality_id)
            if municipality is None:  # entered a moment ago
                continue
            untils |= await store.find_silent(
                connection,
                municipality_id,
                until=until,
                gap=timedelta(seconds=municipality.rules.gap_s),
                at_most=SILENT_AT_MOST,
                unwritten_for=unwritten_for,
                limit=_AT_ONCE,
            )
        # All at once, in the order in which the writer locks them: no circle of waiting.
        await store.lock_states(connection, list(untils))
        writes, ground = Writes(), Ground(fleet)
        count = 0
        for stored in await store.read_states(connection, list(untils)):
            vehicle = fleet.vehicle(stored.vehicle_id)
            rules = fleet.municipalities[vehicle.municipality_id].rules
            until = untils[stored.vehicle_id]
            # Looked at once more: a fix may have come while we waited for the lock.
            if (until - stored.last_recorded_at).total_seconds() <= rules.gap_s:
                continue
            known = Known(
                stored.version,
                stored.first_recorded_at,
                stored.last_recorded_at,
                STATE.validate_json(stored.state),
            )
            ground.fold(stored.vehicle_id, topics, writes).silent(known, until)
            count += 1
        await flush(connection, writes, topics)
    return count
