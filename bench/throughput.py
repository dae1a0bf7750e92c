"""From Kafka to committed rows: our worker beside the plain limit and beside a plain Faust app.

One run on embedded servers of its own, all on this machine. `python -m bench.throughput` prints a
table, with `--json` one flat object. The plain limit drains the same topic and copies the same
fixes in binary into the same table with its key, and does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
import psutil
import psycopg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from bench import traffic
from infra.database.keys import create_key
from infra.database.migrate import migrate
from infra.database.pool import make_pool
from infra.database.stream import Partition
from infra.database.timeline import FIX, copy_rows
from infra.embedded.process import Child, free_port
from infra.embedded.servers import EmbeddedServers
from infra.kafka import Held, Topics, client_options, create_topics, producer_options
from infra.settings import KafkaSettings, Settings, as_environment
from stream.demo import latency
from stream.demo.stack import is_ready
from stream.vendor import VendorClient
from stream.worker.records import Record
from stream.worker.writer import Writer

PARTITIONS: Final = 4
FLEETS: Final = (300, 10_000)
FIXES: Final = 400_000
PLAIN_EVENTS: Final = 8_000
PACE_PER_S: Final = 5_000
PACED_S: Final = 20
PACED_UPLOAD: Final = 5
"""Fixes that a tracker uploads at once."""
LATE_DAYS: Final = (2, 60)
_COPY_ROWS: Final = 10_000
_LIMIT_S: Final = 300.0


@dataclass(frozen=True)
class Bench:
    """Servers and where they are."""

    servers: EmbeddedServers
    url: str

    def settings(self, prefix: str) -> Settings:
        """Return the settings of an installation of its own, with topics of this prefix."""
        return Settings(
            database_url=SecretStr(self.url),
            kafka=KafkaSettings(
                bootstrap_servers=self.servers.broker.bootstrap_servers,
                idempotence=False,
                topic_prefix=prefix,
                partitions=PARTITIONS,
                session_timeout_s=6.0,
                rebalance_timeout_s=6.0,
                fetch_max_wait_ms=50,
            ),
        )

    def start(self, command: str, settings: Settings) -> tuple[Child, str]:
        """Start a process of ours and return it with its address; it may not be ready yet."""
        port = free_port()
        ports = {"FLEETPULSE_METRICS_PORT": str(port), "FLEETPULSE_INGEST_PORT": str(port)}
        return self.child(
            f"{command}-{port}",
            ["-m", "stream.cli", command],
            as_environment(settings) | ports,
        ), f"http://127.0.0.1:{port}"

    def child(self, name: str, arguments: Sequence[str], variables: dict[str, str]) -> Child:
        """Start a Python process."""
        root = str(Path(__file__).parents[1])
        return Child(
            name,
            [sys.executable, *arguments],
            guardian=self.servers.guardian,
            directory=self.servers.directory,
            env={**os.environ, "PYTHONPATH": root, **variables},
        )

    def number(self, query: str) -> int:
        """Return a number from the database."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode()).fetchone()
        return 0 if row is None else int(row[0])

    def rate(self, total: int, count: Callable[[], int], child: Child) -> float:
        """Return how many a second came, from the first seen to the last."""
        began_at, began = 0.0, 0
        deadline = time.monotonic() + _LIMIT_S
        while True:
            done = count()
            now = time.monotonic()
            if done and not began:
                began_at, began = now, done
            if done >= total:
                return (done - began) / max(now - began_at, 1e-9)
            if now > deadline or child.process.poll() is not None:
                raise RuntimeError(f"{done} of {total} after {_LIMIT_S:g} s:\n{child.tail()}")
            time.sleep(0.05)


def prepare(bench: Bench) -> None:
    """Empty what a stream writes."""
    with psycopg.connect(bench.url) as connection:
        connection.execute(
            "TRUNCATE fix, segment, trip, idle_interval, round_trip, usage_hour, vehicle_state, "
            "vehicle_checkpoint, stream_progress, outbox, dead_letter"
        )


async def fill(settings: Settings, vehicles: int, fixes_each: int) -> int:
    """Produce the whole traffic; return how many messages it is."""
    await create_topics(settings.kafka)
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    count = 0
    async with AIOKafkaProducer(**producer_options(settings.kafka)) as producer:
        for partition, value in traffic.messages(vehicles, fixes_each, PARTITIONS):
            await producer.send(topic, value, partition=partition)
            count += 1
    return count


