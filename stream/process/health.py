"""Probes and metrics that every process of ours serves: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

import psycopg
import uvicorn
from aiokafka.errors import KafkaError
from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from psycopg_pool import PoolTimeout

from infra.database.connection.pool import Pool
from infra.kafka.client import read_cluster_id
from infra.settings import KafkaSettings
from stream.process.bounded_check import BoundedCheck

ReadinessCheck = Callable[[], Awaitable[str | None]]
"""Says why the process is not ready, or None."""

READY: Final = Gauge(
    "fleetpulse_ready", "1 if the last answer of /readyz was ready, else 0; NaN before it is asked"
)
READY.set(math.nan)
_LIMIT_S: Final = 2.0
"""Of a whole check: who probes a process waits no longer than some seconds."""


_database_checks: Final[WeakKeyDictionary[Pool, BoundedCheck[None]]] = WeakKeyDictionary()
_KEEP_ALIVE_S: Final = 60
_SHUTDOWN_S: Final = 15
"""For requests that are under way: longer than Kafka is waited for, shorter than supervisors do."""
_BACKLOG: Final = 2_048


async def database_problem(pool: Pool) -> str | None:
    """Return why the database cannot be used, or None: it answers and knows our tables.

    Returns within two seconds, and uses one connection of the pool at most, also while the
    database takes questions and never answers.
    """
    check = _database_checks.get(pool)
    if check is None:
        # Only weakly: the check must not keep the pool that it is found by.
        check = BoundedCheck(partial(_ask_database, ref(pool)), _LIMIT_S)
        _database_checks[pool] = check
    try:
        await check()
    except (psycopg.Error, PoolTimeout, OSError) as away:
        return f"database: {away}"
    return None


async def _ask_database(reference: ref[Pool]) -> None:
    pool = reference()
    if pool is not None:
        async with pool.connection(timeout=_LIMIT_S) as connection:
            await connection.execute("SELECT 1 FROM plan LIMIT 1")


def broker_check(settings: KafkaSettings) -> ReadinessCheck:
    """Return a check of the broker, which says within two seconds why it cannot be used."""
    check = BoundedCheck(partial(read_cluster_id, settings), _LIMIT_S)

    async def problem() -> str | None:
        try:
            await check()
        except (KafkaError, OSError) as away:
            return f"kafka: {away}"
        return None

    return problem


def first_of(*problems: ReadinessCheck) -> ReadinessCheck:
    """Return a check that asks all of these at once and tells the first one's problem."""

    async def problem() -> str | None:
        answers = await asyncio.gather(*(ask() for ask in problems))
        return next((answer for answer in answers if answer is not None), None)

    return problem


def operators_app(title: str) -> FastAPI:
    """Return an application without pages: FastAPI's load scripts from the internet."""
    return FastAPI(
        title=title, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )


def add_probes(app: FastAPI, problem: ReadinessCheck) -> None:
    """Add the probes to an application."""

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> dict[str, str]:
        """Say that the process is alive."""
        return {"status": "alive"}

    @app.get("/readyz", tags=["operation"], responses={503: {"description": "Not ready, and why"}})
    async def readyz(response: Response) -> dict[str, str]:
        """Say whether the process can do its work now."""
        reason = await problem()
        READY.set(reason is None)
        if reason is None:
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "not ready", "reason": reason}

    @app.get("/metrics", tags=["operation"], response_class=Response)
    async def metrics() -> Response:
        """Return the metrics in Prometheus's text format."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process it lives in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take no signal."""
        yield


@asynccontextmanager
async def serving(
    app: Callable[..., Any],
    host: str,
    port: int,
    connection: type[asyncio.Protocol] | None = None,
) -> AsyncIterator[int]:
    """Serve an application beside other work in this loop; yields the port.

    `connection` is what uvicorn makes of each connection, unless its own will do. Raises `OSError`
    when the address is taken.
    """
    listener = socket.create_server((host, port), reuse_port=False, backlog=_BACKLOG)
    server = _Server(
        uvicorn.Config(
            app,
            http=connection or "httptools",
            ws="none",
            log_config=None,
            lifespan="off",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_SHUTDOWN_S,
            backlog=_BACKLOG,
        )
    )
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            if task.done():
                await task
                raise RuntimeError("the HTTP server ended before it had started; see its log")
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def probes(problem: ReadinessCheck, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Serve only the probes; does nothing without a port."""
    if port is None:
        yield None
        return
    app = operators_app("fleetpulse probes")
    add_probes(app, problem)
    async with serving(app, host, port) as actual:
        yield actual
