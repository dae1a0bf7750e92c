"""Real servers for the tests: a database and a broker of their own, gone when the run ends."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis.configuration import set_hypothesis_home_dir
from pydantic import SecretStr

from infra.embedded.directory import Account, make_run_directory
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker
from infra.settings import KafkaSettings, Settings
from tests.apache_kafka.broker import ApacheKafka, apache_kafka_available
from tests.databases import Databases
from tests.days import DAY
from tests.patience import patience

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background has us ignore interrupts, and all that we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nor under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


set_hypothesis_home_dir(Path(__file__).parents[1] / ".cache" / "hypothesis")
# Whether drawing examples is slow depends on who else is at work: that is no fault of a test.
hypothesis.settings.register_profile("ours", suppress_health_check=[HealthCheck.too_slow])
hypothesis.settings.load_profile("ours")

# Its default draws each traceback with the source and the variables of each frame around it: that
# took seconds of a test in which the database refuses again and again.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)


def pytest_report_header() -> str:
    """Say what repeats this run."""
    return f"TEST_DAY={DAY}"


def _limit_s(config: pytest.Config) -> float:
    """Return how long a test, its set-up or its end may take now; 0: as long as it likes."""
    given = config.getoption("timeout")
    limit_s = float(config.getini("timeout") if given is None else given)
    return limit_s * patience()


@contextmanager
def _limited(item: pytest.Item, phase: str) -> Iterator[None]:
    """Fail what takes too long before or after a test: the timeout is of the test itself only."""
    limit_s = _limit_s(item.config)
    if not limit_s:
        yield
        return

    def expire(*_: object) -> None:
        pytest.fail(f"{phase} took longer than {limit_s:.0f} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Give a test more time on a crowded machine, and its set-up a limit, too."""
    if item.config.getoption("timeout") is None and item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(_limit_s(item.config)))
    with _limited(item, "set-up"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Limit what comes after a test."""
    with _limited(item, "the end"):
        return (yield)


@pytest.hookimpl(trylast=True)  # when those that are not to run are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest: each worker takes a run of neighbours, in this order."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long") is not None]
    others = [item for item in items if item.get_closest_marker("long") is None]
    share = -(-len(others) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*long[worker::workers], *others[worker * share : (worker + 1) * share])
    ]


@pytest.fixture(scope="session")
def reaper() -> Iterator[Reaper]:
    """Whatever happens to the run, its servers end and its directory goes."""
    directory = make_run_directory(Account.current())
    with Reaper(directory) as keeper:
        yield keeper


@pytest.fixture(scope="session")
def server_url(reaper: Reaper) -> Iterator[str]:
    """Yield a superuser's connection to the server: embedded, or `TEST_TIMESCALE_DSN`."""
    given = os.environ.get("TEST_TIMESCALE_DSN")
    if given:
        yield given
        return
    server = EmbeddedPostgres(reaper.directory, reaper)
    yield server.url
    server.stop()


@pytest.fixture(scope="session")
def databases(server_url: str) -> Iterator[Databases]:
    """Yield what makes databases on the server."""
    made = Databases(server_url, copies=not os.environ.get("TEST_TIMESCALE_DSN"))
    yield made
    made.drop_templates()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """Yield a superuser's connection to a migrated, empty database of the test's own."""
    with databases.migrated() as url:
        yield url


@pytest.fixture(scope="session")
def tansu(reaper: Reaper) -> Iterator[EmbeddedBroker]:
    """Yield the embedded broker."""
    broker = EmbeddedBroker(reaper.directory, reaper)
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
