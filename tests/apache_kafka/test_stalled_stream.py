"""A worker whose stream falls silent gets itself out of it, whatever the cause.

The four cases are those that are reported of Faust in production: faust-streaming/faust#523, #602,
#629 and robinhood/faust#458.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from infra.embedded.process import Child
from infra.embedded.reaper import Reaper
from infra.kafka.client import Topics, create_topics
from infra.settings import KafkaSettings, Settings
from tests.apache_kafka.broker import ApacheKafka, apache_kafka_available
from tests.integration.test_worker import (
    Messages,
    processed,
    produce,
    rows_and_undisturbed_rows,
    shifts,
)
from tests.processes import Service, command, environment, wait_for
from tests.stream_harness import enter_municipality, open_pool

pytestmark = [pytest.mark.kafka, pytest.mark.long]

_SESSION_S = 6.0
_OUT_OF_IT_S = 60.0
_PARTITIONS = 4


@pytest.fixture
def broker() -> Iterator[ApacheKafka]:
    """Yield a broker that the test may freeze, kill and wipe."""
    if (reason := apache_kafka_available()) is not None:
        pytest.skip(reason)
    with ApacheKafka() as running:
        yield running


@pytest.fixture
def installation(database_url: str, broker: ApacheKafka) -> Settings:
    """Return an installation on that broker, with short sessions."""
    settings = Settings(
        database_url=SecretStr(database_url),
        kafka=KafkaSettings(
            bootstrap_servers=broker.bootstrap_servers,
            topic_prefix=f"test-{uuid.uuid4().hex[:12]}",
            session_timeout_s=_SESSION_S,
            rebalance_timeout_s=_SESSION_S,
            fetch_max_wait_ms=50,
            partitions=_PARTITIONS,
        ),
        worker_batch_messages=3,
    )

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    return settings


def messages_of(fixes: int) -> Messages:
    """Return messages of eight vehicles with so many fixes each; a longer list begins the same."""
    return shifts(vehicles=8, fixes=fixes, partitions=_PARTITIONS)


def wait_for_count(settings: Settings, count: int, who: list[Service]) -> None:
    """Wait until so many messages have been processed, no more and no less."""
    wait_for(
        lambda: processed(settings) == count,
        limit_s=_OUT_OF_IT_S,
        what=f"{count} messages are processed",
        who=who,
    )


def assert_rows_are_undisturbed(settings: Settings, messages: Messages) -> None:
    """Compare the rows with those of one writer that nothing disturbs."""
    stored, undisturbed = rows_and_undisturbed_rows(settings, messages)
    assert stored == undisturbed


def test_a_broker_that_was_away_for_longer_than_a_session_is_read_again(
    installation: Settings, broker: ApacheKafka, reaper: Reaper, tmp_path: Path
) -> None:
    """Frozen first, then killed and started again."""
    messages = messages_of(30)
    third = len(messages) // 3
    with Service("worker", installation, reaper, tmp_path) as worker:
        produce(installation, messages[:third])
        wait_for_count(installation, third, [worker])
        os.kill(broker.pid, signal.SIGSTOP)
        wait_for(lambda: not worker.is_ready(), limit_s=30, what="the worker says not ready")
        time.sleep(_SESSION_S)
        os.kill(broker.pid, signal.SIGCONT)
        produce(installation, messages[third : 2 * third])
        wait_for_count(installation, 2 * third, [worker])
        broker.kill()
        wait_for(lambda: not worker.is_ready(), limit_s=30, what="the worker says not ready")
        broker.start_again()
        produce(installation, messages[2 * third :])
        wait_for_count(installation, len(messages), [worker])
        wait_for(worker.is_ready, limit_s=30, what="ready again", who=[worker])
        assert worker.child.process.poll() is None, "the same process all the time"
    assert_rows_are_undisturbed(installation, messages)


def test_workers_that_join_and_leave_again_and_again_hold_nothing_up(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    messages = messages_of(60)
    portion = len(messages) // 4
    with Service("worker", installation, reaper, tmp_path) as worker:
        for number in range(3):
            produce(installation, messages[number * portion : (number + 1) * portion])
            with Service("worker", installation, reaper, tmp_path) as other:
                other.wait_ready()
                if number == 1:
                    other.kill()
        produce(installation, messages[3 * portion :])
        wait_for_count(installation, len(messages), [worker])
    assert_rows_are_undisturbed(installation, messages)


def test_a_partition_for_which_no_fetch_is_sent_is_fetched_again(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    messages = messages_of(20)
    half = len(messages) // 2
    worker = Child(
        "deaf-worker",
        [sys.executable, "-m", "tests.deaf_worker"],
        reaper=reaper,
        directory=tmp_path,
        env=environment(installation, PYTHONPATH=str(Path(__file__).parents[2])),
    )
    with ExitStack() as stack:
        stack.callback(worker.stop)
        produce(installation, messages[:half])
        wait_for_count(installation, half, [])
        worker.process.send_signal(signal.SIGUSR1)
        time.sleep(2)
        produce(installation, messages[half:])
        time.sleep(5)
        assert processed(installation) == half, "it was not deaf: the test shows nothing"
        wait_for_count(installation, len(messages), [])
        assert "step=rebuild" in worker.log.read_text()
        assert worker.process.poll() is None
    assert_rows_are_undisturbed(installation, messages)


@pytest.mark.parametrize("same_id", [False, True], ids=["other-id", "same-id"])
def test_a_cluster_that_comes_back_empty_ends_the_worker_until_somebody_decides(
    installation: Settings,
    broker: ApacheKafka,
    reaper: Reaper,
    tmp_path: Path,
    *,
    same_id: bool,
) -> None:
    """What the new cluster holds at low offsets must not pass for what was processed before."""
    messages = messages_of(20)[:12]
    half = 8
    topic = Topics.named(installation.kafka.topic_prefix).fixes
    with Service("worker", installation, reaper, tmp_path) as worker:
        produce(installation, messages[:half])
        wait_for_count(installation, half, [worker])
        wait_for(worker.is_ready, limit_s=30, what="it knows the cluster", who=[worker])
        broker.kill()
        broker.wipe(same_id=same_id)
        broker.start_again()
        asyncio.run(create_topics(installation.kafka))
        produce(installation, messages[half:])
        wait_for(
            lambda: worker.child.process.poll() is not None,
            limit_s=_OUT_OF_IT_S,
            what="the worker ends",
            who=[worker],
        )
        assert worker.child.process.returncode == 1
        assert f"fleetpulse offsets reset {topic}" in worker.child.log.read_text()
        assert processed(installation) == half
    done = command("offsets", "reset", topic, **environment(installation))
    assert done.returncode == 0, done.stderr
    with Service("worker", installation, reaper, tmp_path) as worker:
        wait_for_count(installation, len(messages) - half, [worker])
    assert_rows_are_undisturbed(installation, messages)


def test_a_group_that_never_lets_the_worker_in_is_left_for_a_new_one(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    """Here because a stranger sits in it who speaks of no assignment that we know."""
    messages = messages_of(10)
    stranger = (
        "import asyncio, sys, aiokafka\n"
        "async def main():\n"
        "    consumer = aiokafka.AIOKafkaConsumer(sys.argv[1], bootstrap_servers=sys.argv[2],\n"
        "        group_id=sys.argv[3], session_timeout_ms=6000,\n"
        "        partition_assignment_strategy=[aiokafka.coordinator.assignors.range."
        "RangePartitionAssignor])\n"
        "    await consumer.start()\n"
        "    while not consumer.assignment(): await asyncio.sleep(0.1)\n"
        "    print('sits in the group', flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "import aiokafka.coordinator.assignors.range\n"
        "asyncio.run(main())\n"
    )
    topic = Topics.named(installation.kafka.topic_prefix).fixes
    group = f"{installation.kafka.topic_prefix}-worker"
    occupant = Child(
        "stranger",
        [sys.executable, "-c", stranger, topic, installation.kafka.bootstrap_servers, group],
        reaper=reaper,
        directory=tmp_path,
        env=environment(installation),
    )
    with ExitStack() as stack:
        stack.callback(occupant.stop)
        occupant.wait_until(lambda: "sits in" in occupant.log.read_text(), limit_s=30)
        produce(installation, messages)
        worker = stack.enter_context(Service("worker", installation, reaper, tmp_path))
        wait_for_count(installation, len(messages), [worker])
        assert "step=new-group" in worker.child.log.read_text()
        assert worker.child.process.poll() is None
    assert_rows_are_undisturbed(installation, messages)
