"""The embedded broker's group: whatever happens to its members, partitions are assigned."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from pathlib import Path

import psycopg
import pytest

from infra.database.stream.consumer_group import raise_generation, read_topic_state
from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker
from infra.kafka.client import Topics, create_topics
from infra.settings import KafkaSettings, Settings
from tests.integration.test_worker import (
    Messages,
    processed,
    produce,
    rows_and_undisturbed_rows,
    shifts,
)
from tests.processes import Service, wait_for
from tests.stream_harness import enter_municipality, open_pool

pytestmark = pytest.mark.long

_SESSION_S = 6.0
_PARTITIONS = 4


@pytest.fixture
def installation(database_url: str, tansu: EmbeddedBroker) -> Settings:
    """Return an installation on the embedded broker, as the demo sets it up."""
    settings = Settings(
        database_url=database_url,
        kafka=KafkaSettings(
            bootstrap_servers=tansu.bootstrap_servers,
            topic_prefix=f"test-{random.randbytes(6).hex()}",
            idempotence=False,
            session_timeout_s=_SESSION_S,
            rebalance_timeout_s=_SESSION_S,
            fetch_max_wait_ms=50,
        ),
        worker_batch_messages=3,
    )

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    return settings


def wait_for_count(settings: Settings, count: int, who: Service) -> None:
    """Wait until so many messages have been processed: within a minute, whatever happened."""
    wait_for(
        lambda: processed(settings) == count,
        limit_s=60,
        what=f"{count} messages are processed",
        who=[who],
    )


def messages() -> Messages:
    """Return messages for all partitions."""
    return shifts(vehicles=8, fixes=30, partitions=_PARTITIONS)


def test_workers_that_are_killed_many_times_in_a_row_leave_a_group_that_lets_the_next_one_in(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    """Killed while they start, join, wait for others, and work."""
    wanted = messages()
    rng = random.Random(13)
    for _ in range(8):
        with Service("worker", installation, reaper, tmp_path) as victim:
            time.sleep(rng.uniform(1.0, 4.0))
            victim.kill()
    produce(installation, wanted)
    with Service("worker", installation, reaper, tmp_path) as survivor:
        wait_for_count(installation, len(wanted), survivor)
        wait_for(survivor.is_ready, limit_s=30, what="ready", who=[survivor])
    entries, undisturbed = rows_and_undisturbed_rows(installation, wanted)
    assert entries == undisturbed


def test_a_worker_that_was_frozen_past_its_session_works_again(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    wanted = messages()
    half = len(wanted) // 2
    with Service("worker", installation, reaper, tmp_path) as worker:
        produce(installation, wanted[:half])
        wait_for_count(installation, half, worker)
        worker.child.process.send_signal(signal.SIGSTOP)
        try:
            produce(installation, wanted[half:])
            time.sleep(1.5 * _SESSION_S)
        finally:
            worker.child.process.send_signal(signal.SIGCONT)
        wait_for_count(installation, len(wanted), worker)
    entries, undisturbed = rows_and_undisturbed_rows(installation, wanted)
    assert entries == undisturbed


def test_all_workers_follow_to_a_new_group_and_write_each_record_once(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    """The way out of a group that is stuck, taken while two workers are at work."""
    wanted = messages()
    topic = Topics.named(installation.kafka.topic_prefix).fixes

    async def change() -> int:
        async with open_pool(installation.conninfo) as pool:
            async with pool.connection() as connection:
                before = (await read_topic_state(connection, topic)).generation
                # Both ask for it, as two workers that are stuck do: it is changed once.
                for _ in range(2):
                    await raise_generation(connection, topic, before)
            async with pool.connection() as connection:
                return (await read_topic_state(connection, topic)).generation - before

    with (
        Service("worker", installation, reaper, tmp_path) as first,
        Service("worker", installation, reaper, tmp_path) as second,
    ):
        for worker in (first, second):
            worker.wait_ready()
        produce(installation, wanted)
        assert asyncio.run(change()) == 1
        for worker in (first, second):
            wait_for(
                lambda worker=worker: "new consumer group" in worker.child.log.read_text(),  # type: ignore[misc]
                limit_s=30,
                what="it changes its group",
                who=[worker],
            )
        wait_for_count(installation, len(wanted), first)
        for worker in (first, second):
            wait_for(worker.is_ready, limit_s=60, what="ready", who=[first, second])
            assert worker.child.process.poll() is None
    with psycopg.connect(installation.conninfo) as connection:
        assert connection.execute("SELECT generation FROM consumer_group").fetchall() == [(1,)]
    entries, undisturbed = rows_and_undisturbed_rows(installation, wanted)
    assert entries == undisturbed
