"""A reader of dashboards, who writes SQL of its own, stops nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import TupleRow

from infra.database.access.default_privileges import default_privileges
from infra.database.access.reader_sessions import EndedSession, end_reader_sessions
from infra.database.access.readers import grant_reader
from infra.database.access.service_roles import Service, grant_service_role
from infra.database.connection.locks import Lock, lock, try_lock
from infra.database.connection.migrate import migrate
from infra.database.plans.plan_queue import somebody_leads, try_to_lead
from tests.databases import Databases
from tests.sample_fleet import role
from tests.stream_harness import enter_municipality, open_pool

PASSWORD = "of-this-test-only"  # noqa: S105 - a role that lives as long as the test
Session = psycopg.Connection[TupleRow]
AsyncSession = psycopg.AsyncConnection[TupleRow]


@pytest.fixture
def owner(database_url: str) -> Iterator[Session]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def reader(owner: Session, database_url: str) -> Iterator[str]:
    """Yield the connection string of a reader."""

    async def grant(name: str) -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await grant_reader(pool, name, ["syddjurs"], PASSWORD)

    migrate(database_url)  # rights on a database are not copied with it
    with role(owner) as name:
        asyncio.run(grant(name))
        yield as_role(database_url, name)


def as_role(url: str, name: str) -> str:
    parts = urlsplit(url)
    address = f"{name}:{PASSWORD}@{parts.hostname}:{parts.port}"
    return parts._replace(netloc=address).geturl()


@contextmanager
def session(url: str) -> Iterator[Session]:
    """Yield a session that has lifted all limits that a role can lift."""
    with psycopg.connect(url, autocommit=True) as connection:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            connection.execute(f"SET {name} = 0".encode())
        yield connection
        connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_advisory_lock(7301120012)",
        "SELECT pg_try_advisory_lock(7300022)",
        "SELECT pg_advisory_xact_lock_shared(1, 2)",
        "SELECT FROM public.named_lock FOR UPDATE",
        "SELECT FROM public.named_lock",
        "UPDATE public.planner_lead SET pid = NULL",
        "LOCK TABLE public.named_lock IN ACCESS SHARE MODE",
        "LOCK TABLE public.alembic_version IN ACCESS SHARE MODE",
        "CREATE TEMPORARY TABLE mine AS SELECT 1",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT lo_create(0)",
        "SELECT lo_creat(-1)",
        "CREATE TABLE public.mine (a int)",
        "SET temp_file_limit = -1",
    ],
)
def test_what_holds_or_fills_what_is_not_its_own_is_refused(reader: str, statement: str) -> None:
    with session(reader) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_a_lock_excludes_and_ends_with_its_transaction(database_url: str) -> None:
    async def main() -> None:
        async with (
            await AsyncSession.connect(database_url) as connection,
            await AsyncSession.connect(database_url) as other,
        ):
            await lock(connection, Lock.CALENDARS)
            assert not await try_lock(other, Lock.CALENDARS)
            await connection.rollback()
            assert await try_lock(other, Lock.CALENDARS)
            assert not await try_lock(connection, Lock.CALENDARS)
            assert await try_lock(connection, Lock.ALERTS)
            await other.close()
            await connection.execute("SELECT pg_sleep(0)")
            await lock(connection, Lock.CALENDARS)

    asyncio.run(main())


def test_who_leads_leads_until_its_session_ends_without_a_transaction(database_url: str) -> None:
    async def main() -> None:
        first = await AsyncSession.connect(database_url, autocommit=True)
        async with await AsyncSession.connect(database_url, autocommit=True) as second:
            assert not await somebody_leads(second)
            assert await try_to_lead(first)
            assert await try_to_lead(first)
            assert not await try_to_lead(second)
            held = await second.execute(
                "SELECT backend_xid, backend_xmin FROM pg_stat_activity WHERE pid = %s",
                [first.info.backend_pid],
            )
            assert await held.fetchone() == (None, None)
            await first.close()
            deadline = time.monotonic() + 10
            while not await try_to_lead(second):
                assert time.monotonic() < deadline
            assert await somebody_leads(second)

    asyncio.run(main())


def test_of_many_that_want_to_lead_at_once_one_does(database_url: str) -> None:
    async def main() -> list[bool]:
        sessions = [await AsyncSession.connect(database_url, autocommit=True) for _ in range(8)]
        try:
            return list(await asyncio.gather(*map(try_to_lead, sessions)))
        finally:
            for connection in sessions:
                await connection.close()

    assert asyncio.run(main()).count(True) == 1


def ended(url: str, **limits: float) -> list[EndedSession]:
    """Have a worker's role look once; return what it has ended."""

    async def main() -> list[EndedSession]:
        async with await AsyncSession.connect(url, autocommit=True) as connection:
            return await end_reader_sessions(connection, **limits)

    return asyncio.run(main())


