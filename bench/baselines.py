"""What our worker is measured beside: the plain limit, and a plain Faust app."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import orjson
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench import traffic
from bench.installation import PARTITIONS, Bench, Rate
from infra.database.timeline.tables import FIX, copy_rows
from infra.kafka.client import Topics, client_options, create_topics, producer_options
from infra.settings import Settings

PLAIN_EVENTS: Final = 8_000
_COPY_ROWS: Final = 10_000


async def copy_rate(bench: Bench, settings: Settings, total: int) -> Rate:
    """Return fixes a second when the topic is drained and copied, and nothing else is done."""
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    _, _, _, *columns = FIX.columns
    consumer = AIOKafkaConsumer(
        group_id=None, auto_offset_reset="earliest", **client_options(settings.kafka)
    )
    async with (
        consumer,
        await psycopg.AsyncConnection.connect(bench.url) as connection,
    ):
        await connection.execute("TRUNCATE fix")
        consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
        rows: list[tuple[Any, ...]] = []
        done = 0
        began, spent = time.monotonic(), bench.cpu(os.getpid())
        while done < total:
            for records in (await consumer.getmany(timeout_ms=200, max_records=20)).values():
                for record in records:
                    document = orjson.loads(record.value)
                    received_at = datetime.fromisoformat(document["received_at"])
                    rows += [
                        (
                            fix["vehicle_id"],
                            datetime.fromisoformat(fix["recorded_at"]),
                            received_at,
                            *map(fix.get, columns),
                        )
                        for fix in document["fixes"]
                    ]
            if len(rows) >= _COPY_ROWS or done + len(rows) == total:
                await copy_rows(connection, FIX, rows)
                await connection.commit()
                done += len(rows)
                rows = []
        took_s = time.monotonic() - began
        cpu = bench.cpu(os.getpid()).since(spent).over(total)
        cursor = await connection.execute("SELECT count(*) FROM fix")
        if await cursor.fetchone() != (total,):
            raise RuntimeError(f"not all of {total} fixes were copied")
        return Rate(total / took_s, cpu)


async def _fill_plain(settings: Settings, topic: str) -> None:
    """Produce one event a message."""
    async with AIOKafkaProducer(**producer_options(settings.kafka)) as producer:
        streams = [traffic.vehicle_fixes(vehicle) for vehicle in range(300)]
        for number in range(PLAIN_EVENTS):
            fix = next(streams[number % len(streams)])
            event = {
                name: fix[name] for name in ("vehicle_id", "recorded_at", "lat", "lon", "speed_mps")
            }
            await producer.send(topic, orjson.dumps(event), partition=number % PARTITIONS)


def plain_rate(bench: Bench, settings: Settings) -> float:
    """Return the events a second of the plain Faust app."""
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    asyncio.run(create_topics(settings.kafka))
    asyncio.run(_fill_plain(settings, topic))
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "CREATE TABLE plain_fix (vehicle_id text, recorded_at timestamptz, lat float8, "
            "lon float8, speed_mps float8, PRIMARY KEY (vehicle_id, recorded_at))"
        )
    plain = bench.child(
        "plain-faust",
        [str(Path(__file__).with_name("plain_faust.py")), "worker", "--without-web", "-l", "warn"],
        {
            "BROKER": settings.kafka.bootstrap_servers,
            "TOPIC": topic,
            "DATABASE_URL": bench.url,
            "PARTITIONS": str(PARTITIONS),
            "FAUST_DATADIR": str(bench.servers.directory / "plain"),
        },
    )
    try:
        return bench.rate(PLAIN_EVENTS, "SELECT count(*) FROM plain_fix", plain).per_s
    finally:
        plain.stop()
