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

from infra.database.outbox import Message, mark_published, take_unpublished
from infra.database.pool import Pool
from infra.kafka import producer_options
from infra.settings import KafkaSettings

_AT_ONCE: Final = 500
_POLL_S: Final = 0.2
_RETRY_S: Final = 2.0
_ACK_LIMIT_S: Final = 10.0
"""An idempotent producer tries for ever, and our transaction is open meanwhile."""
STOP_LIMIT_S: Final = 3.0
"""Who is told to stop waits so long for the broker, first to publish and then to disconnect."""
_LONGEST_BYTES: Final = 1_000_000
"""Keeps a message below the broker's usual limit of 1 MiB."""
_PUBLISHED: Final = Counter(
    "fleetpulse_outbox_published_messages", "Messages published from the outbox", ["topic"]
)
_log: Final = structlog.get_logger(__name__)


async def relay(pool: Pool, settings: KafkaSettings, stop: asyncio.Event) -> None:
    """Publish until `stop` is set. While broker or database is away, messages wait."""
    working = asyncio.create_task(_work(pool, settings, stop))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        # What is under way may end. What hangs is rolled back, and sent again by another relay.
        await asyncio.wait((working,), timeout=STOP_LIMIT_S)
    finally:
        stopping.cancel()
        working.cancel()
    await asyncio.wait((working,))
    if not working.cancelled():
        working.result()


async def _work(pool: Pool, settings: KafkaSettings, stop: asyncio.Event) -> None:
    while not stop.is_set():
        producer = AIOKafkaProducer(**producer_options(settings))
        try:
            await producer.start()
            await _publish(pool, producer, stop)
        except (KafkaError, OSError) as away:
            await _wait_for(away, stop)
        finally:
            try:
                async with asyncio.timeout(STOP_LIMIT_S):
                    await producer.stop()
            except TimeoutError:
                _log.warning("producer given up with what it held", limit_s=STOP_LIMIT_S)


async def _publish(pool: Pool, producer: AIOKafkaProducer, stop: asyncio.Event) -> None:
    """Publish until `stop` is set. Raises a `KafkaError` that this producer cannot get over."""
    while not stop.is_set():
        try:
            if not await publish_once(pool, producer):
                await _pause(stop, _POLL_S)
        except (KafkaError, psycopg.Error, PoolTimeout, OSError) as away:
            if isinstance(away, KafkaError) and not away.retriable:
                raise
            await _wait_for(away, stop)


async def _wait_for(away: Exception, stop: asyncio.Event) -> None:
    _log.warning("outbox waits", reason=repr(away), retry_s=_RETRY_S)
    await _pause(stop, _RETRY_S)


async def publish_once(pool: Pool, producer: AIOKafkaProducer) -> int:
    """Publish the oldest waiting messages; return how many there were.

    They are marked as published when the broker has acknowledged all of them; after a failure in
    between they are sent again, with the same ids. Raises `TimeoutError` when the broker takes
    longer than ten seconds.
    """
    async with pool.connection() as connection, connection.transaction():
        messages = await take_unpublished(connection, _AT_ONCE)
        if not messages:
            return 0
        async with asyncio.timeout(_ACK_LIMIT_S):
            sent = [
                await producer.send(
                    message.topic,
                    _value(message),
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


def _value(message: Message) -> bytes:
    """Return what is sent: the payload, without the message that a long dead letter repeats."""
    value = orjson.dumps(message.payload)
    if len(value) <= _LONGEST_BYTES or "message_value" not in message.payload:
        return value
    detail = f"{message.payload['detail']} (the message is too long to repeat; table dead_letter)"
    return orjson.dumps({**message.payload, "detail": detail, "message_value": ""})


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
