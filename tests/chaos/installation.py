"""An installation of its own that can be hurt: servers, services, and who starts them again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import psutil
import psycopg
from pydantic import SecretStr

from infra.database.access.service_roles import Service, make_service_roles
from infra.database.connection.migrate import migrate
from infra.embedded.directory import Account
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import Child, free_port
from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker
from infra.kafka.client import create_topics
from infra.settings import KafkaSettings, Settings
from tests.apache_kafka.broker import ApacheKafka
from tests.processes import environment

SESSION_S: Final = 6.0
"""After so long in silence a worker loses its partitions, and its database sessions."""
_SUPERVISOR_POLL_S: Final = 0.5
_START_LIMIT_S: Final = 60.0
_ORPHANS_S: Final = 3.0
SERVICES: Final = ("ingest", "worker-1", "worker-2", "planner")


class Installation:
    """Broker, database, ingest, two workers and a planner; what dies is started again.

    A context: no process and no file is left when it is left.
    """

    def __init__(self, broker: str, directory: Path) -> None:
        self._broker_kind = broker
        self._directory = directory
        self._exits = ExitStack()
        self._children: dict[str, tuple[Child, dict[str, Any]]] = {}
        self._lock = threading.RLock()
        self._watching = threading.Event()
        self.restarts = 0
        self.settings: Settings
        self._role_urls: dict[Service, str] = {}
        self.ingest_url = ""

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._guardian = exits.enter_context(Reaper(self._directory))
            self._postgres = EmbeddedPostgres(self._directory, self._guardian)
            self._children["postgres"] = (
                self._postgres._child,  # noqa: SLF001 - who hurts it needs to know it
                {"options": Account.current().popen_options()},
            )
            servers, broker = self._start_broker(exits)
            self._children["broker"] = (broker, {})
            kafka = KafkaSettings(
                bootstrap_servers=servers,
                idempotence=self._broker_kind == "apache",
                session_timeout_s=SESSION_S,
                rebalance_timeout_s=SESSION_S,
                fetch_max_wait_ms=50,
            )
            self.settings = Settings(database_url=SecretStr(self._postgres.url), kafka=kafka)
            migrate(self.settings.conninfo)
            asyncio.run(create_topics(kafka))
            self._role_urls = asyncio.run(_make_service_roles(self.settings))
            self._start_services()
            supervisor = threading.Thread(target=self._supervise, name="supervisor")
            supervisor.start()
            exits.callback(supervisor.join)
            exits.callback(self._watching.set)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.set()
        for name in reversed(SERVICES):
            self.resume(name)
            self._children[name][0].stop()
        self._exits.close()

    def _start_broker(self, exits: ExitStack) -> tuple[str, Child]:
        if self._broker_kind == "apache":
            kafka = exits.enter_context(ApacheKafka())
            return kafka.bootstrap_servers, kafka._child  # noqa: SLF001 - as above
        broker = EmbeddedBroker(self._directory, self._guardian)
        return broker.bootstrap_servers, broker._child  # noqa: SLF001 - as above

    def _start_services(self) -> None:
        ports = {name: free_port() for name in SERVICES}
        for name, port in ports.items():
            self._start(name, port)
        self.ingest_url = f"http://127.0.0.1:{ports['ingest']}"

    def _start(self, name: str, port: int) -> None:
        command = name.partition("-")[0]
        env = environment(
            self.settings,
            FLEETPULSE_DATABASE_URL=self._role_urls[Service(command)],
            FLEETPULSE_ADMIN_PORT=str(free_port() if name == "ingest" else port),
            FLEETPULSE_INGEST_PORT=str(port),
            # Rows that no fix brings about are settled by us, in both databases, at the end.
            FLEETPULSE_HOUSEKEEPING_INTERVAL_S="86400",
        )
        kwargs = {"env": env}
        child = Child(
            name,
            [sys.executable, "-m", "stream.cli.main", command],
            reaper=self._guardian,
            directory=self._directory,
            **kwargs,
        )
        self._children[name] = (child, kwargs)

    @contextmanager
    def another_worker(self) -> Iterator[None]:
        """Run a third worker for a while: partitions go to it, and come back."""
        with self._lock:
            self._start("worker-3", free_port())
        try:
            yield
        finally:
            with self._lock:
                child, _ = self._children.pop("worker-3")
                child.stop()

    def process(self, name: str) -> psutil.Process:
        """Return the present process of a server or service."""
        with self._lock:
            return psutil.Process(self._children[name][0].process.pid)

    def log(self, name: str) -> str:
        """Return what a server or service has logged, over all its lives."""
        return self._children[name][0].log.read_text(errors="replace")

    def family(self, name: str) -> list[psutil.Process]:
        """Return a process and all its children."""
        try:
            process = self.process(name)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def send(self, name: str, how: signal.Signals) -> None:
        """Send a signal to a process and its children; those that are gone are passed over."""
        for process in self.family(name):
            try:
                os.kill(process.pid, how)
            except ProcessLookupError:
                continue

    def freeze(self, name: str, seconds: float) -> None:
        """Let a process, and its children, stand still for so long."""
        self.send(name, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self.resume(name)

    def resume(self, name: str) -> None:
        """Let it go on."""
        self.send(name, signal.SIGCONT)

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End a process; the supervisor starts it again."""
        with self._lock:
            process = self._children[name][0].process
        if process.poll() is None:
            process.send_signal(how)

    def _supervise(self) -> None:
        """Start again what has died, as a supervisor would."""
        while not self._watching.wait(_SUPERVISOR_POLL_S):
            with self._lock:
                for name, (child, kwargs) in list(self._children.items()):
                    if child.process.poll() is None:
                        continue
                    self.restarts += 1
                    self._end_orphans(name)
                    again = Child(
                        child.name,
                        child.process.args,  # type: ignore[arg-type]
                        reaper=self._guardian,
                        directory=child.log.parent,
                        **kwargs,
                    )
                    self._children[name] = (again, kwargs)

    def _end_orphans(self, name: str) -> None:
        """End the children of a killed database server, as a supervisor does: they hold its files.

        Most end by themselves. One that counts for a reader does not look whether its server lives.
        """
        if name != "postgres":
            return
        home = self._directory / "postgres"
        began = time.monotonic()
        while orphans := [process for process in psutil.process_iter() if _works_in(process, home)]:
            if time.monotonic() > began + _START_LIMIT_S:
                raise AssertionError(f"processes of a killed database remain: {orphans}")
            if time.monotonic() > began + _ORPHANS_S:
                for orphan in orphans:
                    with suppress(psutil.NoSuchProcess):
                        orphan.kill()
            time.sleep(0.1)
        (home / "data" / "postmaster.pid").unlink(missing_ok=True)

    def answers(self) -> bool:
        """Return whether broker and database answer."""
        host, _, port = self.settings.kafka.bootstrap_servers.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            with psycopg.connect(self.settings.conninfo, connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except (OSError, psycopg.Error):
            return False
        return True

    @property
    def directory(self) -> Path:
        """Where the database's files are."""
        return self._directory


async def _make_service_roles(settings: Settings) -> dict[Service, str]:
    return await make_service_roles(settings.database_url.get_secret_value())


def _works_in(process: psutil.Process, place: Path) -> bool:
    try:
        return process.cwd().startswith(str(place))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
