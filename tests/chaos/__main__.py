"""Push a fleet's days through an installation while it is hurt, and compare what it has written."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Final

import psycopg
import stamina
from psycopg import sql
from psycopg.conninfo import make_conninfo

from infra.database.connection.pool import make_pool
from infra.database.fleet.api_keys import create_key
from infra.database.fleet.master_data_import import import_master_data
from infra.embedded.directory import Account, make_run_directory
from infra.embedded.reaper import Reaper
from infra.kafka.client import Topics, read_watermarks
from infra.settings import Settings
from stream.ingest_client import VendorClient
from stream.simulator.config import SimulationConfig
from stream.simulator.simulation import SimulatedFleet, simulate
from tests.chaos import faults, poison, undisturbed
from tests.chaos.installation import Installation
from tests.chaos.reader import HostileReader
from tests.chaos.report import Report
from tests.patience import patience
from tests.stream_harness import open_pool

_OWN_MOUNTS: Final = "FLEETPULSE_CHAOS_OWN_MOUNTS"
"""Names the directory on which to mount a small disk: we have mounts of our own."""
_MUNICIPALITIES: Final = ("syddjurs", "favrskov")
_POISONED_EVERY: Final = 5
_BATCHES: Final = (50, 200, 500)
"""Events of a request: small ones keep the load up for longer."""
_CALM_LIMIT_S: Final = 240.0
_PAUSE_S: Final = 5.0
_OUTBOX_LIMIT_S: Final = 60.0
_GIVE_UP_S: Final = 300.0


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--broker", choices=("apache", "tansu", "both"), default="both")
    parser.add_argument("--faults", type=int, default=50, help="how many")
    parser.add_argument("--fixes", type=int, default=300_000, help="at least so many")
    parser.add_argument(
        "--seed", type=int, help="draws faults, fleet and poison; drawn and printed by default"
    )
    parser.add_argument("--only", help="only faults of this name")
    return parser.parse_args(words)


def _fleet(seed: int, fixes: int) -> SimulatedFleet:
    """Return a fleet that sends so many fixes in its days, some of them late or twice."""
    # A vehicle sends some 250 fixes a day, fewer on a weekend; days that are too many are not sent.
    vehicles = max(8, min(60, fixes // 6_000))
    days = 7 + -(-fixes // (vehicles * len(_MUNICIPALITIES) * 150))
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
        if len(events) >= at_least * 1.05:  # some are sent twice
            return events
    raise AssertionError(f"the fleet sent {len(events):,} events; {at_least:,} are to be pushed")


async def _enter(settings: Settings, fleet: SimulatedFleet) -> dict[str, str]:
    async with make_pool(settings, max_size=1) as pool, pool.connection() as connection:
        await import_master_data(connection, fleet.master_data)
        return {name: await create_key(connection, name, "chaos") for name in _MUNICIPALITIES}


async def _push(
    url: str, keys: dict[str, str], events: Sequence[tuple[str, dict[str, Any]]], batch_events: int
) -> int:
    accepted = 0
    for owner_id, key in keys.items():
        async with VendorClient(
            url, key, batch_events=batch_events, timeout_s=10, give_up_after_s=_GIVE_UP_S
        ) as vendor:
            result = await vendor.push([event for owner, event in events if owner == owner_id])
        if result.rejected:
            raise AssertionError(f"rejected: {result.reasons}")
        accepted += result.accepted
    return accepted


def run(broker: str, arguments: argparse.Namespace, directory: Path, *, own_disk: bool) -> Report:
    """Hurt an installation under load; return what came of it."""
    rng = random.Random(arguments.seed)
    report = Report(f"{broker}, seed {arguments.seed}")
    began = time.monotonic()
    drawn = faults.draw(rng, arguments.faults, on_disk=broker == "apache", own_disk=own_disk)
    if arguments.only:
        drawn = [getattr(faults, arguments.only)] * arguments.faults
    fleet = _fleet(arguments.seed, arguments.fixes)
    events = _events(fleet, arguments.fixes)
    with Installation(broker, directory) as installation:
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
                batch_events = rng.choice(_BATCHES)
                with ThreadPoolExecutor(1) as hurting:
                    hurt = hurting.submit(fault, installation, rng)
                    report.accepted += asyncio.run(
                        _push(installation.ingest_url, keys, portion, batch_events)
                    )
                try:
                    hurt.result()
                    report.faults[fault.__name__] += 1
                except faults.DidNotHappenError as reason:
                    print(f"          {reason}", flush=True)
                    report.without_effect[fault.__name__] += 1
                time.sleep(rng.uniform(0, _PAUSE_S))  # some faults fall on what the last one left
                if number % _POISONED_EVERY == 0:
                    _until_calm(installation)
                    report.poison += asyncio.run(poison.produce(settings.kafka, rng))
        finally:
            reader.stop()
        report.reader_attempts, report.reader_refused = reader.attempts, reader.failed
        report.reader_breaches = reader.breaches
        report.pushed = {
            (f"{owner}/{event['vehicle_id']}", datetime.fromisoformat(event["recorded_at"]))
            for owner, event in events
        }
        calm = time.monotonic()
        _until_caught_up(installation)
        report.catch_up_s = time.monotonic() - calm
        report.unpublished = _unpublished(installation)
        asyncio.run(_compare(settings, report))
        report.restarts = installation.restarts
    report.seconds = time.monotonic() - began
    return report


def _copy(settings: Settings, name: str) -> None:
    """Copy the database, in which nothing has happened yet."""
    with psycopg.connect(settings.conninfo, dbname="postgres", autocommit=True) as server:
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
    deadline = time.monotonic() + _CALM_LIMIT_S * patience()
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
    deadline = time.monotonic() + _CALM_LIMIT_S * patience()
    while True:
        ends = asyncio.run(read_watermarks(settings.kafka, places))
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


def _unpublished(installation: Installation) -> int:
    """Return how many rows the outbox keeps back, once it has had time to send them."""
    deadline = time.monotonic() + _OUTBOX_LIMIT_S * patience()
    while True:
        with psycopg.connect(installation.settings.conninfo) as connection:
            row = connection.execute(
                "SELECT count(*) FROM outbox WHERE published_at IS NULL"
            ).fetchone()
        left: int = row[0] if row else 0
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


async def _compare(settings: Settings, report: Report) -> None:
    records = await undisturbed.read_records(settings)
    topics = Topics.named(settings.kafka.topic_prefix)
    async with open_pool(settings.conninfo) as pool:
        ours = await undisturbed.settled_rows(pool, topics)
    url = make_conninfo(settings.conninfo, dbname="undisturbed")
    theirs = await undisturbed.write(url, settings, records)
    for table, rows in ours.items():
        here, there = Counter(map(repr, rows)), Counter(map(repr, theirs[table]))
        report.rows[table] = (len(rows), (here - there).total(), (there - here).total())
    with psycopg.connect(settings.conninfo) as connection:
        stored = set(connection.execute("SELECT vehicle_id, recorded_at FROM fix").fetchall())
    report.lost = len({key for key in report.pushed if key not in stored})


@contextmanager
def _disk(directory: Path, *, own: bool) -> Iterator[Path]:
    """Yield a directory in another, on a small disk of its own if we may mount one."""
    place = directory / "disk"
    place.mkdir(mode=0o711)
    if own:
        mount = shutil.which("mount") or "mount"
        options = "size=3g,mode=711"
        subprocess.run([mount, "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        if own:
            subprocess.run([shutil.which("umount") or "umount", "-l", place], check=False)
        shutil.rmtree(place, ignore_errors=True)


def _may_mount(unshare: str, directory: Path) -> bool:
    """Try it: root within a container may not."""
    mount = [unshare, "--mount", "mount", "-t", "tmpfs", "tmpfs", str(directory)]
    return subprocess.run(mount, check=False, capture_output=True).returncode == 0


def _terminate(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)  # through every finally


def main(words: Sequence[str]) -> int:
    """Run as the command line says; return 0 when nothing differs."""
    arguments = _arguments(words)
    signal.signal(signal.SIGTERM, _terminate)
    stamina.instrumentation.set_on_retry_hooks([])  # that a vendor tries again is no news here
    unshare = shutil.which("unshare")
    with ExitStack() as exits:
        if given := os.environ.get(_OWN_MOUNTS):
            directory = Path(given)
            exits.callback(shutil.rmtree, directory, ignore_errors=True)
        else:
            directory = make_run_directory(Account.current())
            # It removes the directory however we end, and sees no mount of ours.
            reaper = exits.enter_context(Reaper(directory))
            if unshare and _may_mount(unshare, directory):
                reaper.outlive_exec()
                command = [unshare, "--mount", sys.executable, "-m", "tests.chaos", *words]
                os.execve(unshare, command, {**os.environ, _OWN_MOUNTS: str(directory)})  # noqa: S606 - no shell is wanted
            print("no right to mount a disk: the fault fill_the_disk is left out", flush=True)
        if arguments.seed is None:
            arguments.seed = random.SystemRandom().randrange(1_000_000)
        print(f"seed {arguments.seed}", flush=True)
        brokers = ("apache", "tansu") if arguments.broker == "both" else (arguments.broker,)
        good = True
        for broker in brokers:
            with _disk(directory, own=bool(given)) as place:
                report = run(broker, arguments, place, own_disk=bool(given))
            print(report.text(), flush=True)
            good = good and report.is_good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
