"""From Kafka to committed rows: our worker beside the plain limit and beside a plain Faust app.

One run on embedded servers of its own, all on this machine. `python -m bench.throughput` prints a
table, with `--json` one flat object. The plain limit drains the same topic and copies the same
fixes in binary into the same table with its key, and does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Final

import psutil
import psycopg
from aiokafka import AIOKafkaProducer

from bench import traffic
from bench.baselines import copy_rate, plain_rate
from bench.installation import PARTITIONS, Bench, Rate
from bench.latency import PACE_PER_S, late_fix_ms, paced_p99_s
from infra.database.connection.migrate import migrate
from infra.embedded.servers import EmbeddedServers
from infra.kafka.client import Topics, create_topics, producer_options
from infra.settings import Settings

FLEETS: Final = (300, 10_000)
FIXES: Final = 400_000
LATE_DAYS: Final = (2, 60)


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


def worker_rate(
    bench: Bench, settings: Settings, *, vehicles: int, fixes: int, messages: int
) -> tuple[Rate, float]:
    """Return our fixes a second, and the worker's resident memory in MB at the end."""
    bench.prepare()
    worker, _ = bench.start("worker", settings)
    try:
        # Progress, not count(*): counting rows would cost the database what we measure.
        rate = bench.rate(
            messages, "SELECT coalesce(sum(next_offset), 0) FROM stream_progress", worker
        )
        rss_mb = psutil.Process(worker.process.pid).memory_info().rss / 1e6
    finally:
        worker.stop()
    stored = bench.number("SELECT count(*) FROM fix")
    number = bench.number("SELECT count(*) FROM vehicle_state")
    if (stored, number) != (fixes, vehicles):
        raise RuntimeError(f"{stored} fixes of {number} vehicles are rows, sent were {fixes}")
    each = fixes / messages
    return Rate(rate.per_s * each, rate.cpu.over(each)), rss_mb


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
            messages = asyncio.run(fill(settings, vehicles, each))
            bench.prepare()
            limit = asyncio.run(copy_rate(bench, settings, total))
            rate, rss_mb = worker_rate(
                bench, settings, vehicles=vehicles, fixes=total, messages=messages
            )
            suffix = "" if vehicles == FLEETS[0] else f"_{vehicles}_vehicles"
            figures |= {
                f"fixes_per_s{suffix}": rate.per_s,
                f"copy_limit_per_s{suffix}": limit.per_s,
                f"ratio_to_copy_limit{suffix}": rate.per_s / limit.per_s,
                "worker_rss_mb": rss_mb,
                **rate.cpu.figures("worker_run", suffix),
                **limit.cpu.figures("copy_run", suffix),
            }
        _tell("plain Faust app")
        bench.prepare()
        figures["plain_faust_per_s"] = plain_rate(bench, bench.settings("bench-plain"))
        figures["ratio_to_plain_faust"] = figures["fixes_per_s"] / figures["plain_faust_per_s"]
        _tell(f"{PACE_PER_S:,} fixes a second through the gateway")
        figures["p99_push_to_row_s"] = asyncio.run(
            paced_p99_s(bench, bench.settings("bench-paced"))
        )
        bench.prepare()
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
