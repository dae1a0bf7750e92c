"""Which sessions are ended for hanging, and which are left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from infra.database.hung import APPLICATION, Hung, end_hung

_SILENCE_S = 0.3
_Session = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def table(database_url: str) -> str:
    """Return a table with one row."""
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE held (id int PRIMARY KEY)")
        connection.execute("INSERT INTO held VALUES (1)")
    return "held"


@contextmanager
def holding(database_url: str, *, application: str = APPLICATION) -> Iterator[_Session]:
    """Yield a session that holds the row."""
    with closing(psycopg.connect(database_url, application_name=application)) as session:
        session.execute("SELECT FROM held FOR UPDATE")
        yield session


def stop_within_a_copy(session: _Session) -> None:
    """Promise rows and never send them."""
    session.pgconn.send_query(b"COPY held FROM STDIN")


@contextmanager
def waiting(database_url: str) -> Iterator[_Session]:
    """Yield a session that waits for the row."""
    with closing(psycopg.connect(database_url, application_name=APPLICATION)) as session:
        session.pgconn.send_query(b"SELECT FROM held FOR UPDATE")
        with psycopg.connect(database_url, autocommit=True) as onlooker:
            deadline = time.monotonic() + 20
            while not onlooker.execute(
                "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
                [session.info.backend_pid],
            ).fetchall():
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield session


def ended(database_url: str, silence_s: float = _SILENCE_S) -> list[Hung]:
    """Wait for longer than the silence, and end what hangs."""

    async def main() -> list[Hung]:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            return await end_hung(connection, silence_s)

    time.sleep(_SILENCE_S * 1.5)
    return asyncio.run(main())


def test_who_waits_for_a_session_that_stopped_within_a_copy_gets_its_rows(
    database_url: str, table: str
) -> None:
    with holding(database_url) as session:
        stop_within_a_copy(session)
        with waiting(database_url) as successor:
            (hung,) = ended(database_url)
            assert hung.pid == session.info.backend_pid
            assert hung.silent_s > _SILENCE_S
            assert hung.query == f"COPY {table} FROM STDIN"
            result = successor.pgconn.get_result()
            assert result is not None
            assert result.ntuples == 1


@pytest.mark.usefixtures("table")
def test_one_that_is_not_silent_for_so_long_is_left_alone(database_url: str) -> None:
    with holding(database_url) as session, waiting(database_url):
        stop_within_a_copy(session)
        assert ended(database_url, silence_s=60) == []


@pytest.mark.usefixtures("table")
def test_one_that_nobody_waits_for_is_left_alone(database_url: str) -> None:
    with holding(database_url) as session:
        stop_within_a_copy(session)
        assert ended(database_url) == []


@pytest.mark.usefixtures("table")
def test_the_session_of_another_program_is_left_alone(database_url: str) -> None:
    with holding(database_url, application="psql") as session:
        stop_within_a_copy(session)
        with waiting(database_url):
            assert ended(database_url) == []


@pytest.mark.usefixtures("table")
def test_one_that_works_is_left_alone(database_url: str) -> None:
    with holding(database_url) as session:
        session.pgconn.send_query(b"SELECT pg_sleep(60)")
        with waiting(database_url):
            assert ended(database_url) == []
        session.cancel_safe()
