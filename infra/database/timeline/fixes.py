"""Stored fixes: read again, and changed where more has become known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

from psycopg import sql

from infra.database.connection.pool import Connection
from infra.database.timeline.tables import FIX, Row


async def read_fixes(
    connection: Connection,
    vehicle_id: str,
    *,
    after: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> list[Row]:
    """Return a vehicle's stored fixes after an instant and up to another, as rows of `FIX`.

    In order; with a limit, at most so many of them. An instant that is None bounds nothing.
    """
    return await _read_fixes(
        connection,
        "recorded_at > %s AND recorded_at <= %s ORDER BY recorded_at LIMIT %s",
        vehicle_id,
        "-infinity" if after is None else after,
        "infinity" if until is None else until,
        limit,
    )


async def read_fixes_at(
    connection: Connection, vehicle_id: str, instants: Sequence[datetime]
) -> list[Row]:
    """Return a vehicle's stored fixes of those instants, as rows of `FIX`."""
    return await _read_fixes(
        connection, "recorded_at = ANY(%s::timestamptz[])", vehicle_id, list(instants)
    )


async def _read_fixes(connection: Connection, which: LiteralString, *given: Any) -> list[Row]:
    cursor = await connection.execute(
        sql.SQL("SELECT {} FROM fix WHERE vehicle_id = %s AND " + which).format(
            sql.SQL(", ").join(map(sql.Identifier, FIX.columns))
        ),
        given,
    )
    return await cursor.fetchall()


async def has_fix(connection: Connection, vehicle_id: str, at: datetime) -> bool:
    """Return whether the vehicle's fix of that instant is still stored."""
    cursor = await connection.execute(
        "SELECT 1 FROM fix WHERE vehicle_id = %s AND recorded_at = %s", [vehicle_id, at]
    )
    return await cursor.fetchone() is not None


async def allow_old_fixes(connection: Connection) -> None:
    """Let this transaction change any number of fixes that are in the columnstore already.

    TimescaleDB decompresses 100,000 a transaction and no more, unless told so: a batch of up to
    1,000 for each that is changed. Plain PostgreSQL keeps the setting without a meaning.
    """
    await connection.execute(
        "SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"
    )


async def revise_fixes(
    connection: Connection, reasons: Mapping[tuple[str, datetime], str | None]
) -> None:
    """Write why stored fixes are left out, or that they count, by vehicle and instant.

    A statement a fix, each with its key: TimescaleDB looks into the columnstore by values only. By
    a join it would decompress all that is in there, and refuse beyond its limit a transaction.
    """
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "UPDATE fix SET quarantine = %(reason)s WHERE vehicle_id = %(vehicle_id)s "
            "AND recorded_at = %(at)s AND quarantine IS DISTINCT FROM %(reason)s",
            [
                {"vehicle_id": vehicle_id, "at": at, "reason": reason}
                for (vehicle_id, at), reason in reasons.items()
            ],
        )


async def put_fixes(connection: Connection, rows: Sequence[Row]) -> None:
    """Write fixes that may be there already; the given rows count."""
    columns = list(FIX.columns)
    changed = [name for name in columns if name not in {"vehicle_id", "recorded_at"}]
    async with connection.cursor() as cursor:
        await cursor.executemany(
            sql.SQL(
                "INSERT INTO fix ({columns}) VALUES ({values}) "
                "ON CONFLICT (vehicle_id, recorded_at) DO UPDATE SET {changes}"
            ).format(
                columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
                values=sql.SQL(", ").join(sql.Placeholder() * len(columns)),
                changes=sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in changed
                ),
            ),
            rows,
        )
