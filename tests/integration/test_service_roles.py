"""Our own processes connect as roles that may do what they have to, and nothing else."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import TupleRow

from infra.database.access.service_roles import (
    WRITES,
    Service,
    ServiceRoleRefusedError,
    grant_service_role,
)
from infra.database.connection.migrate import migrate
from infra.database.stream.known_ids import known_vehicles

PASSWORD = "of-this-test-only"  # noqa: S105 - a role that lives as long as the test
SECRET = {"api_key", "reader_access", "service_role"}
KINDS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

Owner = psycopg.Connection[TupleRow]


@pytest.fixture
def owner(database_url: str) -> Iterator[Owner]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def prefix(owner: Owner) -> Iterator[str]:
    """Yield how the test's roles begin; roles are of the server, so that they must not meet."""
    name = f"test_{uuid.uuid4().hex[:8]}_"
    yield name
    roles = owner.execute("SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", [name])
    for (role,) in roles.fetchall():
        owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def grant(url: str, service: Service, role: str, password: str | None = PASSWORD) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await grant_service_role(connection, service, role, password)

    asyncio.run(main())


def role_url(url: str, role: str) -> str:
    parts = urlsplit(url)
    address = f"{role}:{PASSWORD}@{parts.hostname}:{parts.port}"
    return parts._replace(netloc=address).geturl()


def as_role(url: str, role: str) -> Owner:
    return psycopg.connect(role_url(url, role), autocommit=True)


def rights(owner: Owner, role: str) -> dict[str, set[str]]:
    """Return what a role may do with each of our tables and views."""
    rows = owner.execute(
        "SELECT c.relname, kind FROM pg_class c, unnest(%s::text[]) AS kind "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p') "
        "AND has_table_privilege(%s, c.oid, kind)",
        [list(KINDS), role],
    ).fetchall()
    allowed: dict[str, set[str]] = {}
    for table, kind in rows:
        allowed.setdefault(table, set()).add(kind)
    return allowed


def ends_sessions(owner: Owner, role: str) -> bool:
    """Return whether a role may end sessions of others, as workers do with those that hang."""
    row = owner.execute("SELECT pg_has_role(%s, 'pg_signal_backend', 'USAGE')", [role]).fetchone()
    return row == (True,)


@pytest.mark.parametrize("service", list(Service))
def test_a_service_may_do_what_is_listed_and_nothing_else(
    owner: Owner, database_url: str, prefix: str, service: Service
) -> None:
    role = prefix + service.value
    grant(database_url, service, role)
    allowed = rights(owner, role)
    listed = {name: set(kinds.split(", ")) for name, kinds in WRITES[service].items()}
    for table, kinds in allowed.items():
        if service is Service.COMMANDS and table not in SECRET:
            expected = {"SELECT", "INSERT", "UPDATE", "DELETE"}
        else:
            expected = listed.get(table, set() if service is Service.INGEST else {"SELECT"})
        assert kinds == expected, table
    assert listed.keys() <= allowed.keys()
    assert SECRET & allowed.keys() == SECRET & listed.keys()
    assert "api_key" not in listed or service in {Service.INGEST, Service.COMMANDS}
    with as_role(database_url, role) as connection:
        for statement in (
            "CREATE TABLE public.mine (a int)",
            "ALTER TABLE public.fix ADD COLUMN mine int",
            "DROP TABLE public.fix",
            "CREATE ROLE another",
            "SELECT * FROM pg_catalog.pg_authid",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_the_ingest_role_reads_keys_and_no_position(database_url: str, prefix: str) -> None:
    role = prefix + "ingest"
    grant(database_url, Service.INGEST, role)
    with as_role(database_url, role) as connection:
        assert connection.execute("SELECT count(*) FROM api_key").fetchone() == (0,)
        for table in ("fix", "trip", "plan", "dead_letter", "reader_access"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(table)))


def test_the_ingest_role_sees_which_vehicles_are_known_and_nothing_of_them(
    owner: Owner, database_url: str, prefix: str
) -> None:
    role = prefix + "ingest"
    grant(database_url, Service.INGEST, role)
    owner.execute("INSERT INTO municipality (municipality_id, name) VALUES ('m', 'M')")
    owner.execute(
        "INSERT INTO vehicle (vehicle_id, municipality_id, name, registered) "
        "VALUES ('m/reported', 'm', 'reported', false)"
    )
    owner.execute(
        "INSERT INTO tracker_assignment (tracker_id, vehicle_id, since) "
        "VALUES ('m/tracker', 'm/reported', '2026-01-01Z')"
    )

    async def ask() -> set[str]:
        async with await psycopg.AsyncConnection.connect(
            role_url(database_url, role)
        ) as connection:
            return await known_vehicles(connection, ["m/reported", "m/tracker", "m/invented"])

    assert asyncio.run(ask()) == {"m/reported", "m/tracker"}
    with as_role(database_url, role) as connection:
        for query in ("SELECT * FROM vehicle", "SELECT name FROM vehicle"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(query)


def test_migrate_gives_the_roles_rights_on_what_has_come(
    owner: Owner, database_url: str, prefix: str
) -> None:
    role = prefix + "worker"
    grant(database_url, Service.WORKER, role)
    owner.execute("CREATE TABLE public.came_later (a int)")
    assert "came_later" not in rights(owner, role)
    migrate(database_url)
    assert rights(owner, role)["came_later"] == {"SELECT"}


def test_a_role_changes_its_service_and_loses_what_the_former_may(
    owner: Owner, database_url: str, prefix: str
) -> None:
    role = prefix + "role"
    grant(database_url, Service.COMMANDS, role)
    grant(database_url, Service.WORKER, role, password=None)
    assert ends_sessions(owner, role)
    grant(database_url, Service.INGEST, role, password=None)
    assert not ends_sessions(owner, role)
    assert rights(owner, role) == {"api_key": {"SELECT"}, "vehicle_vendor": {"SELECT"}}


@pytest.mark.parametrize("power", ["SUPERUSER", "CREATEROLE", "CREATEDB", "BYPASSRLS"])
def test_a_role_with_a_power_over_the_server_is_refused(
    owner: Owner, database_url: str, prefix: str, power: str
) -> None:
    role = prefix + "mighty"
    owner.execute(sql.SQL("CREATE ROLE {} " + power).format(sql.Identifier(role)))
    with pytest.raises(ServiceRoleRefusedError, match="Use a role of its own"):
        grant(database_url, Service.WORKER, role)
    if power != "SUPERUSER":
        assert rights(owner, role) == {}


def test_a_missing_role_needs_a_password_and_a_plain_name(database_url: str, prefix: str) -> None:
    with pytest.raises(ServiceRoleRefusedError, match="FLEETPULSE_INGEST_ROLE_PASSWORD"):
        grant(database_url, Service.INGEST, prefix + "ingest", password=None)
    with pytest.raises(ServiceRoleRefusedError, match="plain name"):
        grant(database_url, Service.INGEST, 'x"; DROP TABLE fix; --')
