"""Brokers that a test may kill."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker
from infra.kafka.client import create_topics
from infra.settings import Settings
from tests.apache_kafka.broker import ApacheKafka, apache_kafka_available
from tests.processes import with_broker
from tests.stream_harness import enter_municipality, open_pool
from tests.study_town import enter_town


@pytest.fixture(params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def mortal(
    request: pytest.FixtureRequest, database_url: str, reaper: Reaper, tmp_path: Path
) -> Iterator[Settings]:
    """Yield an installation with a broker of its own, which the test may kill."""
    broker: EmbeddedBroker | ApacheKafka
    with ExitStack() as stack:
        if request.param == "tansu":
            broker = EmbeddedBroker(tmp_path, reaper)
            stack.callback(broker.stop)
        else:
            if (reason := apache_kafka_available()) is not None:
                pytest.skip(reason)
            broker = stack.enter_context(ApacheKafka())
        yield with_broker(
            database_url, broker.bootstrap_servers, idempotence=request.param != "tansu"
        )


@pytest.fixture
def installation(settings: Settings) -> Settings:
    """Return an installation with its topics and two municipalities."""

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            await enter_municipality(pool)
            await enter_municipality(pool, "roskilde")

    asyncio.run(main())
    return settings


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have commands that are run within the test find its database, and say all in one line."""
    monkeypatch.setenv("FLEETPULSE_DATABASE_URL", database_url)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.delenv("FLEETPULSE_TRAVEL_SERVICE", raising=False)


@pytest.fixture
def town(database_url: str) -> str:
    """Return a database in which two cars of the hall and one of the school drive alike, daily."""
    enter_town(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO reader_access VALUES (current_user, 'm')")
    return database_url
