"""Which sessions are ended for hanging, and which are left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psycopg
import pytest

from infra.database.connection.stalled_sessions import (
    APPLICATION,
    EndedStalledSession,
    StalledSessions,
)

_SILENCE_S = 10.0
_Session = psycopg.Connection[tuple[object, ...]]
COPY = b"COPY held FROM STDIN"
LARGE = b"SELECT repeat('x', 1000) FROM generate_series(1, 100000)"


@pytest.fixture(autouse=True)
def table(database_url: str) -> None:
    """Make a table with one row."""
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE held (id int PRIMARY KEY)")
        connection.execute("INSERT INTO held VALUES (1)")


@contextmanager
def session_of(database_url: str, application: str = APPLICATION) -> Iterator[_Session]:
    with closing(psycopg.connect(database_url, application_name=application)) as session:
        yield session


@contextmanager
def holding(database_url: str, application: str = APPLICATION) -> Iterator[_Session]:
    """Yield a session that holds the row."""
    with session_of(database_url, application) as session:
        session.execute("SELECT FROM held FOR UPDATE")
        yield session


def wait_until_it_waits(database_url: str, session: _Session, what: str) -> None:
    """Wait until the server waits for the client of a session, or for a lock."""
    with psycopg.connect(database_url, autocommit=True) as onlooker:
        deadline = time.monotonic() + 20
        while (
            onlooker.execute(
                "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = %s "
                "AND state = 'active'",
                [session.info.backend_pid, what],
            ).fetchone()
            is None
        ):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def stop_within(database_url: str, session: _Session, statement: bytes) -> None:
    """Begin a statement, and neither send what it wants nor take what it gives."""
    session.pgconn.send_query(statement)
    wait_until_it_waits(database_url, session, "Client")


def ended(
    database_url: str,
    *,
    looks_at_s: tuple[float, ...] = (0.0, 4.0, 8.0, 12.0),
    between: Callable[[], None] = lambda: None,
) -> list[EndedStalledSession]:
    """Look again and again by a clock of the test's own; return what was ended."""

    async def main() -> list[EndedStalledSession]:
        sessions = StalledSessions(_SILENCE_S, iter(looks_at_s).__next__)
        ended_stalled_sessions: list[EndedStalledSession] = []
        async with await psycopg.AsyncConnection.connect(
            database_url, autocommit=True
        ) as connection:
            for _ in looks_at_s:
                ended_stalled_sessions += await sessions.look(connection)
                await asyncio.to_thread(between)
        return ended_stalled_sessions

    return asyncio.run(main())


@pytest.mark.parametrize("statement", [COPY, LARGE], ids=["copy", "answer"])
def test_who_waits_for_one_that_stopped_within_a_statement_gets_its_rows(
    database_url: str, statement: bytes
) -> None:
    with holding(database_url) as stopped:
        stop_within(database_url, stopped, statement)
        with session_of(database_url) as successor:
            successor.pgconn.send_query(b"SELECT FROM held FOR UPDATE")
            wait_until_it_waits(database_url, successor, "Lock")
            (hung,) = ended(database_url)
            assert hung == (stopped.info.backend_pid, 12.0, statement.decode())
            result = successor.pgconn.get_result()
            assert result is not None
            assert result.ntuples == 1


def test_so_is_one_whose_rows_others_skip_and_one_that_leads(database_url: str) -> None:
    with holding(database_url) as stopped, session_of(database_url) as leader:
        leader.execute(
            "UPDATE planner_lead SET pid = pg_backend_pid(), session_start = ("
            "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"
        )
        leader.commit()
        for session in (stopped, leader):
            stop_within(database_url, session, LARGE)
        pids = {ended_stalled_session.pid for ended_stalled_session in ended(database_url)}
        assert pids == {stopped.info.backend_pid, leader.info.backend_pid}


def test_one_that_is_not_silent_for_so_long_is_left_alone(database_url: str) -> None:
    with holding(database_url) as session:
        stop_within(database_url, session, COPY)
        assert ended(database_url, looks_at_s=(0.0, 4.0, 9.9)) == []


def test_a_long_copy_that_gets_on_is_left_alone(database_url: str) -> None:
    with holding(database_url) as session:
        stop_within(database_url, session, COPY)
        session.pgconn.get_result()  # it may send now
        numbers = iter(range(2, 10**9))

        def send() -> None:
            lines = "".join(f"{next(numbers)}\n" for _ in range(50_000))
            session.pgconn.put_copy_data(lines.encode())
            session.pgconn.flush()
            time.sleep(0.3)

        assert ended(database_url, between=send) == []


def test_one_that_holds_nothing_is_left_alone(database_url: str) -> None:
    with session_of(database_url) as session:
        stop_within(database_url, session, LARGE)
        assert ended(database_url) == []


def test_the_session_of_another_program_is_left_alone(database_url: str) -> None:
    with holding(database_url, "psql") as session:
        stop_within(database_url, session, COPY)
        assert ended(database_url) == []


def test_one_that_works_is_left_alone(database_url: str) -> None:
    with holding(database_url) as session:
        session.pgconn.send_query(b"SELECT pg_sleep(60)")
        wait_until_it_waits(database_url, session, "Timeout")
        assert ended(database_url) == []
        session.cancel_safe()
