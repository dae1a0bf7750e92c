"""An installation of ours on embedded servers, for the benches."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from pydantic import SecretStr

from infra.embedded.process import Child, free_port
from infra.embedded.servers import EmbeddedServers
from infra.settings import KafkaSettings, Settings, as_environment

PARTITIONS: Final = 4
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

    def prepare(self) -> None:
        """Empty what a stream writes."""
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "TRUNCATE fix, segment, trip, idle_interval, round_trip, usage_hour, "
                "vehicle_state, vehicle_checkpoint, stream_progress, outbox, dead_letter"
            )