def worker_rate(bench: Bench, settings: Settings, total: int, vehicles: int) -> tuple[float, float]:
    """Return our fixes a second, and the worker's resident memory in MB at the end."""
    prepare(bench)
    worker, _ = bench.start("worker", settings)
    try:
        # Progress, not count(*): counting rows would cost the database what we measure.
        per_message = total / bench_messages(settings)
        rate = bench.rate(
            bench_messages(settings),
            lambda: bench.number("SELECT coalesce(sum(next_offset), 0) FROM stream_progress"),
            worker,
        )
        rss_mb = psutil.Process(worker.process.pid).memory_info().rss / 1e6
    finally:
        worker.stop()
    stored = bench.number("SELECT count(*) FROM fix")
    known = bench.number("SELECT count(*) FROM vehicle_state")
    if (stored, known) != (total, vehicles):
        raise RuntimeError(f"{stored} fixes of {known} vehicles are rows, sent were {total}")
    return rate * per_message, rss_mb


_MESSAGES: Final[dict[str, int]] = {}


def bench_messages(settings: Settings) -> int:
    """Return how many messages the topic of these settings holds."""
    return _MESSAGES[settings.kafka.topic_prefix]


async def copy_rate(bench: Bench, settings: Settings, total: int) -> float:
    """Return fixes a second when the topic is drained and copied, and nothing else is done."""
    topic = Topics.named(settings.kafka.topic_prefix).fixes
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
        began = time.monotonic()
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
                            fix["lat"],
                            fix["lon"],
                            fix["speed_mps"],
                            fix["heading_deg"],
                            fix["ignition"],
                            fix["odometer_m"],
                            None,
                            None,
                            None,
                            None,
                        )
                        for fix in document["fixes"]
                    ]
            if len(rows) >= _COPY_ROWS or done + len(rows) == total:
                await copy_rows(connection, FIX, rows)
                await connection.commit()
                done += len(rows)
                rows = []
        took_s = time.monotonic() - began
        cursor = await connection.execute("SELECT count(*) FROM fix")
        if await cursor.fetchone() != (total,):
            raise RuntimeError(f"not all of {total} fixes were copied")
        return total / took_s


async def fill_plain(settings: Settings, topic: str) -> None:
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
    asyncio.run(fill_plain(settings, topic))
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
        return bench.rate(
            PLAIN_EVENTS, lambda: bench.number("SELECT count(*) FROM plain_fix"), plain
        )
    finally:
        plain.stop()


async def paced_p99_s(bench: Bench, settings: Settings) -> float:
    """Return the p99 from accepted push to committed row at a steady pace through the gateway."""
    prepare(bench)
    await create_topics(settings.kafka)
    async with make_pool(settings, max_size=1) as pool, pool.connection() as connection:
        key = await create_key(connection, traffic.MUNICIPALITY, "bench")
    ingest, url = bench.start("ingest", settings)
    worker, worker_url = bench.start("worker", settings)
    try:
        for child, address in ((ingest, url), (worker, worker_url)):
            await asyncio.to_thread(child.wait_until, partial(is_ready, address), limit_s=60)
        await _push_paced(url, key, PACED_S // 4)  # caches and connections warm up
        before = latency.read([worker_url])
        sent = await _push_paced(url, key, PACED_S)
        deadline = time.monotonic() + 60
        while True:
            after = latency.read([worker_url])
            if max(after.values()) - max(before.values()) >= sent:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"not all of {sent} became rows:\n{worker.tail()}")
            await asyncio.sleep(0.2)
    finally:
        ingest.stop()
        worker.stop()
    found = latency.quantile(after, 0.99, since=before)
    if found is None:
        raise RuntimeError("the worker has measured nothing")
    return found


_PACED: Final = [traffic.vehicle_fixes(vehicle) for vehicle in range(2_000)]


