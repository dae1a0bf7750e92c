"""Real servers for the tests: a database and a broker of their own, gone when the run ends."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from infra.database.migrate import migrate
from infra.embedded.directory import Account, make_run_directory
from infra.embedded.guardian import Guardian
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.tansu import EmbeddedBroker
from infra.settings import KafkaSettings, Settings
from tests.apache_kafka.broker import ApacheKafka, apache_kafka_available

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background has us ignore interrupts, and all that we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _with_database(url: str, name: str) -> str:
    """Return the connection string with another database."""
    if "://" in url:
        head, _, query = url.partition("?")
        return head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
    return make_conninfo(url, dbname=name)


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
def migrated_template(server_url: str) -> Iterator[str | None]:
    """Yield the name of a migrated database that tests copy.

    None on a given server: TimescaleDB's background workers stay connected to each database, and
    a database with connections cannot be copied. There each test migrates its own.
    """
    if os.environ.get("TEST_TIMESCALE_DSN"):
        yield None
        return
    name = f"fleetpulse_template_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        migrate(_with_database(server_url, name))
        yield name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database_url(server_url: str, migrated_template: str | None) -> Iterator[str]:
    """Yield a superuser's connection to a migrated, empty database of the test's own."""
    name = f"fleetpulse_test_{uuid.uuid4().hex[:12]}"
    template = migrated_template or "template0"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
        try:
            if migrated_template is None:
                migrate(_with_database(server_url, name))
            yield _with_database(server_url, name)
        finally:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture(scope="session")
def tansu(guardian: Guardian) -> Iterator[EmbeddedBroker]:
    """Yield the embedded broker."""
    broker = EmbeddedBroker(guardian.directory, guardian)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    """Yield the real Apache Kafka; skip where it cannot run, fail where it is required."""
    reason = apache_kafka_available()
    if reason is not None:
        if os.environ.get("FLEETPULSE_REQUIRE_APACHE_KAFKA") == "1":
            pytest.fail(f"{reason}; FLEETPULSE_REQUIRE_APACHE_KAFKA=1 asks for Apache Kafka")
        pytest.skip(reason)
    with ApacheKafka() as broker:
        yield broker


@pytest.fixture(params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> KafkaSettings:
    """Return settings of a running broker, with topic names of the test's own."""
    broker = request.getfixturevalue(request.param)
    return KafkaSettings(
        bootstrap_servers=broker.bootstrap_servers,
        topic_prefix=f"test-{uuid.uuid4().hex[:12]}",
        idempotence=request.param != "tansu",
        session_timeout_s=6.0,
        rebalance_timeout_s=6.0,
        fetch_max_wait_ms=50,
    )


@pytest.fixture
def settings(database_url: str, kafka: KafkaSettings) -> Settings:
    """Return the settings of an installation of the test's own."""
    return Settings(
        database_url=SecretStr(database_url), kafka=kafka, ingest_port=0, worker_batch_wait_ms=20
    )
