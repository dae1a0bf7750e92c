"""Which ids of vehicles and trackers an installation has heard of."""

from __future__ import annotations

from collections.abc import Collection

from infra.database.connection.pool import Connection


async def known_vehicles(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those of scoped ids that are entered, have reported before, or are a tracker's.

    Who reports and is not entered is noted as a vehicle by the worker.
    """
    cursor = await connection.execute(
        "SELECT id FROM unnest(%s::text[]) AS asked (id) "
        "WHERE EXISTS (SELECT FROM vehicle WHERE vehicle_id = id) "
        "OR EXISTS (SELECT FROM tracker_assignment WHERE tracker_id = id)",
        [list(ids)],
    )
    return {row[0] for row in await cursor.fetchall()}