async def _push_paced(url: str, key: str, seconds: int) -> int:
    """Push 5,000 fixes a second, a twentieth at a time: each tracker uploads its last five."""
    step = PACE_PER_S // 20
    began = time.monotonic()
    sent = 0
    async with VendorClient(url, key, lanes=2) as vendor, asyncio.TaskGroup() as pushes:

        async def push(events: list[dict[str, Any]]) -> None:
            result = await vendor.push(events)
            if result.rejected:
                raise RuntimeError(f"the gateway rejects: {result.reasons}")

        while sent < PACE_PER_S * seconds:
            uploads = range(sent // PACED_UPLOAD, (sent + step) // PACED_UPLOAD)
            pushes.create_task(
                push(
                    [
                        _as_sent(next(_PACED[number % len(_PACED)]))
                        for number in uploads
                        for _ in range(PACED_UPLOAD)
                    ]
                )
            )
            sent += step
            await asyncio.sleep(max(0.0, began + sent / PACE_PER_S - time.monotonic()))
    return sent


def _as_sent(fix: dict[str, Any]) -> dict[str, Any]:
    local_id = fix["vehicle_id"].partition("/")[2]
    return {**fix, "vehicle_id": local_id, "recorded_at": fix["recorded_at"].isoformat()}


async def late_fix_ms(settings: Settings, days: int) -> float:
    """Return the median time to commit one fix that is two hours late, after so many days."""
    topics = Topics.named(f"late-{days}")
    place = Partition(topics.fixes, 0)
    offset = 0

    def record(fixes: list[dict[str, Any]]) -> Record:
        nonlocal offset
        value = traffic.message(fixes, datetime.now(UTC))
        offset += 1
        return Record(place.topic, 0, offset - 1, None, value, datetime.now(UTC))

    async def ask(partitions: Sequence[Partition]) -> dict[tuple[str, int], Held]:
        return {one: Held(0, offset) for one in partitions}

    vehicle = 1_000_000 + days
    start = traffic.START
    stream = traffic.vehicle_fixes(vehicle, start=start)
    async with make_pool(settings, max_size=2) as pool:
        writer = Writer(pool, topics)
        await writer.start_at([place], ask)
        per_day = 8640
        for _ in range(days):
            # One of ten seconds of a day is enough of a history, and quicker to write.
            day = [next(stream) for _ in range(per_day)][::10]
            await writer.write([record(day)])
        end = start + timedelta(days=days)
        times = []
        for number in range(9):
            late = next(traffic.vehicle_fixes(vehicle, start=end - timedelta(hours=2)))
            late["recorded_at"] += timedelta(seconds=3 + 11 * number)
            message = record([late])
            began = time.perf_counter()
            await writer.write([message])
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def run() -> dict[str, float]:
    """Measure everything; return the figures."""
    figures: dict[str, float] = {}
    with EmbeddedServers() as servers:
        bench = Bench(servers, servers.postgres.url)
        migrate(bench.url)
        with psycopg.connect(bench.url) as connection:
            connection.execute(
                "INSERT INTO municipality (municipality_id, name) VALUES (%s, 'Bench')",
                [traffic.MUNICIPALITY],
            )
        for vehicles in FLEETS:
            settings = bench.settings(f"bench-{vehicles}")
            each = FIXES // vehicles
            total = vehicles * each
            _tell(f"{vehicles:,} vehicles: producing {total:,} fixes")
            _MESSAGES[settings.kafka.topic_prefix] = asyncio.run(fill(settings, vehicles, each))
            prepare(bench)
            limit = asyncio.run(copy_rate(bench, settings, total))
            rate, rss_mb = worker_rate(bench, settings, total, vehicles)
            suffix = "" if vehicles == FLEETS[0] else f"_{vehicles}_vehicles"
            figures |= {
                f"fixes_per_s{suffix}": rate,
                f"copy_limit_per_s{suffix}": limit,
                f"ratio_to_copy_limit{suffix}": rate / limit,
                "worker_rss_mb": rss_mb,
            }
        _tell("plain Faust app")
        prepare(bench)
        figures["plain_faust_per_s"] = plain_rate(bench, bench.settings("bench-plain"))
        figures["ratio_to_plain_faust"] = figures["fixes_per_s"] / figures["plain_faust_per_s"]
        _tell(f"{PACE_PER_S:,} fixes a second through the gateway")
        figures["p99_push_to_row_s"] = asyncio.run(
            paced_p99_s(bench, bench.settings("bench-paced"))
        )
        prepare(bench)
        for name, days in zip(("short", "long"), LATE_DAYS, strict=True):
            _tell(f"a late fix after {days} days")
            figures[f"late_fix_ms_{name}_history"] = asyncio.run(
                late_fix_ms(bench.settings("late"), days)
            )
    return figures


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    asked = parser.parse_args()
    figures = run()
    if asked.json:
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:36}{value:14,.3f}")


if __name__ == "__main__":
    main()
