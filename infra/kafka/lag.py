"""How far the stream is behind: what the broker holds beyond the progress of each partition."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.kafka.client import client_options
from infra.settings import KafkaSettings

ANSWER_LIMIT_S: Final = 15.0
"""Longest that the broker is asked."""
_OLDEST_LIMIT_S: Final = 3.0
"""Longest that is waited for the oldest records, once the ends are known."""
_FETCH_MS: Final = 50
_LATEST_MS: Final = 253_402_300_799_000
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """Up to where a partition has been processed, and when it was last moved on."""

    topic: str
    partition: int
    next_offset: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Lag:
    """What of a partition is still to be processed."""

    end_offset: int
    """Offset of the next record that the broker will take."""
    records: int
    oldest_at: datetime | None
    """Kafka's time of the oldest record not processed; None without one, or where it says none."""


async def read_all_progress(connection: AsyncConnection[TupleRow]) -> list[PartitionProgress]:
    """Return the progress of every partition that has one, in order."""
    cursor = await connection.execute(
        "SELECT topic, partition, next_offset, updated_at FROM stream_progress ORDER BY 1, 2"
    )
    return [PartitionProgress(*row) for row in await cursor.fetchall()]


async def read_lag(
    settings: KafkaSettings, topic: str, next_offsets: Mapping[int, int]
) -> dict[int, Lag]:
    """Ask the broker how far each partition of a topic is behind; one without progress by all.

    One record of each partition that is behind is read: its time is the lag in seconds, and the
    fetch tells the end, which the embedded broker tells wrongly when it is asked for it. Raises
    `aiokafka.errors.KafkaError` when the broker refuses or does not know the topic, and
    `TimeoutError` when it does not answer within 15 s.
    """
    consumer = AIOKafkaConsumer(
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # where retention has deleted what was not processed
        fetch_max_wait_ms=_FETCH_MS,
        max_partition_fetch_bytes=1,  # one batch: the least that a broker sends
        **client_options(settings),
    )
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            await consumer.start()
            numbers = await _partitions(consumer, topic)
            places = {number: TopicPartition(topic, number) for number in sorted(numbers)}
            consumer.assign(list(places.values()))
            earliest = await consumer.beginning_offsets(list(places.values()))
            starts = {
                place: next_offsets.get(place.partition, earliest[place]) for place in earliest
            }
            for place, offset in starts.items():
                consumer.seek(place, offset)
            oldest = await _oldest(consumer, starts)
            return {
                number: await _lag(consumer, place, starts[place], oldest)
                for number, place in places.items()
            }
    finally:
        await consumer.stop()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """Return the partitions of a topic, which is not created by asking."""
    topics = await consumer.topics()
    if topic not in topics:
        raise UnknownTopicOrPartitionError(
            f"the broker has no topic {topic}; run: fleetpulse migrate"
        )
    # Whoever asks about one partition of a topic is told all of them along with it.
    await consumer.beginning_offsets([TopicPartition(topic, 0)])
    partitions: set[int] = consumer.partitions_for_topic(topic)
    return partitions


async def _oldest(
    consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int]
) -> dict[TopicPartition, datetime | None]:
    """Read until the end of each partition is known, and the first record of those behind."""
    oldest: dict[TopicPartition, datetime | None] = {}
    while any(consumer.highwater(place) is None for place in starts):
        await _take(consumer, oldest)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_OLDEST_LIMIT_S):
            while [
                place
                for place in starts
                if place not in oldest
                and await consumer.position(place) < consumer.highwater(place)
            ]:
                await _take(consumer, oldest)
    return oldest


async def _take(consumer: AIOKafkaConsumer, oldest: dict[TopicPartition, datetime | None]) -> None:
    for place, records in (await consumer.getmany(timeout_ms=_FETCH_MS, max_records=1)).items():
        if records:
            oldest.setdefault(place, _instant(records[0].timestamp))
            consumer.pause(place)


def _instant(timestamp_ms: int) -> datetime | None:
    """Return Kafka's time of a record; whoever produces may write any number there."""
    if not 0 <= timestamp_ms <= _LATEST_MS:
        return None
    return datetime.fromtimestamp(timestamp_ms / 1000, UTC)


async def _lag(
    consumer: AIOKafkaConsumer,
    place: TopicPartition,
    start: int,
    oldest: Mapping[TopicPartition, datetime | None],
) -> Lag:
    end: int = consumer.highwater(place)
    if place not in oldest and await consumer.position(place) >= end:
        return Lag(end, 0, None)  # nothing, or marks of transactions, which are no records
    return Lag(end, max(0, end - start), oldest.get(place) if end > start else None)
