"""A reader of dashboards, with a fleet to see and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from infra.database.access.readers import grant_reader
from infra.database.connection.pool import make_pool
from infra.settings import Settings
from tests.dashboard_queries import DAYS
from tests.databases import Databases
from tests.grafana_sql import TimeRange
from tests.sample_fleet import (
    Connection,
    fill,
    recent_start,
    role,
)

PASSWORD = "only for the tests"  # noqa: S105 - of roles that live as long as a test


@pytest.fixture
def range_shown() -> TimeRange:
    return TimeRange(recent_start(DAYS) - timedelta(hours=2), datetime.now(UTC))


def _two_fleets(connection: Connection) -> None:
    for municipality in ("syddjurs", "favrskov"):
        fill(connection, municipality, start=recent_start(DAYS), days=DAYS)


def _no_fleet(connection: Connection) -> None:
    connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('syddjurs', 'S')")


@pytest.fixture(params=["filled", "empty"])
def filling(request: pytest.FixtureRequest) -> str:
    """Return whether there are fleets to see."""
    return str(request.param)


@pytest.fixture
def fleet_url(filling: str, databases: Databases) -> Iterator[str]:
    """Yield a superuser's connection to a database with fleets, or with next to nothing."""
    rows = _two_fleets if filling == "filled" else _no_fleet
    with databases.filled(f"{rows.__name__} since {recent_start(DAYS)}", rows) as url:
        yield url


@pytest.fixture
def reader(filling: str, fleet_url: str) -> Iterator[Connection]:
    """Yield the connection of a reader of one of them."""
    with psycopg.connect(fleet_url, autocommit=True) as owner, role(owner) as name:

        async def grant() -> None:
            settings = Settings(database_url=SecretStr(fleet_url))
            async with make_pool(settings, max_size=1) as pool:
                await grant_reader(pool, name, ["syddjurs"], PASSWORD)

        asyncio.run(grant())
        url = make_conninfo(fleet_url, user=name, password=PASSWORD)
        with psycopg.connect(url, autocommit=True) as connection:
            # Nothing on the search path: a query must say whose table it means.
            connection.execute("SET search_path = ''")
            connection.execute("SELECT set_config('test.filled', %s, false)", [filling])
            yield connection
