"""Real servers for the tests: a database and a broker of their own, gone when the run ends."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from infra.database.migrate import migrate
from infra.embedded.directory import Account, make_run_directory
from infra.embedded.guardian import Guardian
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.tansu import EmbeddedBroker
from infra.settings import KafkaSettings, Settings
from tests.apache_kafka.broker import ApacheKafka, apache_kafka_available

_TEMPLATE = "fleetpulse_template"


def _with_database(url: str, name: str) -> str:
    """Return the connection string with another database."""
    if "://" in url:
        head, _, query = url.partition("?")
        return head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
    return make_conninfo(**{**conninfo_to_dict(url), "dbname": name})


@pytest.fixture(scope="session")
def guardian() -> Iterator[Guardian]:
    """Whatever happens to the run, its servers end and its directory goes."""
    directory = make_run_directory(Account.current())
    with Guardian(directory) as keeper:
        yield keeper


@pytest.fixture(scope="session")
def server_url(guardian: Guardian) -> Iterator[str]:
    """Yield a superuser's connection to the server: embedded, or `TEST_TIMESCALE_DSN`."""
    given = os.environ.get("TEST_TIMESCALE_DSN")
    if given:
        yield given
        return
    server = EmbeddedPostgres(guardian.directory, guardian)
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def migrated_template(server_url: str) -> Iterator[str]:
    """Yield the name of a migrated database that tests copy."""
    name = f"{_TEMPLATE}_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        migrate(_with_database(server_url, name))
        yield name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(server_url: str, migrated_template: str) -> Iterator[str]:
    """Yield a superuser's connection to a migrated, empty database of the test's own."""
    name = f"fleetpulse_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(migrated_template)
            )
        )
        yield _with_database(server_url, name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def tansu(guardian: Guardian) -> Iterator[EmbeddedBroker]:
    """Yield the embedded broker."""
    broker = EmbeddedBroker(guardian.directory, guardian)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    """Yield the real Apache Kafka, where Java and Maven are."""
    reason = apache_kafka_available()
    if reason is not None:
        if os.environ.get("FLEETPULSE_REQUIRE_APACHE_KAFKA") == "1":
            pytest.fail(f"Apache Kafka is required here but not available: {reason}")
        pytest.skip(f"Apache Kafka is not available: {reason}")
    with ApacheKafka() as broker:
        yield broker


@pytest.fixture(params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> KafkaSettings:
    """Return settings of a running broker, with topic names of the test's own."""
    broker = request.getfixturevalue(request.param)
    return KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=f"test-{uuid.uuid4().hex[:12]}",
        session_timeout_s=6.0,
        rebalance_timeout_s=6.0,
    )


@pytest.fixture
def settings(database_url: str, kafka: KafkaSettings) -> Settings:
    """Return the settings of an installation of the test's own."""
    return Settings(
        database_url=SecretStr(database_url), kafka=kafka, ingest_port=0, worker_batch_wait_ms=20
    )
