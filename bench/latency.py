"""How long it takes: from push to row at a steady pace, and for a fix that comes late."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from bench import traffic
from bench.installation import Bench
from infra.database.connection.pool import make_pool
from infra.database.fleet.api_keys import create_key
from infra.database.stream.progress import Partition
from infra.kafka.client import Topics, Watermarks, create_topics
from infra.settings import Settings
from stream.demo import latency
from stream.demo.stack import is_ready
from stream.ingest_client import VendorClient
from stream.worker.decode.records import Record
from stream.worker.write.writer import Writer

PACE_PER_S: Final = 5_000
_PACED_S: Final = 20
_UPLOAD: Final = 5
"""Fixes that a tracker uploads at once."""


async def paced_p99_s(bench: Bench, settings: Settings) -> float:
    """Return the p99 from accepted push to committed row at a steady pace through the gateway."""
    bench.prepare()
    await create_topics(settings.kafka)
    async with make_pool(settings, max_size=1) as pool, pool.connection() as connection:
        key = await create_key(connection, traffic.MUNICIPALITY, "bench")
    ingest, url = bench.start("ingest", settings)
    worker, worker_url = bench.start("worker", settings)
    try:
        for child, address in ((ingest, url), (worker, worker_url)):
            await asyncio.to_thread(child.wait_until, partial(is_ready, address), limit_s=60)
        await _push_paced(url, key, _PACED_S // 4)  # caches and connections warm up
        before = latency.read([worker_url])
        sent = await _push_paced(url, key, _PACED_S)
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
    entry = latency.quantile(after, 0.99, since=before)
    if entry is None:
        raise RuntimeError("the worker has measured nothing")
    return entry


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
            uploads = range(sent // _UPLOAD, (sent + step) // _UPLOAD)
            pushes.create_task(
                push(
                    [
                        _as_sent(next(_PACED[number % len(_PACED)]))
                        for number in uploads
                        for _ in range(_UPLOAD)
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

    async def ask(partitions: Sequence[Partition]) -> dict[tuple[str, int], Watermarks]:
        return {partition: Watermarks(0, offset) for partition in partitions}

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
