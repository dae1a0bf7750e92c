"""The relay's side of the outbox, and the cleaning of what has done its service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow


@dataclass(frozen=True, slots=True)
class Message:
    """A message that waits to be published."""

    message_id: UUID
    topic: str
    key: str
    payload: dict[str, Any]


async def take_unpublished(connection: AsyncConnection[TupleRow], limit: int) -> list[Message]:
    """Lock and return the oldest waiting messages; other relays pass them by."""
    cursor = await connection.execute(
        "SELECT message_id, topic, key, payload FROM outbox WHERE published_at IS NULL "
        "ORDER BY position LIMIT %s FOR UPDATE SKIP LOCKED",
        [limit],
    )
    return [Message(row[0], row[1], row[2], row[3]) for row in await cursor.fetchall()]


async def mark_published(connection: AsyncConnection[TupleRow], ids: Sequence[UUID]) -> None:
    """Note that Kafka has acknowledged these messages."""
    await connection.execute(
        "UPDATE outbox SET published_at = now() WHERE message_id = ANY(%s)", [list(ids)]
    )


async def prune(connection: AsyncConnection[TupleRow], *, fix_days: int) -> dict[str, int]:
    """Delete what is past its time; return how many rows of which table.

    Raw fixes and the checkpoints that rest on them after `fix_days` days (personal data:
    DOMAIN.md, privacy; with TimescaleDB its own policy has dropped the fixes already), and so
    studies that say who was out with whom, and who is visited when; published messages after 7
    days, dead letters 30 days after they were replayed or
    discarded; those that wait for somebody to look at them are kept.
    """
    statements = {
        "fix": f"DELETE FROM fix WHERE recorded_at < now() - INTERVAL '{int(fix_days)} days'",
        "vehicle_checkpoint": "DELETE FROM vehicle_checkpoint "
        f"WHERE recorded_at < now() - INTERVAL '{int(fix_days)} days'",
        "study": "DELETE FROM study WHERE kind IN ('carpool', 'routes') "
        f"AND created_at < now() - INTERVAL '{int(fix_days)} days'",
        "outbox": "DELETE FROM outbox WHERE published_at < now() - INTERVAL '7 days'",
        "dead_letter": "DELETE FROM dead_letter "
        "WHERE greatest(replayed_at, discarded_at) < now() - INTERVAL '30 days'",
    }
    deleted = {}
    for table, statement in statements.items():
        cursor = await connection.execute(statement)
        deleted[table] = cursor.rowcount
    return deleted
