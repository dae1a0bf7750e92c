"""The outbox as the relay sees it, and deleting what is published or past its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

LONGEST_BYTES: Final = 1_000_000
"""Of a message's value: below the usual limit of brokers, 1 MiB with key, headers and frame."""
_TABLES: Final = {
    "placement-plan": "plan",
    "alert-raised": "alert",
    "alert-resolved": "alert",
    "trip-ended": "trip",
    "round-trip-ended": "round_trip",
}
"""Where the whole of an event is, by its type."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message that waits to be published."""

    message_id: UUID
    topic: str
    key: str
    payload: dict[str, Any]
    attempts: int = 0
    """How often it was sent by itself and refused."""


def encode(payload: dict[str, Any]) -> bytes:
    """Return a payload as JSON that fits into a message of Kafka.

    Of one that does not, the largest parts are left out: their names are in `left_out`, and
    `left_out_reason` says in which table they are. A dead letter keeps all its fields, but
    repeats no message.
    """
    encoded = orjson.dumps(payload)
    if len(encoded) <= LONGEST_BYTES:
        return encoded
    if payload.get("type") == "dead-letter":
        detail = f"{payload['detail']} (the message is too long to repeat; table dead_letter)"
        return orjson.dumps({**payload, "detail": detail, "message_value": ""})
    table = _TABLES.get(payload.get("type", ""), "outbox")
    kept = dict(payload)
    left_out: list[str] = []
    for name in sorted(payload, key=lambda name: len(orjson.dumps(payload[name])), reverse=True):
        del kept[name]
        left_out.append(name)
        reason = (
            f"{len(encoded)} bytes are too long for a message, limit {LONGEST_BYTES}: read what "
            f"is left out in table {table}"
        )
        shortened = orjson.dumps({**kept, "left_out": left_out, "left_out_reason": reason})
        if len(shortened) <= LONGEST_BYTES:
            return shortened
    raise ValueError(f"{len(left_out)} names of parts alone are over {LONGEST_BYTES} bytes")


async def take_unpublished(
    connection: AsyncConnection[TupleRow], limit: int
) -> list[OutboxMessage]:
    """Lock and return the oldest waiting messages; other relays pass them by."""
    cursor = await connection.execute(
        "SELECT message_id, topic, key, payload FROM outbox "
        "WHERE published_at IS NULL AND retry_at IS NULL "
        "ORDER BY position LIMIT %s FOR UPDATE SKIP LOCKED",
        [limit],
    )
    return [OutboxMessage(row[0], row[1], row[2], row[3]) for row in await cursor.fetchall()]


async def take_set_apart(connection: AsyncConnection[TupleRow]) -> OutboxMessage | None:
    """Lock and return a message that was set apart and is to be sent again by now, if any."""
    cursor = await connection.execute(
        "SELECT message_id, topic, key, payload, attempts FROM outbox "
        "WHERE published_at IS NULL AND retry_at <= now() "
        "ORDER BY retry_at LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    row = await cursor.fetchone()
    return None if row is None else OutboxMessage(*row)


async def set_apart(
    connection: AsyncConnection[TupleRow], message_id: UUID, refusal: str, *, again_in_s: float
) -> None:
    """Have a message wait apart from the others, and say why.

    0 s: it was refused in company, and is to be sent by itself at once; else that has failed.
    """
    await connection.execute(
        "UPDATE outbox SET refusal = %s, retry_at = now() + make_interval(secs => %s), "
        "attempts = attempts + %s WHERE message_id = %s",
        [refusal, again_in_s, int(again_in_s > 0), message_id],
    )


async def count_set_apart(connection: AsyncConnection[TupleRow]) -> int:
    """Return how many messages were sent by themselves, and refused."""
    cursor = await connection.execute(
        "SELECT count(*) FROM outbox "
        "WHERE published_at IS NULL AND retry_at IS NOT NULL AND attempts > 0"
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def mark_published(connection: AsyncConnection[TupleRow], ids: Sequence[UUID]) -> None:
    """Note that Kafka has acknowledged these messages."""
    await connection.execute(
        "UPDATE outbox SET published_at = now() WHERE message_id = ANY(%s)", [list(ids)]
    )


async def prune(connection: AsyncConnection[TupleRow], *, fix_days: int) -> dict[str, int]:
    """Delete what is past its time; return how many rows of which table.

    Raw fixes and the checkpoints that rest on them after `fix_days` days (personal data:
    docs/domain.md, privacy; with TimescaleDB its own policy has dropped the fixes already), and so
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
