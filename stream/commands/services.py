"""The processes of an installation: migrate, ingest, worker, planner."""

from __future__ import annotations

import asyncio
from typing import Annotated

import structlog
import typer

from infra.database.migrate import migrate as migrate_database
from infra.kafka import create_topics
from infra.settings import Settings
from stream import process
from stream.health import serving
from stream.ingest.app import make_app
from stream.planner import run_planner
from stream.worker.run import run_worker

_log = structlog.get_logger(__name__)


def migrate() -> None:
    """Bring the database to the newest schema and create the Kafka topics; safe to repeat."""
    settings = Settings()
    migrate_database(settings.database_url.get_secret_value())
    asyncio.run(create_topics(settings.kafka))
    typer.echo("database and topics are up to date")


def ingest(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
) -> None:
    """Serve POST /v1/events for the vendors, with /docs, /healthz, /readyz and /metrics."""
    settings = Settings()

    async def main(stop: asyncio.Event) -> None:
        async with serving(
            make_app(settings),
            host or settings.ingest_host,
            settings.ingest_port if port is None else port,
        ) as actual:
            _log.info("ingest listens", port=actual)
            await stop.wait()

    process.run(main)


def worker() -> None:
    """Turn fixes into timelines, trips and usage; start as many as there are partitions."""
    settings = Settings()
    process.run(lambda stop: run_worker(settings, stop))


def planner() -> None:
    """Propose where vehicles should stand: on schedule, on drift and on request."""
    settings = Settings()
    process.run(lambda stop: run_planner(settings, stop))
