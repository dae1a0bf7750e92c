"""Our own processes, started as a supervisor would start them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Self

import httpx
import psutil
from pydantic import SecretStr

from infra.embedded.process import Child, free_port
from infra.embedded.reaper import Reaper
from infra.settings import KafkaSettings, Settings, as_environment
from tests.forked_commands import run_forked
from tests.patience import patience

# With a client of its own, each of the many probes would read all certificates of the world.
_PROBES = httpx.Client(
    verify=False,  # noqa: S501 - plain HTTP, on loopback
    limits=httpx.Limits(max_keepalive_connections=0),
)


def inherited() -> dict[str, str]:
    """Return our own environment, less what whoever runs the tests has set of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FLEETPULSE_")}


def environment(settings: Settings, **extra: str) -> dict[str, str]:
    """Return an environment that gives a process these settings."""
    return {**inherited(), **as_environment(settings), **extra}


def command(*words: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours with these variables, to its end."""
    environment = {**inherited(), "COLUMNS": "200", **variables}
    return run_forked(words, environment, stdin, limit_s=60 * patience())


def started_command(
    *words: str, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run it as a shell does, in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-m", "stream.cli.main", *words],
        cwd=Path(__file__).parents[1],
        env={**inherited(), "COLUMNS": "200", **variables},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60 * patience(),
    )


class Service:
    """One process of ours and where its probes are; as a context it is stopped at the end."""

    def __init__(
        self, command: str, settings: Settings, reaper: Reaper, directory: Path, **extra: str
    ) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        admin_port = free_port() if command == "ingest" else port
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.child = Child(
            f"{command}-{port}",
            [sys.executable, "-m", "stream.cli.main", command],
            reaper=reaper,
            directory=directory,
            env=environment(
                settings,
                FLEETPULSE_ADMIN_PORT=str(admin_port),
                FLEETPULSE_INGEST_PORT=str(port),
                **extra,
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self.child.process.pid

    def is_ready(self) -> bool:
        """Return whether the process says that it can work."""
        try:
            return _PROBES.get(f"{self.url}/readyz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_ready(self) -> None:
        """Wait until the process can work."""
        self.child.wait_until(self.is_ready, limit_s=60)

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        self.child.process.kill()
        self.child.process.wait()

    def stop(self) -> None:
        """Ask it to stop, and wait."""
        self.child.stop(limit_s=20)


def wait_for(
    condition: Callable[[], bool], *, limit_s: float, what: str, who: Sequence[Service] = ()
) -> None:
    """Wait until something holds, longer on a crowded machine.

    Raises `AssertionError` with what did not, and with logs.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > limit_s * patience():
            logs = "\n".join(f"-- {name.child.name}\n{name.child.tail()}" for name in who)
            raise AssertionError(f"not within {limit_s:g} s: {what}\n{logs}")
        time.sleep(0.1)


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, *, limit_s: float = 20.0
) -> None:
    """Ask until the answer is yes."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while not await condition():
        assert clock() - began < limit_s * patience(), f"not within {limit_s:g} s: {what}"
        await asyncio.sleep(0.05)


def with_broker(database_url: str, bootstrap_servers: str, *, idempotence: bool) -> Settings:
    """Return the settings of an installation that uses this broker."""
    return Settings(
        database_url=SecretStr(database_url),
        kafka=KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            topic_prefix=f"test-{uuid.uuid4().hex[:12]}",
            idempotence=idempotence,
        ),
    )


def process_of_broker(settings: Settings) -> psutil.Process:
    """Return the process that listens where the broker of these settings is."""
    port = int(settings.kafka.bootstrap_servers.rpartition(":")[2])
    (process,) = (
        child
        for child in psutil.Process().children()
        if port
        in {
            net_connection.laddr.port
            for net_connection in child.net_connections()
            if net_connection.status == "LISTEN"
        }
    )
    return process
