"""Creating our topics: as asked, as often as one likes, by several processes at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import astuple
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.kafka.client import Topics, client_options, create_topics
from infra.settings import KafkaSettings

SETTLING_LIMIT_S = 10.0


def ours(settings: KafkaSettings) -> set[str]:
    """Return the names that an installation with these settings uses."""
    topics = Topics.named(settings.topic_prefix)
    return set(astuple(topics))


async def visible(settings: KafkaSettings) -> dict[str, int]:
    """Return the partition count of each topic of the broker that bears our prefix."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        names = [n for n in await admin.list_topics() if n.startswith(settings.topic_prefix)]
        topics: list[dict[str, Any]] = await admin.describe_topics(names) if names else []
    finally:
        await admin.close()
    return {topic["topic"]: len(topic["partitions"]) for topic in topics}


def described(settings: KafkaSettings) -> dict[str, int]:
    """Return what `visible` does once all our topics are there.

    The controller confirms a topic a moment before the broker shows it.
    """
    deadline = time.monotonic() + SETTLING_LIMIT_S
    while True:
        topics = asyncio.run(visible(settings))
        if ours(settings) <= topics.keys() and all(topics.values()):
            return topics
        assert time.monotonic() < deadline, f"after {SETTLING_LIMIT_S:g} s there is only {topics}"
        time.sleep(0.05)


def test_topics_have_the_partitions_that_were_asked_for(kafka: KafkaSettings) -> None:
    settings = kafka.model_copy(update={"partitions": 3})
    assert asyncio.run(visible(settings)) == {}
    asyncio.run(create_topics(settings))
    topics = described(settings)
    assert set(topics) == ours(settings)
    assert topics.pop(Topics.named(settings.topic_prefix).fixes) == 3
    assert set(topics.values()) == {1}


def test_creating_topics_again_changes_nothing(kafka: KafkaSettings) -> None:
    asyncio.run(create_topics(kafka))
    before = described(kafka)
    asyncio.run(create_topics(kafka.model_copy(update={"partitions": kafka.partitions + 5})))
    assert described(kafka) == before


def test_missing_topics_are_added_beside_existing_ones(kafka: KafkaSettings) -> None:
    async def scenario() -> None:
        admin = AIOKafkaAdminClient(**client_options(kafka))
        await admin.start()
        try:
            await admin.create_topics([NewTopic(Topics.named(kafka.topic_prefix).trips, 2, 1)])
        finally:
            await admin.close()
        await create_topics(kafka)

    asyncio.run(scenario())
    topics = described(kafka)
    assert set(topics) == ours(kafka)
    assert topics[Topics.named(kafka.topic_prefix).trips] == 2


def test_processes_that_create_topics_at_once_all_succeed(kafka: KafkaSettings) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(create_topics(kafka) for _ in range(4)))

    asyncio.run(scenario())
    topics = described(kafka)
    assert set(topics) == ours(kafka)
    assert topics[Topics.named(kafka.topic_prefix).fixes] == kafka.partitions
