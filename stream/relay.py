"""The relay: publishes messages of the outbox, at least once.

A message keeps its id, in the payload and in the header `event-id`, however often it is sent, so
that a listener recognises what it has seen. What Kafka does not take is set apart with its error,
out of the way of the others, and sent again by itself: at once, and then less and less often.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Final
from uuid import UUID

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from prometheus_client import Counter, Gauge

from infra.database.connection.pool import Pool
from infra.database.stream.outbox import (
    OutboxMessage,
    count_set_apart,
    encode,
    mark_published,
    set_apart,
    take_set_apart,
    take_unpublished,
)
from infra.kafka.client import producer_options
from infra.settings import KafkaSettings
from stream.process.background import count_fault, pause
from stream.process.outages import Fault, judge

_PAGE_SIZE: Final = 500
_POLL_S: Final = 0.2
_RETRY_S: Final = 2.0
_ACK_LIMIT_S: Final = 10.0
"""An idempotent producer tries for ever, and our transaction is open meanwhile."""
_TOPIC_LIMIT_S: Final = 2.0
"""So long a producer looks for a topic that may not be there."""
STOP_LIMIT_S: Final = 3.0
"""Who is told to stop waits so long for the broker, first to publish and then to disconnect."""
_REFUSED_FIRST_S: Final = 10.0
_REFUSED_LONGEST_S: Final = 3600.0
_PUBLISHED: Final = Counter(
    "fleetpulse_outbox_published_messages", "Messages published from the outbox", ["topic"]
)
REFUSED: Final = Counter(
    "fleetpulse_outbox_refused", "Times that Kafka refused a message sent by itself", ["topic"]
)
SET_APART: Final = Gauge(
    "fleetpulse_outbox_set_apart_messages", "Messages in the outbox that Kafka has refused"
)
_log: Final = structlog.get_logger(__name__)


async def relay(pool: Pool, settings: KafkaSettings, stop: asyncio.Event) -> None:
    """Publish until `stop` is set. While broker or database is away, messages wait."""
    working = [
        asyncio.create_task(_work(pool, settings, stop)),
        asyncio.create_task(_again(pool, settings, stop)),
    ]
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((*working, stopping), return_when=asyncio.FIRST_COMPLETED)
        # What is under way may end. What hangs is rolled back, and sent again by another relay.
        await asyncio.wait(working, timeout=STOP_LIMIT_S)
    finally:
        stopping.cancel()
        for task in working:
            task.cancel()
    await asyncio.wait(working)
    for task in working:
        if not task.cancelled():
            task.result()


async def _work(pool: Pool, settings: KafkaSettings, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            async with _producer(settings) as producer:
                await _publish(pool, producer, stop)
        except Exception as error:  # noqa: BLE001 - counted if it is no outage, and tried again
            await _wait_for(error, stop)


async def _publish(pool: Pool, producer: AIOKafkaProducer, stop: asyncio.Event) -> None:
    """Publish until `stop` is set. Raises a `KafkaError` that this producer cannot get over."""
    patient = True
    while not stop.is_set():
        try:
            count = await publish_once(pool, producer, patient=patient)
            patient = True
            if not count:
                await pause(stop, _POLL_S)
        except TimeoutError as away:
            patient = False
            await _wait_for(away, stop)
        except KafkaError as away:
            if not away.retriable:
                raise
            await _wait_for(away, stop)
        except Exception as error:  # noqa: BLE001 - counted if it is no outage, and tried again
            await _wait_for(error, stop)


async def _again(pool: Pool, settings: KafkaSettings, stop: asyncio.Event) -> None:
    """Send what was set apart, each by itself, until `stop` is set."""
    while not stop.is_set():
        try:
            while not stop.is_set() and await publish_set_apart(pool, settings):
                pass
            async with pool.connection() as connection:
                SET_APART.set(await count_set_apart(connection))
        except Exception as error:  # noqa: BLE001 - counted if it is no outage, and tried again
            await _wait_for(error, stop)
        else:
            await pause(stop, _RETRY_S)


async def _wait_for(error: Exception, stop: asyncio.Event) -> None:
    if judge(error) is Fault.WORK:
        count_fault("relay", error)
    else:
        _log.warning("outbox waits", reason=repr(error), retry_s=_RETRY_S)
    await pause(stop, _RETRY_S)


@asynccontextmanager
async def _producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(**producer_options(settings))
    try:
        await producer.start()
        yield producer
    finally:
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await producer.stop()
        except TimeoutError:
            _log.warning("producer given up with what it held", limit_s=STOP_LIMIT_S)


async def publish_once(pool: Pool, producer: AIOKafkaProducer, *, patient: bool = True) -> int:
    """Publish the oldest waiting messages; return how many there were.

    They are marked as published when the broker has acknowledged them; after a failure in between
    they are sent again, with the same ids. Those that it does not take within ten seconds while it
    answers otherwise are set apart. Raises what they failed with where it does not answer, and
    `TimeoutError` where it was late with all of them, if `patient`: it may have been away just now.
    """
    async with pool.connection() as connection, connection.transaction():
        messages = await take_unpublished(connection, _PAGE_SIZE)
        if not messages:
            return 0
        failures = await _send(producer, messages)
        late = len(failures) == len(messages) and all(
            isinstance(error, TimeoutError) for error in failures.values()
        )
        if failures and ((late and patient) or not await _answers(producer)):
            raise next(iter(failures.values()))
        published = [message for message in messages if message.message_id not in failures]
        await mark_published(connection, [message.message_id for message in published])
        for message_id, error in failures.items():
            await set_apart(connection, message_id, _words(error), again_in_s=0.0)
    for message in published:
        _PUBLISHED.labels(message.topic).inc()
    return len(messages)


async def publish_set_apart(pool: Pool, settings: KafkaSettings) -> bool:
    """Send one message that was set apart, by itself; return whether there was one to send.

    With a producer of its own: an idempotent one may not get over what the broker has refused.
    Raises what it failed with where the broker does not answer at all.
    """
    async with pool.connection() as connection, connection.transaction():
        message = await take_set_apart(connection)
        if message is None:
            return False
        async with _producer(settings) as producer:
            failures = await _send(producer, [message])
            if failures and not await _answers(producer):
                raise failures[message.message_id]
        if not failures:
            await mark_published(connection, [message.message_id])
        else:
            error = failures[message.message_id]
            again_in_s = min(_REFUSED_LONGEST_S, _REFUSED_FIRST_S * 2.0**message.attempts)
            await set_apart(connection, message.message_id, _words(error), again_in_s=again_in_s)
    if not failures:
        _PUBLISHED.labels(message.topic).inc()
        return True
    REFUSED.labels(message.topic).inc()
    _log.error(
        "message refused by Kafka",
        topic=message.topic,
        message_id=str(message.message_id),
        reason=_words(failures[message.message_id]),
        retry_s=again_in_s,
    )
    return True


async def _send(
    producer: AIOKafkaProducer, messages: Sequence[OutboxMessage]
) -> Mapping[UUID, Exception]:
    """Send messages, topic beside topic; return which were not acknowledged, and why."""
    portion = _Portion(producer)
    sending = asyncio.create_task(portion.send(messages))
    try:
        await asyncio.wait((sending,), timeout=_ACK_LIMIT_S)
    finally:
        sending.cancel()
        await asyncio.wait((sending,))
    return portion.failures_of(messages)


class _Portion:
    """Messages on their way, each to be acknowledged by itself."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._failures: dict[UUID, Exception] = {}
        self._acks: dict[UUID, asyncio.Future[object]] = {}

    async def send(self, messages: Sequence[OutboxMessage]) -> None:
        """Send all, those of a topic in their order, and wait for what the broker says."""
        by_topic = groupby(sorted(messages, key=_topic_of), _topic_of)  # a stable sort
        topics = [(topic, list(part)) for topic, part in by_topic]
        await asyncio.gather(*(self._send_to(topic, part) for topic, part in topics))
        if self._acks:
            await asyncio.wait(self._acks.values())

    async def _send_to(self, topic: str, messages: Sequence[OutboxMessage]) -> None:
        try:
            async with asyncio.timeout(_TOPIC_LIMIT_S):
                await self._producer.partitions_for(topic)
        except TimeoutError:
            absent = TimeoutError(f"topic {topic} was not found within {_TOPIC_LIMIT_S:g} s")
            self._failures.update((message.message_id, absent) for message in messages)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, this topic takes nothing
            self._failures.update((message.message_id, error) for message in messages)
            return
        for message in messages:
            try:
                self._acks[message.message_id] = await self._producer.send(
                    topic,
                    encode(message.payload),
                    key=message.key.encode(),
                    headers=[("event-id", str(message.message_id).encode())],
                )
            except Exception as error:  # noqa: BLE001 - whatever it is, the next one is sent
                self._failures[message.message_id] = error

    def failures_of(self, messages: Sequence[OutboxMessage]) -> dict[UUID, Exception]:
        """Return which are not acknowledged by now, and why."""
        failures = dict(self._failures)
        for message in messages:
            ack = self._acks.get(message.message_id)
            if ack is None or not ack.done() or ack.cancelled():
                late = TimeoutError(f"not acknowledged within {_ACK_LIMIT_S:g} s")
                failures.setdefault(message.message_id, late)
            elif (error := ack.exception()) is not None:
                failures[message.message_id] = RuntimeError(repr(error))
                if isinstance(error, Exception):
                    failures[message.message_id] = error
        return failures


def _topic_of(message: OutboxMessage) -> str:
    return message.topic


async def _answers(producer: AIOKafkaProducer) -> bool:
    """Return whether the broker answers at all."""
    try:
        async with asyncio.timeout(_TOPIC_LIMIT_S):
            await producer.client.fetch_all_metadata()
    except (KafkaError, OSError):
        return False
    return True


def _words(error: Exception) -> str:
    """Return an error in words that a text of the database may hold."""
    return f"{type(error).__name__}: {error}"[:500].replace("\0", "\\0")
