"""What a fix costs at the vendors' door, and until its row is there.

One run on embedded servers of its own. `python -m bench.ingest` prints a table, with `--json` one
flat object. Batches are 1, 50 and 500 events a request, from 20 connections that each wait for
their answer. Beside it stands a FastAPI endpoint that only parses and produces
(`bench/bare_ingest.py`). Costs are CPU seconds of the processes, user and system.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from functools import partial
from typing import Final

import psutil
import psycopg

from bench import traffic
from bench.installation import PARTITIONS, Bench, Cpu
from bench.load import HOSTILE_REQUESTS, Load, Traffic, answer_beside, push
from infra.database.connection.migrate import migrate
from infra.database.connection.pool import make_pool
from infra.database.fleet.api_keys import create_key
from infra.embedded.process import Child, free_port
from infra.embedded.servers import EmbeddedServers
from infra.kafka.client import create_topics
from infra.settings import Settings, as_environment
from stream.demo import latency
from stream.demo.stack import is_ready

BATCHES: Final = (1, 50, 500)
_GUESS_PER_S: Final = {1: 2_500, 50: 400, 500: 60}
"""Requests a second, roughly: how many are prepared for the time that is asked for."""
_WARM_UP: Final = 0.2
_ROWS_LIMIT_S: Final = 120.0


def cpu_s(child: Child) -> float:
    """Return the CPU seconds that a process has taken."""
    times = psutil.Process(child.process.pid).cpu_times()
    return times.user + times.system


async def make_key(settings: Settings) -> str:
    """Return a key of a vendor, after topics and municipality are there."""
    await create_topics(settings.kafka)
    async with make_pool(settings, max_size=1) as pool, pool.connection() as connection:
        return await create_key(connection, traffic.MUNICIPALITY, "bench")


def measure(
    child: Child, port: int, source: Traffic, batch: int, seconds: float
) -> tuple[Load, float]:
    """Push for about so long; return the load and the server's CPU seconds."""
    count = max(40, int(_GUESS_PER_S[batch] * seconds))
    asyncio.run(push(port, source.requests(batch, int(count * _WARM_UP)), batch))
    requests = source.requests(batch, count)
    before = cpu_s(child)
    load = asyncio.run(push(port, requests, batch))
    return load, cpu_s(child) - before


def door(bench: Bench, seconds: float) -> dict[str, float]:
    """Return the figures of the gateway alone, beside the bare endpoint."""
    figures: dict[str, float] = {}
    settings = bench.settings("bench-door")
    key = asyncio.run(make_key(settings))
    bare_port = free_port()
    bare = bench.child(
        "bare", ["-m", "bench.bare_ingest"], as_environment(settings) | {"PORT": str(bare_port)}
    )
    ours, url = bench.start("ingest", settings)
    try:
        ours.wait_until(partial(is_ready, url), limit_s=60)
        bare.wait_until(partial(_listens, bare_port), limit_s=60)
        for batch in BATCHES:
            _report(f"the door, {batch} events a request")
            cost: dict[str, float] = {}
            for name, child, port in (
                ("bare", bare, bare_port),
                ("ours", ours, int(url.rpartition(":")[2])),
            ):
                load, spent = measure(child, port, Traffic(key), batch, seconds)
                cost[name] = spent / load.fixes
                if name == "ours":
                    figures[f"p99_ms_{batch}"] = load.p99_ms()
                else:
                    figures[f"bare_p99_ms_{batch}"] = load.p99_ms()
                figures[f"{name}_cpu_us_per_request_{batch}"] = 1e6 * spent / load.requests
            figures[f"accepted_fixes_per_cpu_s_{batch}"] = 1 / cost["ours"]
            figures[f"ratio_to_bare_{batch}"] = cost["ours"] / cost["bare"]
    finally:
        bare.stop()
        ours.stop()
    return figures


