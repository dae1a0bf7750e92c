"""What the installation waits for: told by the planner that leads, from database and broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from infra.database.operations.backlog import OTHER_VENDORS
from infra.embedded.reaper import Reaper
from infra.kafka.client import Topics, client_options, create_topics, producer_options
from infra.kafka.lag import read_lag
from infra.settings import Settings
from schemas.events.dead_letters import DeadLetterReason
from stream.planner.installation_metrics import InstallationMetrics
from tests.apache_kafka.broker import ApacheKafka
from tests.processes import Service, command, environment, wait_for, with_broker
from tests.stream_harness import open_pool

Samples = Mapping[tuple[str, tuple[str, ...]], float]
_SECOND: Final = 1.0


def samples(metrics: InstallationMetrics) -> Samples:
    """Return every sample of a scrape, by name and values of its labels in order of their names."""
    registry = CollectorRegistry()
    registry.register(metrics)
    return {
        (sample.name, tuple(dict(sorted(sample.labels.items())).values())): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def topic_of(settings: Settings) -> str:
    return Topics.named(settings.kafka.topic_prefix).fixes


async def produce(settings: Settings, partition: int, count: int, at: datetime) -> None:
    """Produce records of a time to a partition, one by one."""
    async with AIOKafkaProducer(**producer_options(settings.kafka)) as producer:
        for number in range(count):
            await producer.send_and_wait(
                topic_of(settings),
                b"%d" % number,
                partition=partition,
                timestamp_ms=int((at.timestamp() + number) * 1000),
            )


def test_the_lag_is_what_the_broker_holds_beyond_the_progress(settings: Settings) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)

    async def scenario() -> None:
        await create_topics(settings.kafka)
        await produce(settings, 0, 5, at)
        await produce(settings, 1, 3, at)
        topic = topic_of(settings)
        lags = await read_lag(settings.kafka, topic, {0: 2, 1: 3})
        assert set(lags) == set(range(settings.kafka.partitions))
        assert (lags[0].end_offset, lags[0].records) == (5, 3)
        assert lags[0].oldest_at == at + timedelta(seconds=2)
        assert (lags[1].end_offset, lags[1].records, lags[1].oldest_at) == (3, 0, None)
        assert (lags[2].end_offset, lags[2].records, lags[2].oldest_at) == (0, 0, None)
        without_progress = await read_lag(settings.kafka, topic, {})
        assert without_progress[0].records == 5
        assert without_progress[0].oldest_at == at
        with pytest.raises(UnknownTopicOrPartitionError, match="fleetpulse migrate"):
            await read_lag(settings.kafka, f"{topic}-of-nobody", {})

    asyncio.run(scenario())


@pytest.mark.kafka
def test_marks_of_transactions_and_impossible_times_are_no_lag_of_years(
    database_url: str, apache_kafka: ApacheKafka
) -> None:
    settings = with_broker(database_url, apache_kafka.bootstrap_servers, idempotence=True)
    topic = topic_of(settings)

    async def scenario() -> None:
        await create_topics(settings.kafka)
        vendor = AIOKafkaProducer(**client_options(settings.kafka), transactional_id=topic)
        async with vendor, vendor.transaction():
            await vendor.send_and_wait(topic, b"fix", partition=0)
        lags = await read_lag(settings.kafka, topic, {0: 1})
        assert (lags[0].end_offset, lags[0].records, lags[0].oldest_at) == (2, 0, None)
        lags = await read_lag(settings.kafka, topic, {0: 0})
        assert lags[0].records == 2
        assert lags[0].oldest_at is not None
        async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
            await producer.send_and_wait(topic, b"fix", partition=1, timestamp_ms=-(10**15))
        lags = await read_lag(settings.kafka, topic, {})
        assert (lags[1].records, lags[1].oldest_at) == (1, None)

    asyncio.run(scenario())


def test_progress_shows_the_lag_and_says_when_the_broker_does_not_tell(
    settings: Settings,
) -> None:
    async def scenario() -> None:
        await create_topics(settings.kafka)
        await produce(settings, 0, 4, datetime.now(UTC) - timedelta(hours=1))

    asyncio.run(scenario())
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(
            "INSERT INTO stream_progress (topic, partition, next_offset) VALUES (%s, 0, 1)",
            [topic_of(settings)],
        )
    shown = command("offsets", "show", **_only_ours(settings))
    assert shown.returncode == 0, shown.stderr
    rows = [line.split() for line in shown.stdout.splitlines() if topic_of(settings) in line]
    assert [row[:3] for row in rows][:2] == [
        [f"{topic_of(settings)}[0]", "1", "3"],
        [f"{topic_of(settings)}[1]", "none", "0"],
    ]
    assert int(rows[0][3].replace(",", "")) in range(3590, 3800)
    nobody = {"FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    away = command("offsets", "show", **{**_only_ours(settings), **nobody})
    assert away.returncode == 1
    assert f"{topic_of(settings)}[0]" in away.stdout
    assert "not known" in away.stdout
    assert "the lag is not known: kafka at 127.0.0.1:1" in away.stdout


def _only_ours(settings: Settings) -> dict[str, str]:
    return {
        name: value
        for name, value in environment(settings).items()
        if name.startswith("FLEETPULSE_")
    }


def fill(settings: Settings) -> datetime:
    """Enter what waits: messages, letters of many vendors, an alert and a plan; return when."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        for position, published in enumerate([at, None, None]):
            connection.execute(
                "INSERT INTO outbox (message_id, topic, key, payload, created_at, published_at) "
                "VALUES (gen_random_uuid(), 't', 'k', '{}', %s, %s)",
                [at + timedelta(seconds=position), published],
            )
        for vendor, count in [("", 2), *((f"vendor-{number:02}", 1) for number in range(30))]:
            connection.execute(
                "INSERT INTO dead_letter (dead_letter_id, reason, detail, topic, partition, "
                "record_offset, message_value, vendor) SELECT gen_random_uuid(), 'not-json', 'd', "
                "'t', 0, 0, '', nullif(%s, '') FROM generate_series(1, %s)",
                [vendor, count],
            )
        connection.execute("UPDATE dead_letter SET replayed_at = now() WHERE vendor = 'vendor-29'")
        connection.execute(
            "UPDATE dead_letter SET discarded_at = now(), discarded_by = 'me' "
            "WHERE vendor = 'vendor-28'"
        )
    return at


