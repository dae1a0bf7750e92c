"""An installation of ours on embedded servers, for the benches."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import psycopg
from pydantic import SecretStr

from infra.embedded.process import Child, free_port
from infra.embedded.servers import EmbeddedServers
from infra.settings import KafkaSettings, Settings, as_environment

PARTITIONS: Final = 4
_LIMIT_S: Final = 300.0


class Cpu(NamedTuple):
    """Seconds of a core."""

    program: float = 0.0
    database: float = 0.0
    broker: float = 0.0

    def since(self, before: Cpu) -> Cpu:
        """Return what was taken since then."""
        return Cpu(*(now - then for now, then in zip(self, before, strict=True)))

    def over(self, count: float) -> Cpu:
        """Return the share of each of so many."""
        return Cpu(*(seconds / count for seconds in self))

    def figures(self, prefix: str, suffix: str) -> dict[str, float]:
        """Return microseconds by name."""
        return {
            f"{prefix}_{name}_cpu_us{suffix}": 1e6 * seconds
            for name, seconds in self._asdict().items()
        }


class Rate(NamedTuple):
    """How many a second, and the processor time of each."""

    per_s: float
    cpu: Cpu


def children_cpu_s(name: str) -> float:
    """Return what processes of ours whose name begins so have taken, those that ended among them.

    In steps of a clock's tick, 10 ms. Raises `RuntimeError` where there is none.
    """
    taken, count = 0.0, 0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            if process.name().startswith(name):  # the ended ones are with their parent
                count += 1
                taken += times.user + times.system + times.children_user + times.children_system
    if not count:
        raise RuntimeError(f"no process is called {name} any more: mend this count")
    return taken


@dataclass(frozen=True)
class Bench:
    """Servers and where they are."""

    servers: EmbeddedServers
    url: str

    def settings(self, prefix: str) -> Settings:
        """Return the settings of an installation of its own, with topics of this prefix."""
        return Settings(
            database_url=SecretStr(self.url),
            max_events_per_s=1e9,
            max_new_vehicles_per_day=1_000_000,
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
        admin_port = free_port() if command == "ingest" else port
        ports = {"FLEETPULSE_ADMIN_PORT": str(admin_port), "FLEETPULSE_INGEST_PORT": str(port)}
        return self.child(
            f"{command}-{port}",
            ["-m", "stream.cli.main", command],
            as_environment(settings) | ports,
        ), f"http://127.0.0.1:{port}"

    def child(self, name: str, arguments: Sequence[str], variables: dict[str, str]) -> Child:
        """Start a Python process."""
        root = str(Path(__file__).parents[1])
        return Child(
            name,
            [sys.executable, *arguments],
            reaper=self.servers.reaper,
            directory=self.servers.directory,
            env={**os.environ, "PYTHONPATH": root, **variables},
        )

    def number(self, query: str) -> int:
        """Return a number from the database."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode()).fetchone()
        return 0 if row is None else int(row[0])

    def rate(self, total: int, query: str, child: Child) -> Rate:
        """Return how many a second came, from the first seen to the last, and at what cost."""
        deadline = time.monotonic() + _LIMIT_S
        with psycopg.connect(self.url, autocommit=True) as connection:  # kept: a new one costs both
            began_at, began, spent = 0.0, 0, Cpu()
            while True:
                row = connection.execute(query.encode()).fetchone()
                done = 0 if row is None else int(row[0])
                now = time.monotonic()
                if done and not began:
                    began_at, began, spent = now, done, self.cpu(child.process.pid)
                if done >= total:
                    if done == began:
                        raise RuntimeError(f"all {total} were there at once: nothing to measure")
                    cpu = self.cpu(child.process.pid).since(spent).over(done - began)
                    return Rate((done - began) / (now - began_at), cpu)
                if now > deadline or child.process.poll() is not None:
                    raise RuntimeError(f"{done} of {total} after {_LIMIT_S:g} s:\n{child.tail()}")
                time.sleep(0.05)

    def cpu(self, pid: int) -> Cpu:
        """Return what a process, the database and the broker have taken until now."""
        times = psutil.Process(pid).cpu_times()
        return Cpu(times.user + times.system, children_cpu_s("postgres"), children_cpu_s("tansu"))

    def prepare(self) -> None:
        """Empty what a stream writes."""
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "TRUNCATE fix, segment, trip, idle_interval, round_trip, usage_hour, "
                "vehicle_state, vehicle_checkpoint, stream_progress, outbox, dead_letter"
            )