@pytest.fixture
def worker(owner: Session, database_url: str) -> Iterator[str]:
    """Yield the connection string of a worker."""

    async def grant(name: str) -> None:
        async with await AsyncSession.connect(database_url) as connection:
            await grant_service_role(connection, Service.WORKER, name, PASSWORD)

    with role(owner, prefix="worker") as name:
        asyncio.run(grant(name))
        yield as_role(database_url, name)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_statement_that_lifted_its_limit_is_ended_from_outside(
    reader: str, worker: str, owner: Session
) -> None:
    def sleep() -> None:
        with session(reader) as connection, pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT pg_sleep(60)")

    thread = in_background(sleep)
    _wait_for(owner, "state = 'active' AND query LIKE '%pg_sleep(60)%'")
    assert ended(worker, statement_s=3600) == []
    (session_ended,) = ended(worker, statement_s=0)
    assert session_ended.reason == "statement"
    thread.join(10)
    assert not thread.is_alive()


def test_a_transaction_that_stands_still_is_ended(reader: str, worker: str, owner: Session) -> None:
    with session(reader) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM reader.trip")
        _wait_for(owner, "state = 'idle in transaction' AND usename LIKE 'reader%'")
        assert ended(worker, idle_s=3600) == []
        (session_ended,) = ended(worker, idle_s=0)
        assert session_ended.reason == "idle-in-transaction"
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_others_sessions_are_left_alone(worker: str, database_url: str) -> None:
    with session(database_url) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT 1")
        assert ended(worker, statement_s=0, idle_s=0, transaction_s=0) == []
        connection.execute("COMMIT")


@pytest.mark.parametrize("power", ["SUPERUSER", "CREATEROLE"])
def test_a_migration_does_not_wait_behind_a_reader(
    power: str, databases: Databases, server_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one by an owner who is no superuser, but may make roles."""
    monkeypatch.setattr("infra.database.connection.migrate._LOCK_TIMEOUT_S", 1)

    async def grant(url: str, name: str) -> None:
        async with open_pool(url) as pool:
            await enter_municipality(pool)
            await grant_reader(pool, name, ["syddjurs"], PASSWORD)

    with (
        psycopg.connect(server_url, autocommit=True) as server,
        role(server, prefix="owner") as owner_name,
        role(server) as reader_name,
        databases.empty() as url,
    ):
        server.execute(f"CREATE ROLE {owner_name} LOGIN {power} PASSWORD '{PASSWORD}'".encode())
        database = urlsplit(url).path[1:]
        server.execute(f"ALTER DATABASE {database} OWNER TO {owner_name}".encode())
        owner_url = as_role(url, owner_name)
        migrate(owner_url)
        asyncio.run(grant(owner_url, reader_name))
        with session(as_role(url, reader_name)) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM reader.trip")
            connection.execute("SELECT count(*) FROM reader.vehicle")
            migrate_with_a_lock_on_trip(owner_url, monkeypatch)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")


def migrate_with_a_lock_on_trip(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrate with one statement before it that wants what the reader holds."""
    from infra.database.connection import migrate as module  # noqa: PLC0415 - of this test alone

    apply = module._apply  # noqa: SLF001 - a revision that changes a table is what is meant

    def apply_to_trip(connection: object, revision: str) -> None:
        module._lock(connection)  # type: ignore[arg-type]  # noqa: SLF001
        connection.execute(module.text("SET LOCAL lock_timeout = '1s'"))  # type: ignore[attr-defined]
        connection.execute(module.text("LOCK TABLE trip IN ACCESS EXCLUSIVE MODE"))  # type: ignore[attr-defined]
        apply(connection, revision)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_apply", apply_to_trip)
    migrate(url)


def test_what_is_left_open_is_told_with_what_closes_it(owner: Session, database_url: str) -> None:
    async def told() -> list[str]:
        async with await AsyncSession.connect(database_url) as connection:
            return [power.remedy for power in await default_privileges(connection)]

    migrate(database_url)
    closed = asyncio.run(told())
    assert len(closed) == 2, "only what the server's own configuration closes"
    owner.execute("GRANT EXECUTE ON FUNCTION pg_catalog.lo_create(oid) TO PUBLIC")
    database = owner.info.dbname
    owner.execute(f"GRANT TEMPORARY ON DATABASE {database} TO PUBLIC".encode())
    opened = asyncio.run(told())
    assert len(opened) == 4
    for remedy in opened[:2]:
        owner.execute(remedy.removeprefix("as a superuser: ").encode())
    assert asyncio.run(told()) == closed


def _wait_for(owner: Session, condition: str) -> None:
    deadline = time.monotonic() + 20
    query = f"SELECT 1 FROM pg_stat_activity WHERE {condition} AND pid <> pg_backend_pid()"
    while owner.execute(query.encode()).fetchone() is None:
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)
