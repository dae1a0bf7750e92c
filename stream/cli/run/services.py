"""The processes of an installation: migrate, ingest, worker, planner."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Annotated

import typer

from infra.settings import Settings
from stream.process import lifecycle


def migrate() -> None:
    """Upgrade the database to the newest schema and create the Kafka topics. Safe to repeat."""
    from infra.database.connection.migrate import migrate as migrate_database
    from infra.kafka.client import create_topics

    settings = Settings()
    migrate_database(settings.conninfo)
    asyncio.run(create_topics(settings.kafka))
    typer.echo("database and topics are up to date")


def ingest(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 takes a free port.")
    ] = None,
) -> None:
    """Serve POST /v1/events for vendors, and /docs and /metrics on FLEETPULSE_ADMIN_PORT."""
    import uvloop

    from stream.ingest.app import running

    settings = Settings()
    # These repeat at each try that somebody is away. The gateway says so itself, once.
    for library in ("aiokafka", "psycopg.pool"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    # Anybody can send what is no HTTP, as often as he likes.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    async def main(stop: asyncio.Event) -> None:
        vendors_port = settings.ingest_port if port is None else port
        async with running(
            settings, host or settings.ingest_host, vendors_port, settings.admin_port
        ) as ports:
            typer.echo(f"ingest listens on port {ports.vendors}", err=True)
            await stop.wait()

    lifecycle.run(main, uvloop.new_event_loop)


def worker() -> None:
    """Turn positions into timelines, trips and usage. Start at most one per partition."""
    from stream.worker.run import run_worker

    settings = Settings()
    lifecycle.run(lambda stop: run_worker(settings, stop))


def planner() -> None:
    """Propose where vehicles should stand: on schedule, on drift and on request."""
    from infra.database.connection.pool import make_pool
    from stream.planner.run import run_planner
    from stream.process.health import broker_check, database_problem, first_of, probes

    settings = Settings()

    async def main(stop: asyncio.Event) -> None:
        async with make_pool(settings, max_size=1) as pool:
            problem = first_of(partial(database_problem, pool), broker_check(settings.kafka))
            async with probes(problem, settings.admin_host, settings.admin_port):
                await run_planner(settings, stop)

    lifecycle.run(main)
