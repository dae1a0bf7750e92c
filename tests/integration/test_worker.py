"""The worker on real brokers and a real database: killed, stopped, cut off, and fed nonsense."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from infra.database.connection.stalled_sessions import APPLICATION
from infra.database.stream.progress import Partition
from infra.embedded.reaper import Reaper
from infra.kafka.client import Topics, Watermarks, client_options, create_topics
from infra.settings import Settings
from schemas.events.fix import Fix
from stream.worker.write.offsets import OffsetGapError
from stream.worker.write.writer import Writer
from tests.apache_kafka.broker import ApacheKafka
from tests.processes import Service, wait_for, with_broker
from tests.stream_harness import (
    Log,
    derived,
    empty,
    enter_municipality,
    fetch,
    message,
    open_pool,
)

pytestmark = pytest.mark.long

_START = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)
Messages = list[tuple[int, bytes]]


def shift(vehicle: int, *, fixes: int) -> list[Fix]:
    """Return a vehicle's shift: drives and stops in turn, an engine left running now and then."""
    rng = random.Random(vehicle)
    at, lat, lon = _START, 56.3, 10.4
    report = []
    for index in range(fixes):
        driving = index % 20 >= 8
        at += timedelta(seconds=20 if driving else 45)
        if driving:
            lat += rng.choice((-0.002, 0.002))
        report.append(
            Fix(
                vehicle_id=f"syddjurs/v{vehicle}",
                recorded_at=at,
                lat=lat,
                lon=lon,
                speed_mps=11.0 if driving else 0.0,
                ignition=driving or index % 40 < 20,
            )
        )
    return report


def shifts(*, vehicles: int, fixes: int, partitions: int) -> Messages:
    """Return messages of a fleet's shifts, by partition, as a gateway would send them."""
    messages: Messages = []
    for start in range(0, fixes, 10):
        for vehicle in range(vehicles):
            portion = shift(vehicle, fixes=fixes)[start : start + 10]
            messages.append((vehicle % partitions, message(portion)))
    return messages


def produce(settings: Settings, messages: Messages) -> None:
    """Send messages to the fix topic."""

    async def main() -> None:
        producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
        await producer.start()
        topic = Topics.named(settings.kafka.topic_prefix).fixes
        for partition, value in messages:
            await producer.send(topic, value, partition=partition)
        await producer.flush()
        await producer.stop()

    asyncio.run(main())


