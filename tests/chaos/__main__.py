"""Push a fleet's days through an installation while it is hurt, and compare what it has written."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import stamina
from psycopg import sql

from infra.database.entering import enter
from infra.database.keys import create_key
from infra.database.pool import make_pool
from infra.embedded.directory import Account, make_run_directory
from infra.kafka import Topics, held
from infra.settings import Settings
from stream.simulator.config import SimulationConfig
from stream.simulator.simulation import SimulatedFleet, simulate
from stream.vendor import VendorClient
from tests.chaos import faults, poison, undisturbed
from tests.chaos.installation import Installation
from tests.chaos.reader import HostileReader
from tests.chaos.report import Report
from tests.stream_harness import open_pool

_OWN_MOUNTS: Final = "FLEETPULSE_CHAOS_OWN_MOUNTS"
_MUNICIPALITIES: Final = ("syddjurs", "favrskov")
_POISONED_EVERY: Final = 5
_CALM_LIMIT_S: Final = 240.0
_GIVE_UP_S: Final = 300.0


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--broker", choices=("apache", "tansu"), default="tansu")
    parser.add_argument("--faults", type=int, default=50, help="how many")
    parser.add_argument("--fixes", type=int, default=300_000, help="at least so many")
    parser.add_argument("--seed", type=int, default=1, help="draws faults, fleet and poison")
    parser.add_argument("--only", help="only faults of this name")
    return parser.parse_args(words)


def _fleet(seed: int, fixes: int) -> SimulatedFleet:
    """Return a fleet that sends so many fixes in its days, some of them late or twice."""
    # A vehicle sends some 900 fixes a day.
    vehicles = max(4, min(60, fixes // 12_000))
    days = max(2, -(-fixes // (vehicles * len(_MUNICIPALITIES) * 700)))
    return simulate(
        SimulationConfig(
            start=(datetime.now(UTC) - timedelta(days=days + 2)).date(),
            seed=seed,
            days=days,
            municipalities=_MUNICIPALITIES,
            vehicles_per_municipality=vehicles,
            gap_share=0.05,
            duplicate_share=0.02,
            late_share=0.1,
        )
    )


def _events(fleet: SimulatedFleet, at_least: int) -> list[tuple[str, dict[str, Any]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    for day in fleet.days():
        events += day.fixes
        if len(events) >= at_least:
            break
    return events


async def _enter(settings: Settings, fleet: SimulatedFleet) -> dict[str, str]:
    async with make_pool(settings, max_size=1) as pool, pool.connection() as connection:
        await enter(connection, fleet.master_data)
        return {name: await create_key(connection, name, "chaos") for name in _MUNICIPALITIES}


async def _push(
    url: str, keys: dict[str, str], events: Sequence[tuple[str, dict[str, Any]]]
) -> int:
    accepted = 0
    for whose, key in keys.items():
        async with VendorClient(url, key, timeout_s=10, give_up_after_s=_GIVE_UP_S) as vendor:
            result = await vendor.push([event for owner, event in events if owner == whose])
        if result.rejected:
            raise AssertionError(f"rejected: {result.reasons}")
        accepted += result.accepted
    return accepted


def run(arguments: argparse.Namespace, directory: Path, *, own_disk: bool) -> Report:
    """Hurt an installation under load; return what came of it."""
    rng = random.Random(arguments.seed)
    report = Report()
    began = time.monotonic()
    drawn = faults.draw(
        rng, arguments.faults, on_disk=arguments.broker == "apache", own_disk=own_disk
    )
    if arguments.only:
        drawn = [getattr(faults, arguments.only)] * arguments.faults
    fleet = _fleet(arguments.seed, arguments.fixes)
    events = _events(fleet, arguments.fixes)
    with Installation(arguments.broker, directory) as installation:
        settings = installation.settings
        keys = asyncio.run(_enter(settings, fleet))
        _copy(settings, "undisturbed")
        reader = HostileReader(settings, _MUNICIPALITIES[0], arguments.seed)
        reader.start()
        try:
            share = -(-len(events) // max(1, len(drawn)))
            for number, fault in enumerate(drawn):
                portion = events[number * share : (number + 1) * share]
                print(f"{time.monotonic() - began:6.0f} s  {fault.__name__}", flush=True)
                hurting = threading.Thread(target=fault, args=(installation, rng))
                hurting.start()
                try:
                    report.accepted += asyncio.run(_push(installation.ingest_url, keys, portion))
                finally:
                    hurting.join()
                report.faults[fault.__name__] += 1
                if number % _POISONED_EVERY == 0:
                    _until_calm(installation)
                    report.poison += asyncio.run(poison.produce(settings.kafka, rng))
        finally:
            reader.stop()
        report.reader_attempts = reader.attempts
        report.pushed = {
            (f"{whose}/{event['vehicle_id']}", datetime.fromisoformat(event["recorded_at"]))
            for whose, event in events
        }
        calm = time.monotonic()
        _until_caught_up(installation)
        report.catch_up_s = time.monotonic() - calm
        asyncio.run(_compare(settings, report))
        report.restarts = installation.restarts
    report.seconds = time.monotonic() - began
    return report


def _copy(settings: Settings, name: str) -> None:
    """Copy the database, in which nothing has happened yet."""
    with psycopg.connect(
        settings.conninfo.replace("dbname=fleetpulse", "dbname=postgres"), autocommit=True
    ) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'fleetpulse'"
        )
        for _ in range(50):
            try:
                server.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE fleetpulse").format(sql.Identifier(name))
                )
            except psycopg.errors.ObjectInUse:
                server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = 'fleetpulse'"
                )
            else:
                return
    raise AssertionError("the database was never free to be copied")


def _until_calm(installation: Installation) -> None:
    deadline = time.monotonic() + _CALM_LIMIT_S
    while not installation.answers():
        if time.monotonic() > deadline:
            raise AssertionError("broker or database did not come back")
        time.sleep(0.2)


def _until_caught_up(installation: Installation) -> None:
    """Wait until the progress of each partition is at its end."""
    _until_calm(installation)
    settings = installation.settings
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    places = [(topic, number) for number in range(settings.kafka.partitions)]
    deadline = time.monotonic() + _CALM_LIMIT_S
    while True:
        ends = asyncio.run(held(settings.kafka, places))
        with psycopg.connect(settings.conninfo) as connection:
            rows = connection.execute(
                "SELECT topic, partition, next_offset FROM stream_progress"
            ).fetchall()
        progress = {(name, number): offset for name, number, offset in rows}
        behind = {
            number: (progress.get((name, number), 0), ends[name, number].end)
            for name, number in places
            if progress.get((name, number), 0) < ends[name, number].end
        }
        if not behind:
            return
        if time.monotonic() > deadline:
            logs = "\n".join(
                f"-- {name}\n{installation.log(name)[-6000:]}" for name in ("worker-1", "worker-2")
            )
            raise AssertionError(f"partitions stand still (progress, end): {behind}\n{logs}")
        time.sleep(1)


async def _compare(settings: Settings, report: Report) -> None:
    records = await undisturbed.read_records(settings)
    topics = Topics.named(settings.kafka.topic_prefix)
    async with open_pool(settings.conninfo) as pool:
        ours = await undisturbed.settled_rows(pool, topics)
    url = settings.conninfo.replace("dbname=fleetpulse", "dbname=undisturbed")
    theirs = await undisturbed.write(url, settings, records)
    for table, rows in ours.items():
        here, there = Counter(map(repr, rows)), Counter(map(repr, theirs[table]))
        report.rows[table] = (len(rows), (here - there).total(), (there - here).total())
    with psycopg.connect(settings.conninfo) as connection:
        stored = set(connection.execute("SELECT vehicle_id, recorded_at FROM fix").fetchall())
    report.lost = len({key for key in report.pushed if key not in stored})


@contextmanager
def _place(*, own_disk: bool) -> Iterator[Path]:
    """Yield a directory for the installation, on a small disk of its own if we may mount one."""
    directory = make_run_directory(Account.current())
    if own_disk:
        mount = shutil.which("mount") or "mount"
        options = "size=3g,mode=711"
        subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        if own_disk:
            subprocess.run([shutil.which("umount") or "umount", "-l", directory], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def main(words: Sequence[str]) -> int:
    """Run as the command line says; return 0 when nothing differs."""
    arguments = _arguments(words)
    stamina.instrumentation.set_on_retry_hooks([])  # that a vendor tries again is no news here
    unshare = shutil.which("unshare")
    own_disk = os.environ.get(_OWN_MOUNTS) == "1"
    if os.geteuid() == 0 and unshare and not own_disk:
        # Mounts of a namespace of our own go with us, however we end.
        command = [unshare, "--mount", sys.executable, "-m", "tests.chaos", *words]
        os.execve(unshare, command, {**os.environ, _OWN_MOUNTS: "1"})  # noqa: S606 - no shell is wanted
    if not own_disk:
        print("not root: the fault fill_the_disk is left out", flush=True)
    with _place(own_disk=own_disk) as directory:
        report = run(arguments, directory, own_disk=own_disk)
    print(report.text())
    return 0 if report.is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
