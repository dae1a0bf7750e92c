"""Offsets that were not delivered between two records: read once more, by a consumer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.kafka.client import client_options
from infra.settings import KafkaSettings
from stream.worker.decode.records import Record
from stream.worker.write.offsets import OffsetGap

_LIMIT_S: Final = 15.0
_WAIT_MS: Final = 50
_RECORDS_LIMIT: Final = 500

Reread = Callable[[OffsetGap], Awaitable[list[Record]]]
"""Reads a gap again."""


async def read_again(settings: KafkaSettings, gap: OffsetGap) -> list[Record]:
    """Return the first records in a gap, 500 at most; none if the broker delivers none there.

    Read at the isolation level of the stream, which is uncommitted: whoever leaves a transaction
    open must not stop the others of the partition. Raises `OffsetOutOfRangeError` when the broker
    no longer has the first offset, another `aiokafka.errors.KafkaError` when it refuses, and
    `TimeoutError` when it does not get to the gap's end within 15 s.
    """
    place = TopicPartition(*gap.partition)
    consumer = AIOKafkaConsumer(
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        fetch_max_wait_ms=_WAIT_MS,
        isolation_level="read_uncommitted",
        **client_options(settings),
    )
    records: list[Record] = []
    try:
        async with asyncio.timeout(_LIMIT_S):
            await consumer.start()
            consumer.assign([place])
            consumer.seek(place, gap.expected)
            # What was delivered behind the gap tells its end, or the position does.
            while await consumer.position(place) < gap.delivered and len(records) < _RECORDS_LIMIT:
                batch = await consumer.getmany(
                    place, timeout_ms=_WAIT_MS, max_records=_RECORDS_LIMIT
                )
                records += [
                    record_of(message, message.timestamp)
                    for message in batch.get(place, ())
                    if gap.expected <= message.offset < gap.delivered
                ]
    finally:
        await consumer.stop()
    return records


def record_of(message: Any, timestamp_ms: float | None) -> Record:
    """Return a message as a record, whatever it holds."""
    return Record(
        message.topic,
        message.partition,
        message.offset,
        message.key,
        message.value,
        _instant(timestamp_ms),
    )


def _instant(timestamp_ms: float | None) -> datetime | None:
    """Return the broker's time of a message, or None where it tells none that can be.

    Below 0 is "no timestamp" (Kafka's -1) or nonsense, which the broker takes from producers.
    """
    if timestamp_ms is None or timestamp_ms < 0:
        return None
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
