"""Sending dead letters through the stream again: marked when Kafka has them, never before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from infra.database.connection.pool import make_pool
from infra.database.stream import dead_letters as store
from infra.database.stream.dead_letters import Filter, StoredLetter
from infra.kafka.client import Topics, producer_options
from infra.settings import Settings

_PAGE_SIZE: Final = 200
_MAX_MESSAGE_BYTES: Final = 16_000_000
"""Of our producer: what a broker took once it may take again, and it says so where it does not."""


@dataclass(slots=True)
class Outcome:
    """How many letters are in the stream again, and why others are not."""

    replayed: int = 0
    refused: dict[UUID, KafkaError] = field(default_factory=dict)


async def replay_one(settings: Settings, letter_id: UUID) -> None:
    """Replay one letter, whether or not it is open.

    Raises `KafkaError` when the broker is away or refuses it; it then stays what it was.
    """
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    async with (
        make_pool(settings, max_size=1) as pool,
        _producer(settings) as producer,
        pool.connection() as connection,
        connection.transaction(),
    ):
        letter = await store.find_letter(connection, letter_id.hex)
        await producer.send_and_wait(topic, letter.message_value, key=letter.message_key)
        await store.mark_replayed(connection, [letter_id])


async def replay_all(settings: Settings, wanted: Filter, until: datetime) -> Outcome:
    """Replay the open letters that were written until an instant, the oldest first.

    Letters whose fault is still there come back at once: those are for another time. A letter that
    the broker refuses stays open, and holds up no other. Raises `KafkaError` when the broker is
    away.
    """
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    outcome = Outcome()
    last: StoredLetter | None = None
    async with make_pool(settings, max_size=1) as pool, _producer(settings) as producer:
        while True:
            async with pool.connection() as connection, connection.transaction():
                letters = await store.take_open(
                    connection, wanted, after=last, until=until, limit=_PAGE_SIZE
                )
                if not letters:
                    return outcome
                last = letters[-1]
                refused = await _send(producer, topic, letters)
                sent = [letter.letter_id for letter in letters if letter.letter_id not in refused]
                await store.mark_replayed(connection, sent)
            outcome.replayed += len(sent)
            outcome.refused |= refused


def _producer(settings: Settings) -> AIOKafkaProducer:
    options = producer_options(settings.kafka)
    # A refused message would leave a gap in the numbers of an idempotent producer, and the broker
    # would refuse what follows. A fix that arrives twice counts once all the same.
    options["enable_idempotence"] = False
    return AIOKafkaProducer(**options, max_request_size=_MAX_MESSAGE_BYTES)


async def _send(
    producer: AIOKafkaProducer, topic: str, letters: Sequence[StoredLetter]
) -> dict[UUID, KafkaError]:
    """Send letters and wait until Kafka has them; return why it refuses some for good."""
    waiting: dict[UUID, asyncio.Future[object]] = {}
    refused: dict[UUID, KafkaError] = {}
    for letter in letters:
        try:
            waiting[letter.letter_id] = await producer.send(
                topic, letter.message_value, key=letter.message_key
            )
        except MessageSizeTooLargeError as error:
            refused[letter.letter_id] = error
    answers = await asyncio.gather(*waiting.values(), return_exceptions=True)
    for letter_id, answer in zip(waiting, answers, strict=True):
        if isinstance(answer, KafkaError) and not answer.retriable:
            refused[letter_id] = answer
        elif isinstance(answer, BaseException):
            raise answer
    return refused
