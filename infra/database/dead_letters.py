"""Dead letters: reading them, and sending them through the stream again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow


@dataclass(frozen=True, slots=True)
class WaitingLetter:
    """A dead letter as a message that can be produced again."""

    letter_id: UUID
    key: bytes | None
    value: bytes


async def list_waiting(
    connection: AsyncConnection[TupleRow], *, reason: str | None, limit: int
) -> list[tuple[Any, ...]]:
    """Return (created, reason, vehicle, origin, detail) of the newest letters not replayed."""
    cursor = await connection.execute(
        "SELECT created_at, reason, vehicle_id, "
        "format('%%s[%%s]@%%s', topic, partition, record_offset), detail FROM dead_letter "
        "WHERE replayed_at IS NULL AND (%(reason)s::text IS NULL OR reason = %(reason)s) "
        "ORDER BY created_at DESC LIMIT %(limit)s",
        {"reason": reason, "limit": limit},
    )
    return await cursor.fetchall()


async def now(connection: AsyncConnection[TupleRow]) -> datetime:
    """Return the database's time, by which letters are dated."""
    row = await (await connection.execute("SELECT now()")).fetchone()
    if row is None:
        raise RuntimeError("SELECT now() returned no row")
    at: datetime = row[0]
    return at


async def take_waiting(
    connection: AsyncConnection[TupleRow], *, reason: str | None, until: datetime, limit: int
) -> list[WaitingLetter]:
    """Lock and return the oldest letters not replayed, of those written until an instant."""
    cursor = await connection.execute(
        "SELECT dead_letter_id, message_key, message_value FROM dead_letter "
        "WHERE replayed_at IS NULL AND (%(reason)s::text IS NULL OR reason = %(reason)s) "
        "AND created_at <= %(until)s "
        "ORDER BY created_at, dead_letter_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
        {"reason": reason, "until": until, "limit": limit},
    )
    return [WaitingLetter(*row) for row in await cursor.fetchall()]


async def mark_replayed(connection: AsyncConnection[TupleRow], ids: Sequence[UUID]) -> None:
    """Note that these letters are in the stream again."""
    await connection.execute(
        "UPDATE dead_letter SET replayed_at = now() WHERE dead_letter_id = ANY(%s)", [list(ids)]
    )