def test_what_waits_in_the_database_is_told_with_few_labels(settings: Settings) -> None:
    at = fill(settings)
    metrics = InstallationMetrics()

    async def scenario() -> None:
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            await metrics.read_database(pool)

    asyncio.run(scenario())
    document = samples(metrics)
    assert document["fleetpulse_outbox_messages", ()] == 2
    oldest = document["fleetpulse_outbox_oldest_message_timestamp_seconds", ()]
    assert oldest == (at + timedelta(seconds=1)).timestamp()
    letters = {
        labels: value
        for (name, labels), value in document.items()
        if name == "fleetpulse_open_dead_letters" and value
    }
    assert letters["not-json", ""] == 2
    assert letters["not-json", OTHER_VENDORS] == 28 - 19
    assert len(letters) == 21
    assert sum(letters.values()) == 30
    entries = {labels[0] for name, labels in document if name == "fleetpulse_open_dead_letters"}
    assert entries == set(DeadLetterReason)


def test_nothing_old_is_told_once_the_database_does_not_answer(settings: Settings) -> None:
    fill(settings)
    metrics = InstallationMetrics()

    async def scenario() -> None:
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            await metrics.read_database(pool)
            assert samples(metrics)
            with psycopg.connect(settings.database_url.get_secret_value()) as other:
                other.execute("LOCK TABLE outbox")
                began = time.monotonic()
                reading = asyncio.create_task(metrics.read_database(pool))
                await asyncio.sleep(_SECOND)
                scraped = time.monotonic()
                assert samples(metrics)  # while it is asked, what was read last; at once
                assert time.monotonic() - scraped < _SECOND
                with pytest.raises(psycopg.errors.QueryCanceled):
                    await reading
                assert time.monotonic() - began < 30
            assert samples(metrics) == {}

    asyncio.run(scenario())


def test_the_lag_is_left_out_while_the_broker_is_away_and_the_progress_is_not(
    settings: Settings,
) -> None:
    metrics = InstallationMetrics()
    topic = topic_of(settings)

    async def scenario() -> None:
        await create_topics(settings.kafka)
        await produce(settings, 0, 3, datetime.now(UTC) - timedelta(hours=1))
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            async with pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO stream_progress (topic, partition, next_offset) "
                    "VALUES (%s, 0, 1), ('another', 0, 9)",
                    [topic],
                )
            await metrics.read_partitions(pool, settings.kafka)
            document = samples(metrics)
            assert document["fleetpulse_partition_lag_records", ("0", topic)] == 2
            assert 3590 < document["fleetpulse_partition_lag_seconds", ("0", topic)] < 3800
            assert document["fleetpulse_partition_lag_seconds", ("3", topic)] == 0
            assert not [labels for _, labels in document if "another" in labels]
            away = settings.kafka.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
            with pytest.raises((KafkaError, OSError)):
                await metrics.read_partitions(pool, away)
            document = samples(metrics)
            assert document["fleetpulse_partition_next_offset", ("0", topic)] == 1
            assert not [name for name, _ in document if "lag" in name]

    asyncio.run(scenario())


def scraped(service: Service) -> Samples:
    """Return every sample of a process of ours."""
    text = httpx.get(f"{service.url}/metrics", timeout=5).text
    return {
        (sample.name, tuple(dict(sorted(sample.labels.items())).values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_only_the_planner_that_leads_tells_of_the_installation(
    settings: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    fill(settings)
    asyncio.run(create_topics(settings.kafka))
    name = ("fleetpulse_outbox_messages", ())
    lag = ("fleetpulse_partition_lag_records", ("0", topic_of(settings)))
    with (
        Service("planner", settings, reaper, tmp_path) as first,
        Service("planner", settings, reaper, tmp_path) as second,
    ):
        for service in (first, second):
            service.wait_ready()

        def told() -> list[Service]:
            return [
                service for service in (first, second) if {name, lag} <= scraped(service).keys()
            ]

        wait_for(lambda: len(told()) == 1, limit_s=30, what="one tells", who=(first, second))
        (leader,) = told()
        assert scraped(leader)[name] == 2
        assert scraped(leader)["fleetpulse_planner_leader", ()] == 1
        assert scraped(leader)["fleetpulse_ready", ()] == 1
        other = second if leader is first else first
        assert not {name, lag} & scraped(other).keys()
        leader.kill()
        wait_for(
            lambda: {name, lag} <= scraped(other).keys(),
            limit_s=30,
            what="the other tells",
            who=(other,),
        )
