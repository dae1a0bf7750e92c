"""A reader of dashboards, with a fleet to see and without one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from infra.database.pool import make_pool
from infra.database.readers import grant_reader
from infra.grafana.sql import TimeRange
from infra.settings import Settings
from tests.dashboard_queries import DAYS
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


@pytest.fixture(params=["filled", "empty"])
def reader(request: pytest.FixtureRequest, database_url: str) -> Iterator[Connection]:
    """Yield a reader's connection; the fleet of the municipality is filled in, or not there."""
    with psycopg.connect(database_url, autocommit=True) as owner, role(owner) as name:
        if request.param == "filled":
            for municipality in ("syddjurs", "favrskov"):
                fill(owner, municipality, start=recent_start(DAYS), days=DAYS)
        else:
            owner.execute(
                "INSERT INTO municipality (municipality_id, name) VALUES ('syddjurs', 'S')"
            )

        async def grant() -> None:
            settings = Settings(database_url=SecretStr(database_url))
            async with make_pool(settings, max_size=1) as pool:
                await grant_reader(pool, name, ["syddjurs"], PASSWORD)

        asyncio.run(grant())
        url = make_conninfo(database_url, user=name, password=PASSWORD)
        with psycopg.connect(url, autocommit=True) as connection:
            # Nothing on the search path: a query must say whose table it means.
            connection.execute("SET search_path = ''")
            connection.execute("SELECT set_config('test.filled', %s, false)", [request.param])
            yield connection
