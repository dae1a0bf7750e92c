"""A restored backup catches up from Kafka by itself: its rows and progress belong together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from infra.embedded.reaper import Reaper
from infra.kafka.client import create_topics
from infra.settings import Settings
from tests.integration.test_worker import processed, produce, shifts, wait_for_all, worker
from tests.stream_harness import derived, enter_municipality, open_pool


@pytest.fixture
def installation(settings: Settings) -> Settings:
    """Return an installation with its topics and one municipality."""

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(settings.conninfo) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    return settings


@pytest.fixture
def backup(installation: Settings, server_url: str) -> Iterator[Settings]:
    """Yield settings of a database that the test makes, a copy as a backup restores it."""
    with psycopg.connect(installation.conninfo) as connection:
        name = f"{connection.info.dbname}_restored"
    url = installation.database_url.get_secret_value()
    yield installation.model_copy(
        update={"database_url": SecretStr(url.replace(name.removesuffix("_restored"), name))}
    )
    with psycopg.connect(server_url, autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        connection.execute(drop.format(sql.Identifier(name)))


def test_a_restored_backup_catches_up_to_the_same_rows(
    installation: Settings, backup: Settings, server_url: str, reaper: Reaper, tmp_path: Path
) -> None:
    messages = shifts(vehicles=4, fixes=80, partitions=installation.kafka.partitions)
    before, after = messages[: len(messages) // 2], messages[len(messages) // 2 :]
    produce(installation, before)
    with worker(installation, reaper, tmp_path) as service:
        wait_for_all(installation, before, service)
    _copy(installation, backup, server_url)
    produce(installation, after)
    with worker(installation, reaper, tmp_path) as service:
        wait_for_all(installation, messages, service)
    assert processed(backup) == len(before), "the backup knows nothing of what came after it"
    with worker(backup, reaper, tmp_path) as service:
        wait_for_all(backup, messages, service)
    assert _rows(backup) == _rows(installation)


def _copy(source: Settings, target: Settings, server_url: str) -> None:
    names = []
    with psycopg.connect(source.conninfo) as connection:
        names.append(connection.info.dbname)
    names.append(target.database_url.get_secret_value().partition("?")[0].rpartition("/")[2])
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(names[1]), sql.Identifier(names[0])
            )
        )


def _rows(settings: Settings) -> list[tuple[object, ...]]:
    async def main() -> list[tuple[object, ...]]:
        async with open_pool(settings.conninfo) as pool:
            return await derived(pool)

    return asyncio.run(main())
