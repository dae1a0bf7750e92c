"""Dead letters: reading them, and sending them through the stream again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


async def take_waiting(
    connection: AsyncConnection[TupleRow], *, reason: str | None, limit: int
) -> list[WaitingLetter]:
    """Lock and return the oldest letters not replayed."""
    cursor = await connection.execute(
        "SELECT dead_letter_id, message_key, message_value FROM dead_letter "
        "WHERE replayed_at IS NULL AND (%(reason)s::text IS NULL OR reason = %(reason)s) "
        "ORDER BY created_at, dead_letter_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
        {"reason": reason, "limit": limit},
    )
    return [WaitingLetter(*row) for row in await cursor.fetchall()]


async def mark_replayed(connection: AsyncConnection[TupleRow], ids: Sequence[UUID]) -> None:
    """Note that these letters are in the stream again."""
    await connection.execute(
        "UPDATE dead_letter SET replayed_at = now() WHERE dead_letter_id = ANY(%s)", [list(ids)]
    )
