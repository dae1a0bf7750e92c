"""Where the stream meets the database: progress by compare-and-set, outbox and dead letters."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from infra.database.stream.outbox import encode
from schemas.errors import InternalError
from schemas.events.outgoing import DeadLetter

NAMESPACE: Final = uuid.UUID("6f6f8f0e-5b0c-4b6e-9d43-0d0a3f4b7c11")
"""Of all our deterministic ids."""


class Partition(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int


class ProgressLostError(InternalError):
    """Another worker has moved a partition's progress: ours is a zombie's batch."""


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A dead letter as it is stored: the event and the message it can be replayed from."""

    event: DeadLetter
    key: bytes | None
    value: bytes


def event_id(*parts: object) -> uuid.UUID:
    """Return the id of a fact: the same parts give the same id."""
    return uuid.uuid5(NAMESPACE, "|".join(str(part) for part in parts))


async def read_progress(
    connection: AsyncConnection[TupleRow], partitions: Sequence[Partition]
) -> dict[Partition, int]:
    """Return the next offset to process of each partition that has one."""
    cursor = await connection.execute(
        "SELECT topic, partition, next_offset FROM stream_progress "
        "JOIN unnest(%s::text[], %s::int[]) AS asked (topic, partition) USING (topic, partition)",
        [
            [partition.topic for partition in partitions],
            [partition.partition for partition in partitions],
        ],
    )
    return {Partition(topic, number): offset for topic, number, offset in await cursor.fetchall()}


async def begin_progress(
    connection: AsyncConnection[TupleRow], starts: Mapping[Partition, int]
) -> None:
    """Enter partitions seen for the first time; those that are there keep their progress.

    Call it for missing ones only: it waits for whoever is moving the progress of one.
    """
    for partition, offset in sorted(starts.items()):
        await connection.execute(
            "INSERT INTO stream_progress (topic, partition, next_offset) VALUES (%s, %s, %s) "
            "ON CONFLICT (topic, partition) DO NOTHING",
            [partition.topic, partition.partition, offset],
        )


async def advance_progress(
    connection: AsyncConnection[TupleRow], moves: Mapping[Partition, tuple[int, int]]
) -> None:
    """Move each partition from its expected to its next offset.

    Raises `ProgressLostError` when any of them is not where it was expected; the caller's
    transaction must then be rolled back.
    """
    for partition, (expected, following) in sorted(moves.items()):
        cursor = await connection.execute(
            "UPDATE stream_progress SET next_offset = %s, updated_at = now() "
            "WHERE topic = %s AND partition = %s AND next_offset = %s",
            [following, partition.topic, partition.partition, expected],
        )
        if cursor.rowcount != 1:
            raise ProgressLostError(
                f"progress of {partition.topic}[{partition.partition}] is no longer at {expected}"
            )


async def probe_progress(
    connection: AsyncConnection[TupleRow], partitions: Sequence[Partition]
) -> None:
    """Write the progress of partitions as it is: succeeds where the database takes writes at all.

    Waits two seconds at most for whoever is moving it. Raises the errors of psycopg. Call it in a
    transaction: only its commit tells.
    """
    await connection.execute("SET LOCAL lock_timeout = '2s'")
    for partition in sorted(partitions):
        await connection.execute(
            "UPDATE stream_progress SET updated_at = updated_at "
            "WHERE topic = %s AND partition = %s",
            [partition.topic, partition.partition],
        )


async def put_outbox(
    connection: AsyncConnection[TupleRow],
    messages: Sequence[tuple[uuid.UUID, str, str, dict[str, Any]]],
) -> None:
    """Queue messages (id, topic, key, payload) for the relay; a known id is not queued again.

    What is too long for a message of Kafka is queued without its largest parts.
    """
    if not messages:
        return
    ids, topics, keys, payloads = zip(*messages, strict=True)
    await connection.execute(
        "INSERT INTO outbox (message_id, topic, key, payload) "  # positions in the given order
        "SELECT * FROM unnest(%b::uuid[], %b::text[], %b::text[], %b::jsonb[]) "
        "ON CONFLICT (message_id) DO NOTHING",
        [
            list(ids),
            list(topics),
            list(keys),
            [Jsonb(payload, dumps=encode) for payload in payloads],
        ],
    )


async def put_dead_letters(
    connection: AsyncConnection[TupleRow], letters: Sequence[DeadLetterRecord], topic: str
) -> None:
    """Store dead letters and queue their events for the dead-letter topic."""
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO dead_letter (dead_letter_id, reason, detail, topic, partition, "
            "record_offset, item_index, message_key, message_value, vendor, municipality_id, "
            "vehicle_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (dead_letter_id) DO NOTHING",
            [
                (
                    letter.event.event_id,
                    letter.event.reason,
                    letter.event.detail,
                    letter.event.topic,
                    letter.event.partition,
                    letter.event.offset,
                    letter.event.index,
                    letter.key,
                    letter.value,
                    letter.event.vendor,
                    letter.event.municipality_id,
                    letter.event.vehicle_id,
                )
                for letter in letters
            ],
        )
    await put_outbox(
        connection,
        [
            (
                letter.event.event_id,
                topic,
                letter.event.vehicle_id or letter.event.reason,
                letter.event.model_dump(mode="json"),
            )
            for letter in letters
        ],
    )