def count(settings: Settings, query: str) -> int:
    """Return a number from the database."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def processed(settings: Settings) -> int:
    """Return how many messages have been processed."""
    return count(settings, "SELECT coalesce(sum(next_offset), 0) FROM stream_progress")


def wait_for_all(settings: Settings, messages: Messages, who: Service) -> None:
    """Wait until all messages have been processed."""
    wait_for(
        lambda: processed(settings) == len(messages),
        limit_s=60,
        what="all are processed",
        who=(who,),
    )


def rows_and_undisturbed_rows(
    settings: Settings, messages: Messages
) -> tuple[list[object], list[object]]:
    """Return the rows that are there, and those of one writer that nothing disturbs."""
    topics = Topics.named(settings.kafka.topic_prefix)

    async def main() -> tuple[list[object], list[object]]:
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            rows = await derived(pool)
            await empty(pool)
            log = Log(topics.fixes)
            for partition, value in messages:
                log.append(value, partition=partition)
            writer = Writer(pool, topics)
            await writer.write(log.since(await log.assign(writer)))
            return list(rows), list(await derived(pool))

    return asyncio.run(main())


@pytest.fixture
def installation(settings: Settings) -> Settings:
    """Return an installation with its topics and one municipality."""

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    return settings.model_copy(update={"worker_batch_messages": 3})


@contextmanager
def worker(settings: Settings, reaper: Reaper, directory: Path, **extra: str) -> Iterator[Service]:
    """Run a worker process."""
    service = Service("worker", settings, reaper, directory, **extra)
    try:
        yield service
    finally:
        # A stopped process does not end when it is asked to.
        if service.child.process.poll() is None:
            os.kill(service.pid, signal.SIGCONT)
        service.stop()


def test_a_killed_worker_starts_where_the_database_says(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    messages = shifts(vehicles=8, fixes=200, partitions=installation.kafka.partitions)
    produce(installation, messages)
    for share in (0.1, 0.4, 0.7):
        with worker(installation, reaper, tmp_path) as service:
            wait_for(
                lambda share=share: processed(installation) > share * len(messages),  # type: ignore[misc]
                limit_s=60,
                what=f"{share:.0%} of the messages processed",
                who=(service,),
            )
            service.kill()
    assert processed(installation) < len(messages), "nothing was left to do after the kills"
    with worker(installation, reaper, tmp_path) as service:
        wait_for_all(installation, messages, service)
    entries, undisturbed = rows_and_undisturbed_rows(installation, messages)
    assert entries == undisturbed


def test_a_zombie_and_its_successor_write_each_record_once(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    messages = shifts(vehicles=8, fixes=200, partitions=installation.kafka.partitions)
    produce(installation, messages)
    with worker(installation, reaper, tmp_path) as zombie:
        wait_for(lambda: processed(installation) > 5, limit_s=60, what="the first has begun")
        os.kill(zombie.pid, signal.SIGSTOP)
        at_stop = processed(installation)
        assert at_stop < len(messages)
        with worker(installation, reaper, tmp_path) as successor:
            wait_for_all(installation, messages, successor)
            os.kill(zombie.pid, signal.SIGCONT)
            more = shifts(vehicles=8, fixes=240, partitions=installation.kafka.partitions)
            produce(installation, more[len(messages) :])
            wait_for(
                lambda: processed(installation) == len(more),
                limit_s=60,
                what="both go on",
                who=(zombie, successor),
            )
            assert zombie.child.process.poll() is None, zombie.child.tail()
    entries, undisturbed = rows_and_undisturbed_rows(installation, more)
    assert entries == undisturbed


def test_a_worker_that_stopped_within_a_copy_holds_its_partitions_no_longer_than_a_session_lasts(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    """No timeout of PostgreSQL reaches a session whose client owes it the rows of a COPY."""
    messages = shifts(vehicles=8, fixes=40, partitions=installation.kafka.partitions)
    produce(installation, messages)
    url = installation.database_url.get_secret_value()
    topic = Topics.named(installation.kafka.topic_prefix).fixes
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO stream_progress (topic, partition, next_offset) "
            "SELECT %s, generate_series(0, %s), 0",
            [topic, installation.kafka.partitions - 1],
        )
    with closing(psycopg.connect(url, application_name=APPLICATION)) as stopped:
        stopped.execute("SELECT FROM stream_progress FOR UPDATE")
        stopped.pgconn.send_query(b"COPY trip (vehicle_id) FROM STDIN")
        with worker(installation, reaper, tmp_path) as successor:
            wait_for_all(installation, messages, successor)
            assert "hung session ended" in successor.child.log.read_text()
    entries, undisturbed = rows_and_undisturbed_rows(installation, messages)
    assert entries == undisturbed


def test_without_its_database_the_worker_waits(
    installation: Settings, reaper: Reaper, tmp_path: Path, server_url: str
) -> None:
    messages = shifts(vehicles=2, fixes=40, partitions=installation.kafka.partitions)
    database = str(conninfo_to_dict(installation.database_url.get_secret_value())["dbname"])
    with (
        psycopg.connect(server_url, autocommit=True) as server,
        worker(installation, reaper, tmp_path) as service,
    ):
        service.wait_ready()
        _let_in(server, database, allowed=False)
        produce(installation, messages)
        wait_for(lambda: not service.is_ready(), limit_s=30, what="the worker says not ready")
        answer = httpx.get(f"{service.url}/readyz")
        assert "database" in answer.json()["reason"]
        _let_in(server, database, allowed=True)
        wait_for_all(installation, messages, service)
        wait_for(service.is_ready, limit_s=10, what="ready again")
    entries, undisturbed = rows_and_undisturbed_rows(installation, messages)
    assert entries == undisturbed


def _let_in(
    server: psycopg.Connection[tuple[object, ...]], database: str, *, allowed: bool
) -> None:
    server.execute(
        sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
            sql.Identifier(database), sql.Literal(allowed)
        )
    )
    if not allowed:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
        )


def test_nonsense_becomes_dead_letters_and_stops_nothing(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    good = shift(1, fixes=20)
    bare = good[-1].model_copy(update={"recorded_at": good[-1].recorded_at + timedelta(seconds=9)})
    messages: Messages = [
        (0, b"\x00\xffnot json"),
        (0, b"[1, 2]"),
        (0, message(good)),
        (0, b'{"municipality_id": "syddjurs"}'),
        (0, bare.model_dump_json(exclude_none=True).encode()),
    ]
    produce(installation, messages)
    with worker(installation, reaper, tmp_path) as service:
        wait_for_all(installation, messages, service)
        topic = Topics.named(installation.kafka.topic_prefix).dead_letters
        wait_for(
            lambda: (
                not count(installation, "SELECT count(*) FROM outbox WHERE published_at IS NULL")
            ),
            limit_s=30,
            what="the relay publishes the dead letters",
        )

    async def main() -> None:
        async with open_pool(installation.database_url.get_secret_value()) as pool:
            letters = await fetch(
                pool, "SELECT reason, record_offset FROM dead_letter ORDER BY record_offset"
            )
            assert letters == [
                ("not-json", 0),
                ("not-a-fix", 1),
                ("not-a-fix", 3),
                ("no-envelope", 4),
            ]
            assert await fetch(pool, "SELECT count(*) FROM fix") == [(len(good),)]
            published = await fetch(
                pool,
                "SELECT count(*), bool_and(topic = '" + topic + "') FROM outbox "
                "WHERE payload ->> 'type' = 'dead-letter' AND published_at IS NOT NULL",
            )
            assert published == [(4, True)]

    asyncio.run(main())


def test_a_gap_in_the_log_ends_the_worker_loudly(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    topic = Topics.named(installation.kafka.topic_prefix).fixes
    produce(installation, shifts(vehicles=1, fixes=20, partitions=1))
    with psycopg.connect(installation.database_url.get_secret_value()) as connection:
        connection.execute(
            "INSERT INTO stream_progress (topic, partition, next_offset) VALUES (%s, 0, 999)",
            [topic],
        )
    with worker(installation, reaper, tmp_path) as service:
        wait_for(
            lambda: service.child.process.poll() is not None,
            limit_s=60,
            what="the worker ends",
            who=(service,),
        )
        assert service.child.process.returncode != 0
        assert "999 records of it were processed" in service.child.log.read_text()
    assert count(installation, "SELECT count(*) FROM fix") == 0


@pytest.mark.kafka
def test_marks_of_transactions_are_no_loss(
    database_url: str, apache_kafka: ApacheKafka, reaper: Reaper, tmp_path: Path
) -> None:
    """A vendor's transactional producer leaves offsets without records; so does what it aborts."""
    settings = with_broker(database_url, apache_kafka.bootstrap_servers, idempotence=True)
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    report = shift(1, fixes=30)

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
        producer = AIOKafkaProducer(
            **client_options(settings.kafka),
            transactional_id=topic,
        )
        async with producer:
            for start in range(0, 30, 10):
                async with producer.transaction():
                    await producer.send_and_wait(
                        topic, message(report[start : start + 10]), partition=0
                    )

    asyncio.run(main())
    with worker(settings, reaper, tmp_path) as service:
        wait_for(
            lambda: count(settings, "SELECT count(*) FROM fix") == len(report),
            limit_s=60,
            what="all of it is rows",
            who=(service,),
        )
        assert service.child.process.poll() is None


def test_records_that_retention_took_away_end_the_worker(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            log = Log()
            for start in range(0, 30, 10):
                log.append(message(shift(1, fixes=30)[start : start + 10]))
            writer = Writer(pool, Topics.named("test"))
            await log.assign(writer)
            records = log.records[0]
            with pytest.raises(OffsetGapError, match="offsets set") as caught:
                await writer.write([records[0], records[2]])
            hole = caught.value.gap
            assert hole is not None

            async def deleted(partitions: Sequence[Partition]) -> dict[tuple[str, int], Watermarks]:
                return {partition: Watermarks(2, 3) for partition in partitions}

            async def kept(partitions: Sequence[Partition]) -> dict[tuple[str, int], Watermarks]:
                return {partition: Watermarks(0, 3) for partition in partitions}

            assert not await writer.is_benign_gap(hole, deleted)
            with pytest.raises(OffsetGapError):
                await writer.write([records[0], records[2]])
            assert await writer.is_benign_gap(hole, kept)
            assert await writer.write([records[0], records[2]]) == 2
            assert await fetch(pool, "SELECT next_offset FROM stream_progress") == [(3,)]

    asyncio.run(main())
