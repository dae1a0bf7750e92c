"""The relay: publishes what transactions have left in the outbox, at least once.

A message keeps its id, in the payload and in the header `event-id`, however often it is sent, so
that a listener recognises what it has seen.
"""

from __future__ import annotations

import asyncio
from typing import Final

import orjson
import psycopg
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter
from psycopg_pool import PoolTimeout

from infra.database.outbox import mark_published, take_unpublished
from infra.database.pool import Pool
from infra.kafka import producer_options
from infra.settings import KafkaSettings

_AT_ONCE: Final = 500
_POLL_S: Final = 0.2
_RETRY_S: Final = 2.0
_PUBLISHED: Final = Counter("fleetpulse_published", "Messages published from the outbox", ["topic"])
_log: Final = structlog.get_logger(__name__)


async def relay(pool: Pool, settings: KafkaSettings, stop: asyncio.Event) -> None:
    """Publish until `stop` is set. While broker or database is away, messages wait."""
    while not stop.is_set():
        producer = AIOKafkaProducer(**producer_options(settings))
        try:
            await producer.start()
            while not stop.is_set():
                if not await publish_once(pool, producer):
                    await _pause(stop, _POLL_S)
        except (KafkaError, psycopg.Error, PoolTimeout, OSError) as away:
            _log.warning("outbox waits", reason=repr(away), retry_s=_RETRY_S)
            await _pause(stop, _RETRY_S)
        finally:
            await producer.stop()


async def publish_once(pool: Pool, producer: AIOKafkaProducer) -> int:
    """Publish the oldest waiting messages; return how many there were.

    They are marked as published when the broker has acknowledged all of them; after a failure in
    between they are sent again, with the same ids.
    """
    async with pool.connection() as connection, connection.transaction():
        messages = await take_unpublished(connection, _AT_ONCE)
        if not messages:
            return 0
        sent = [
            await producer.send(
                message.topic,
                orjson.dumps(message.payload),
                key=message.key.encode(),
                headers=[("event-id", str(message.message_id).encode())],
            )
            for message in messages
        ]
        await asyncio.gather(*sent)
        await mark_published(connection, [message.message_id for message in messages])
    for message in messages:
        _PUBLISHED.labels(message.topic).inc()
    return len(messages)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
