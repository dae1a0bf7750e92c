"""`/readyz` answers in time, whatever stands still, and is up while servers are waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from infra.embedded.process import free_port
from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker
from infra.kafka.client import create_topics
from infra.settings import Settings
from stream.process.bounded_check import BoundedCheck
from tests.integration.test_worker import processed, produce, shifts
from tests.processes import Service, wait_for, with_broker
from tests.stream_harness import enter_municipality, open_pool

pytestmark = pytest.mark.long

_ANSWERS_IN_S = 5.0
"""The checks take two seconds at most; the rest is for a machine that has other things to do."""


@pytest.fixture
def installation(database_url: str, tansu: EmbeddedBroker) -> Settings:
    """Return an installation with topics on the embedded broker."""
    settings = with_broker(database_url, tansu.bootstrap_servers, idempotence=False)
    asyncio.run(create_topics(settings.kafka))
    return settings


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """Stop a process and its children as a machine that stands still does."""
    family = [process, *process.children(recursive=True)]
    for each in family:
        each.suspend()
    try:
        yield
    finally:
        for each in family:
            if each.is_running():
                each.resume()


def postmaster(server_url: str) -> psutil.Process:
    """Return the process of the test's own database; skip where it is not ours."""
    if os.environ.get("TEST_TIMESCALE_DSN"):
        pytest.skip("a database that is not the test's own must not be frozen")
    port = int(str(conninfo_to_dict(server_url)["port"]))
    for process in psutil.Process().children():
        if any(
            net_connection.laddr.port == port and net_connection.status == "LISTEN"
            for net_connection in process.net_connections()
        ):
            return process
    raise AssertionError(f"nobody listens on {port}")


def reason(service: Service) -> str:
    """Return why a service says that it is not ready; it must say so in time."""
    asked_at = time.monotonic()
    answer = httpx.get(f"{service.url}/readyz", timeout=30)
    assert time.monotonic() - asked_at < _ANSWERS_IN_S
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    return str(answer.json()["reason"])


def is_up(service: Service) -> bool:
    """Return whether a service serves its probes, ready or not."""
    try:
        return httpx.get(f"{service.url}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False


def assert_calm(service: Service, waiting: str) -> None:
    """Check that a log has no traceback, and one line at most that tells what is waited for."""
    log = service.child.log.read_text()
    assert "Traceback" not in log
    lines = [line for line in log.splitlines() if waiting in line]
    assert len(lines) == 1, lines


@pytest.mark.parametrize("command", ["worker", "planner"])
def test_a_frozen_database_is_told_in_time_and_again_and_again(
    installation: Settings, reaper: Reaper, tmp_path: Path, server_url: str, command: str
) -> None:
    with Service(command, installation, reaper, tmp_path) as service:
        service.wait_ready()
        with frozen(postmaster(server_url)):
            for _ in range(8):
                assert "database" in reason(service)
        wait_for(service.is_ready, limit_s=30, what="ready again", who=[service])


@pytest.mark.parametrize("command", ["worker", "planner"])
def test_a_socket_that_never_answers_is_told_in_time(
    installation: Settings, reaper: Reaper, tmp_path: Path, command: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        deaf = Settings(
            database_url=f"postgresql://nobody@127.0.0.1:{port}/nothing",
            kafka=installation.kafka,
        )
        with Service(command, deaf, reaper, tmp_path) as service:
            wait_for(lambda: is_up(service), limit_s=30, what="it serves its probes")
            for _ in range(4):
                assert "database" in reason(service)


def test_workers_and_planner_wait_for_a_broker_that_comes_later(
    database_url: str, reaper: Reaper, tmp_path: Path
) -> None:
    port = free_port()
    settings = with_broker(database_url, f"127.0.0.1:{port}", idempotence=False)
    messages = shifts(vehicles=2, fixes=20, partitions=settings.kafka.partitions)

    async def enter() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)

    asyncio.run(enter())
    with ExitStack() as stack:
        worker, planner = (
            stack.enter_context(Service(name, settings, reaper, tmp_path))
            for name in ("worker", "planner")
        )
        for service in (worker, planner):
            wait_for(lambda service=service: is_up(service), limit_s=30, what="it is up")  # type: ignore[misc]
        wait_for(lambda: "kafka" in reason(worker), limit_s=30, what="the worker says why")
        assert "kafka" in reason(planner)
        time.sleep(5)  # several tries
        assert worker.child.process.poll() is None
        assert planner.child.process.poll() is None
        broker = EmbeddedBroker(tmp_path, reaper, port)
        stack.callback(broker.stop)
        asyncio.run(create_topics(settings.kafka))
        produce(settings, messages)
        wait_for(
            lambda: processed(settings) == len(messages),
            limit_s=60,
            what="all are processed",
            who=[worker],
        )
        wait_for(planner.is_ready, limit_s=30, what="the planner is ready", who=[planner])
        assert_calm(worker, "waiting")
        assert_calm(planner, "broker away")


def test_a_worker_waits_for_a_database_that_comes_later(
    installation: Settings, reaper: Reaper, tmp_path: Path, server_url: str
) -> None:
    database = conninfo_to_dict(installation.conninfo)["dbname"]
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        with Service("worker", installation, reaper, tmp_path) as worker:
            wait_for(lambda: is_up(worker), limit_s=30, what="it is up")
            assert "database" in reason(worker)
            time.sleep(8)  # several tries
            server.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
            wait_for(worker.is_ready, limit_s=60, what="ready", who=[worker])
            assert "Traceback" not in worker.child.log.read_text()


def test_a_worker_whose_broker_is_frozen_says_so(
    database_url: str, reaper: Reaper, tmp_path: Path
) -> None:
    broker = EmbeddedBroker(tmp_path, reaper)
    settings = with_broker(database_url, broker.bootstrap_servers, idempotence=False)
    asyncio.run(create_topics(settings.kafka))
    with Service("worker", settings, reaper, tmp_path) as worker:
        worker.wait_ready()
        os.kill(broker.child.process.pid, signal.SIGSTOP)
        try:
            wait_for(lambda: not worker.is_ready(), limit_s=30, what="it says not ready")
            assert "kafka" in reason(worker)
        finally:
            os.kill(broker.child.process.pid, signal.SIGCONT)
        wait_for(worker.is_ready, limit_s=60, what="ready again", who=[worker])
    broker.stop()


def test_who_asks_while_a_check_is_under_way_uses_no_second_connection() -> None:
    async def main() -> None:
        asked = 0
        answer = asyncio.Event()

        async def ask() -> str:
            nonlocal asked
            asked += 1
            await answer.wait()
            return "well"

        check = BoundedCheck(ask, 0.05)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await check()
        assert asked == 1
        answer.set()
        assert await check() == "well"

    asyncio.run(main())
