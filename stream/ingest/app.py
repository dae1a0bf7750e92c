"""The gateway as two applications: the vendors' door, and what operators ask, on another port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from infra.database.connection.pool import make_pool
from infra.settings import Settings
from stream.ingest.http.connections import connections
from stream.ingest.http.endpoint import Door
from stream.ingest.http.openapi import openapi
from stream.ingest.http.openapi_page import page
from stream.ingest.limits.api_keys import Keys
from stream.ingest.limits.new_vehicles import Newcomers
from stream.ingest.limits.other_vendors import OtherVendors
from stream.ingest.producer import Gateway
from stream.process.health import ReadinessCheck, add_probes, first_of, operators_app, serving

_CONNECTIONS = 3
"""To the database: for keys, for vehicles, and one to spare."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a gateway listens."""

    vendors: int
    admin: int | None


@asynccontextmanager
async def running(
    settings: Settings, host: str, port: int, admin_port: int | None
) -> AsyncIterator[Ports]:
    """Run a gateway; yields its ports. It listens at once, and waits for Kafka and the database.

    Raises `OSError` when an address is taken.
    """
    pool = make_pool(settings, max_size=_CONNECTIONS)
    gateway, keys = Gateway(settings), Keys(pool)
    newcomers = Newcomers(pool, settings.max_new_vehicles_per_day)

    async def of_keys() -> str | None:
        await keys.refresh(allowed_age_s=1.0)
        return keys.problem

    problem = first_of(of_keys, gateway.check)
    door = Door(settings, keys, gateway, newcomers, OtherVendors(pool), problem)
    await pool.open()
    try:
        async with (
            serving(door, host, port, connections(settings.ingest_max_connections)) as vendors,
            _admin(operators(settings, problem), settings.admin_host, admin_port) as admin,
        ):
            await gateway.start()
            await keys.refresh()
            yield Ports(vendors, admin)
    finally:
        await gateway.stop()
        door.close()
        await pool.close()


@asynccontextmanager
async def _admin(app: FastAPI, host: str, port: int | None) -> AsyncIterator[int | None]:
    if port is None:
        yield None
        return
    async with serving(app, host, port) as actual:
        yield actual


def operators(settings: Settings, problem: ReadinessCheck) -> FastAPI:
    """Return what operators ask: probes with reasons, metrics, and the vendors' documentation."""
    app = operators_app("fleetpulse ingest, for operators")
    add_probes(app, problem)
    document = openapi(settings.max_request_bytes)
    html = page(document)

    @app.get("/openapi.json")
    async def openapi_document() -> dict[str, Any]:
        """Return what vendors may send, for programs."""
        return document

    @app.get("/docs", response_class=HTMLResponse)
    async def docs() -> str:
        """Return what vendors may send, for people."""
        return html

    return app
