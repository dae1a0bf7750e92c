"""A whole installation on this machine: embedded servers, ingest, workers and planner."""

from __future__ import annotations

import asyncio
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Final, Self

from pydantic import SecretStr

from infra.database.access.service_roles import Service, make_service_roles
from infra.database.connection.migrate import migrate
from infra.embedded.process import Child, ChildFailedError, free_port
from infra.embedded.servers import EmbeddedServers
from infra.kafka.client import create_topics
from infra.settings import KafkaSettings, Settings, as_environment
from stream.process.lifecycle import STOP_WITH_PARENT

_READY_LIMIT_S: Final = 60.0
_START_TRIES: Final = 3
_OURS: Final = "FLEETPULSE_"


class Stack:
    """Context of a running installation; nothing of it is left when it is left.

    Raises `ChildFailedError`, with the end of its log, when a part does not start.
    """

    def __init__(self, *, workers: int, partitions: int, extra: Mapping[str, str]) -> None:
        self._workers = workers
        self._partitions = partitions
        self._extra = extra
        self._exits = ExitStack()
        self.settings: Settings
        self.servers: EmbeddedServers
        self.ingest_url = ""
        self.documentation_url = ""
        self.worker_urls: list[str] = []
        self.children: dict[str, Child] = {}
        self.restarts = 0
        """How often a service was started again: its counters then began anew."""
        self._starts: dict[str, Callable[[], Child]] = {}
        self._role_urls: dict[Service, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self.servers = exits.enter_context(EmbeddedServers())
            kafka = KafkaSettings(
                bootstrap_servers=self.servers.broker.bootstrap_servers,
                security_protocol="PLAINTEXT",
                idempotence=False,
                partitions=self._partitions,
                session_timeout_s=6.0,
                rebalance_timeout_s=6.0,
                fetch_max_wait_ms=50,
            )
            self.settings = Settings(database_url=SecretStr(self.servers.postgres.url), kafka=kafka)
            migrate(self.settings.database_url.get_secret_value())
            asyncio.run(create_topics(kafka))
            self._role_urls = asyncio.run(
                make_service_roles(self.settings.database_url.get_secret_value())
            )
            self._start_services(exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _start_services(self, exits: ExitStack) -> None:
        """Start all, then wait for each: they start side by side."""
        ports = {"ingest": free_port(), "planner": free_port()}
        ports |= {f"worker-{number}": free_port() for number in range(1, self._workers + 1)}
        ingest_admin = free_port()
        for name, port in ports.items():
            admin_port = ingest_admin if name == "ingest" else port
            self._starts[name] = partial(self._start, name, port, admin_port)
            self.children[name] = self._starts[name]()
            exits.callback(lambda name=name: self.children[name].stop())  # type: ignore[misc]
        for name, port in ports.items():
            url = f"http://127.0.0.1:{port}"
            self.children[name].wait_until(lambda url=url: is_ready(url), limit_s=_READY_LIMIT_S)  # type: ignore[misc]
        self.ingest_url = f"http://127.0.0.1:{ports['ingest']}"
        self.documentation_url = f"http://127.0.0.1:{ingest_admin}/docs"
        self.worker_urls = [
            f"http://127.0.0.1:{port}" for name, port in ports.items() if name.startswith("worker")
        ]

    def start_again(self, name: str) -> None:
        """Start a service that has ended, where it was."""
        self.restarts += 1
        self.children[name] = self._starts[name]()

    def _start(self, name: str, port: int, admin_port: int) -> Child:
        command = name.partition("-")[0]
        return Child(
            name,
            [sys.executable, "-m", "stream.cli.main", command],
            reaper=self.servers.reaper,
            directory=self.servers.directory,
            env=self._environment(port, admin_port)
            | {"FLEETPULSE_DATABASE_URL": self._role_urls[Service(command)]},
        )

    def _environment(self, port: int, admin_port: int) -> dict[str, str]:
        """Return our environment with settings of this installation only.

        What the user has set for another installation must not leak into this one.
        """
        inherited = {name: value for name, value in os.environ.items() if not _is_ours(name)}
        ports = {"FLEETPULSE_INGEST_PORT": str(port), "FLEETPULSE_ADMIN_PORT": str(admin_port)}
        return {**inherited, **as_environment(self.settings), **ports, **self._extra}


def _is_ours(name: str) -> bool:
    return name.startswith(_OURS) and name != STOP_WITH_PARENT


def is_ready(url: str) -> bool:
    """Return whether the process at this address says that it can work."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:  # noqa: S310 - loopback
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False


__all__ = ["ChildFailedError", "Stack"]
