"""Locks of ours: rows of a table that readers of dashboards have no right on (ADR 29).

An advisory lock is anybody's to take: `SELECT pg_advisory_lock(...)` needs no right, and stopped
stream and planner. A row is free again when its transaction ends, however it ends.
"""

from __future__ import annotations

from enum import StrEnum

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow


class Lock(StrEnum):
    """What only one may do at a time. Rows of `named_lock`: a new one comes with a migration."""

    CALENDARS = "calendars"
    """Writing calendars."""
    NEWCOMERS = "newcomers"
    """Changing assignments of trackers; shared: meeting a vehicle that may have no state yet."""
    ALERTS = "alerts"
    """Judging what alerts are to be raised."""


_SELECT = sql.SQL("SELECT FROM named_lock WHERE name = %s FOR {}")


async def lock(connection: AsyncConnection[TupleRow], name: Lock, *, shared: bool = False) -> None:
    """Wait for a lock, and hold it until the transaction ends. Shared ones do not exclude others.

    Raises `RuntimeError` where `migrate` has not run.
    """
    mode = sql.SQL("SHARE" if shared else "UPDATE")
    cursor = await connection.execute(_SELECT.format(mode), [name.value])
    if cursor.rowcount != 1:
        raise RuntimeError(f"named_lock has no row {name.value!r}; run: fleetpulse migrate")


async def try_lock(connection: AsyncConnection[TupleRow], name: Lock) -> bool:
    """Take a lock until the transaction ends; return whether it was free."""
    cursor = await connection.execute(_SELECT.format(sql.SQL("UPDATE SKIP LOCKED")), [name.value])
    return cursor.rowcount == 1
