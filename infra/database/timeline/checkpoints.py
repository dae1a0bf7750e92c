"""Checkpoints: past states of a vehicle, from which late fixes are folded again."""

from __future__ import annotations

from datetime import datetime

from infra.database.connection.pool import Connection


async def read_checkpoint(
    connection: Connection, vehicle_id: str, *, before: datetime
) -> tuple[datetime, bytes] | None:
    """Return the newest checkpoint of a vehicle before an instant, as (instant, JSON)."""
    cursor = await connection.execute(
        "SELECT recorded_at, state FROM vehicle_checkpoint "
        "WHERE vehicle_id = %s AND recorded_at < %s ORDER BY recorded_at DESC LIMIT 1",
        [vehicle_id, before],
    )
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1].encode())


async def read_start(
    connection: Connection, vehicle_id: str, *, before: datetime, first: datetime
) -> tuple[tuple[datetime, bytes] | None, bool]:
    """Return the newest checkpoint before an instant, and whether its fix is still stored.

    Without a checkpoint, whether the fix of the instant `first` is.
    """
    cursor = await connection.execute(
        "SELECT c.recorded_at, c.state, EXISTS ("
        "SELECT FROM fix WHERE vehicle_id = %(vehicle_id)s "
        "AND recorded_at = coalesce(c.recorded_at, %(first)s)) "
        "FROM (VALUES (1)) AS always LEFT JOIN LATERAL ("
        "SELECT recorded_at, state FROM vehicle_checkpoint WHERE vehicle_id = %(vehicle_id)s "
        "AND recorded_at < %(before)s ORDER BY recorded_at DESC LIMIT 1) AS c ON true",
        {"vehicle_id": vehicle_id, "before": before, "first": first},
    )
    row = await cursor.fetchone()
    if row is None:
        raise AssertionError("a left join keeps its left row")
    at, state, is_kept = row
    return None if at is None else (at, state.encode()), is_kept


async def next_checkpoint(
    connection: Connection, vehicle_id: str, *, after: datetime | None
) -> tuple[datetime, bytes] | None:
    """Return the oldest checkpoint of a vehicle, or the oldest after an instant."""
    cursor = await connection.execute(
        "SELECT recorded_at, state FROM vehicle_checkpoint "
        "WHERE vehicle_id = %s AND recorded_at > %s ORDER BY recorded_at LIMIT 1",
        [vehicle_id, "-infinity" if after is None else after],
    )
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1].encode())


async def oldest_checkpoint(
    connection: Connection, vehicle_id: str, *, since: datetime
) -> tuple[datetime, bytes] | None:
    """Return the oldest checkpoint of a vehicle from an instant on whose fix is stored."""
    cursor = await connection.execute(
        "SELECT c.recorded_at, c.state FROM vehicle_checkpoint c "
        "JOIN fix f USING (vehicle_id, recorded_at) "
        "WHERE c.vehicle_id = %s AND c.recorded_at >= %s ORDER BY c.recorded_at LIMIT 1",
        [vehicle_id, since],
    )
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1].encode())
