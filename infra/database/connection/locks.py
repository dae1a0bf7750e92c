"""Locks of ours, held until a transaction ends: on a table that readers have no right on (ADR 29).

An advisory lock is anybody's to take: `SELECT pg_advisory_lock(...)` needs no right, and stopped
stream and planner.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow


class Lock(StrEnum):
    """What only one may do at a time. Rows of `named_lock`: a new one comes with a migration."""

    CALENDARS = "calendars"
    """Writing calendars."""
    ALERTS = "alerts"
    """Deciding which alerts are to be raised."""


_SELECT: Final = sql.SQL("SELECT FROM named_lock WHERE name = %s FOR UPDATE{}")
# Sessions that hang are known by the transaction id that they hold; a lock on a table gives none.
_TAKE_TRANSACTION_ID: Final = "SELECT pg_current_xact_id()"


async def lock(connection: AsyncConnection[TupleRow], name: Lock) -> None:
    """Wait for a lock, and hold it until the transaction ends.

    Raises `RuntimeError` where `migrate` has not run.
    """
    cursor = await connection.execute(_SELECT.format(sql.SQL("")), [name.value])
    if cursor.rowcount != 1:
        raise RuntimeError(f"named_lock has no row {name.value!r}; run: fleetpulse migrate")


async def try_lock(connection: AsyncConnection[TupleRow], name: Lock) -> bool:
    """Take a lock until the transaction ends; return whether it was free."""
    cursor = await connection.execute(_SELECT.format(sql.SQL(" SKIP LOCKED")), [name.value])
    return cursor.rowcount == 1


async def acquire_shared_lock(connection: AsyncConnection[TupleRow]) -> None:
    """Wait until nobody holds the exclusive lock or waits for it; share it with others.

    The lock is on the table: whoever wants a row `FOR SHARE` goes past those who wait for it
    `FOR UPDATE`, who then never have their turn while others come and go. Locks on a table are
    given in the order in which they were asked for. Rows of the table can be locked meanwhile.
    """
    await connection.execute("LOCK TABLE named_lock IN SHARE MODE")
    await connection.execute(_TAKE_TRANSACTION_ID)


async def acquire_exclusive_lock(connection: AsyncConnection[TupleRow]) -> None:
    """Wait until nobody holds the lock of `acquire_shared_lock` or this one, and hold it alone."""
    await connection.execute("LOCK TABLE named_lock IN SHARE ROW EXCLUSIVE MODE")
    await connection.execute(_TAKE_TRANSACTION_ID)