def hostile(bench: Bench) -> dict[str, float]:
    """Return how long others wait while bodies of 7 MB with unknown fields are looked into."""
    _report("hostile requests")
    settings = bench.settings("bench-hostile")
    key = asyncio.run(make_key(settings))
    ours, url = bench.start("ingest", settings)
    try:
        ours.wait_until(partial(is_ready, url), limit_s=60)
        process = psutil.Process(ours.process.pid)
        before_mb = process.memory_info().rss / 1e6
        before_s = cpu_s(ours)
        took_s = asyncio.run(answer_beside(int(url.rpartition(":")[2]), key))
        return {
            "hostile_health_max_ms": 1e3 * max(took_s),
            "hostile_cpu_s_per_request": (cpu_s(ours) - before_s) / HOSTILE_REQUESTS,
            "hostile_rss_before_mb": before_mb,
            "hostile_rss_after_mb": process.memory_info().rss / 1e6,
        }
    finally:
        ours.stop()


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def whole_path(bench: Bench, seconds: float) -> dict[str, float]:
    """Return microseconds of all processes for an event, until its row is there."""
    figures: dict[str, float] = {}
    for batch in BATCHES:
        _report(f"until the rows are there, {batch} events a request")
        bench.prepare()
        settings = bench.settings(f"bench-path-{batch}")
        key = asyncio.run(make_key(settings))
        ingest, url = bench.start("ingest", settings)
        worker, worker_url = bench.start("worker", settings)
        try:
            for child, address in ((ingest, url), (worker, worker_url)):
                child.wait_until(partial(is_ready, address), limit_s=60)
            source, port = Traffic(key), int(url.rpartition(":")[2])
            count = max(40, int(_GUESS_PER_S[batch] * seconds))
            done = _rows(worker_url)
            for share in (_WARM_UP, 1.0):
                requests = source.requests(batch, int(count * share))
                ingest_before, before = cpu_s(ingest), bench.cpu(worker.process.pid)
                load = asyncio.run(push(port, requests, batch))
                done += load.fixes
                _wait_for_rows(worker_url, done, worker)
            taken = bench.cpu(worker.process.pid).since(before).over(load.fixes)
            at_door = (cpu_s(ingest) - ingest_before) / load.fixes
            stored = bench.number("SELECT count(*) FROM fix")
            if stored != done:
                raise RuntimeError(f"{stored} of {done} events are rows, the others dead letters")
            figures |= _of_path(batch, at_door, taken)
        finally:
            ingest.stop()
            worker.stop()
    return figures


def _of_path(batch: int, at_door: float, taken: Cpu) -> dict[str, float]:
    parts = {"ingest": at_door, **taken._asdict()}
    return {
        f"cpu_us_per_event_{batch}": 1e6 * sum(parts.values()),
        **{
            f"{name.replace('program', 'worker')}_cpu_us_per_event_{batch}": 1e6 * value
            for name, value in parts.items()
        },
    }


def _rows(worker_url: str) -> int:
    return int(max(latency.read([worker_url]).values(), default=0))


def _wait_for_rows(worker_url: str, count: int, worker: Child) -> None:
    deadline = time.monotonic() + _ROWS_LIMIT_S
    while _rows(worker_url) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of {count} became rows:\n{worker.tail()}")
        time.sleep(0.3)


def run(seconds: float) -> dict[str, float]:
    """Measure everything; return the figures."""
    with EmbeddedServers() as servers:
        bench = Bench(servers, servers.postgres.url)
        migrate(bench.url)
        with psycopg.connect(bench.url) as connection:
            connection.execute(
                "INSERT INTO municipality (municipality_id, name) VALUES (%s, 'Bench')",
                [traffic.MUNICIPALITY],
            )
        return {
            **door(bench, seconds),
            **hostile(bench),
            **whole_path(bench, seconds),
            "partitions": PARTITIONS,
        }


def _report(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    parser.add_argument(
        "--live-seconds", type=float, default=3.0, help="about so long for each measurement"
    )
    asked = parser.parse_args()
    figures = run(asked.live_seconds)
    if asked.json:
        print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:40}{value:14,.3f}")


if __name__ == "__main__":
    main()
