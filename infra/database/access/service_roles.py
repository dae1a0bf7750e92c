"""Database roles of our own processes: each may do what it has to, and nothing else.

Only installation and migration use the owner's role. `grant_service_role` makes a role for one
service and notes it in `service_role`; `migrate` then gives it its rights again, since a revision
may have added a table.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from schemas.errors import UserError

ROLE_PATTERN: Final = r"[a-z_][a-z0-9_]{0,62}"


class Service(StrEnum):
    """Who connects to the database."""

    INGEST = "ingest"
    WORKER = "worker"
    PLANNER = "planner"
    COMMANDS = "commands"
    """The command line, but for `migrate` and what makes roles: those need the owner."""


_ALL: Final = "SELECT, INSERT, UPDATE, DELETE"
_SECRET: Final = ("api_key", "reader_access", "service_role")
"""Nobody reads these but who is named below."""

WRITES: Final[Mapping[Service, Mapping[str, str]]] = {
    Service.INGEST: {"api_key": "SELECT", "vehicle_vendor": "SELECT"},
    Service.WORKER: {
        **dict.fromkeys(
            (
                "alert",
                "available_time",
                "calendar_kept",
                "fix",
                "idle_interval",
                "local_day",
                "outbox",
                "round_trip",
                "segment",
                "stream_progress",
                "trip",
                "usage_hour",
                "vehicle_checkpoint",
                "vehicle_state",
            ),
            _ALL,
        ),
        "consumer_group": "SELECT, INSERT, UPDATE",
        "dead_letter": "SELECT, INSERT, UPDATE",
        # Whose sessions it may have to end.
        "reader_access": "SELECT",
        "service_role": "SELECT",
        "vehicle_vendor": "SELECT, INSERT",
        "named_lock": "SELECT, UPDATE",  # to lock a row takes the right to change it
        # Vehicles that nobody has entered are noted when they are first seen.
        "vehicle": "SELECT, INSERT",
        "vehicle_home": "SELECT, INSERT",
    },
    Service.PLANNER: {
        "outbox": "SELECT, INSERT",
        "planner_lead": "SELECT, UPDATE",
        "plan": "SELECT, INSERT, UPDATE",
        "plan_move": "SELECT, INSERT",
        "plan_outcome": _ALL,
        "plan_request": "SELECT, UPDATE",
    },
    Service.COMMANDS: {
        "api_key": _ALL,
        "reader_access": "SELECT, DELETE",
        "service_role": "SELECT",
    },
}
"""What each may do beyond reading: privileges by table. Tables without a line are only read."""

READS_COLUMN: Final[Mapping[Service, Mapping[str, str]]] = {
    # Which ids are known: the gateway limits new ones (ADR 0026).
    Service.INGEST: {"vehicle": "vehicle_id", "tracker_assignment": "tracker_id"},
}
"""Who reads one column of a table, and nothing else of it."""

READS_ALL: Final = frozenset({Service.WORKER, Service.PLANNER, Service.COMMANDS})
WRITES_ALL: Final = frozenset({Service.COMMANDS})


MEMBERSHIPS: Final[Mapping[Service, str]] = {
    Service.WORKER: "pg_signal_backend, pg_read_all_stats",
    Service.PLANNER: "pg_read_all_stats",
    Service.COMMANDS: "pg_read_all_stats",
}
"""Who leads and what waits is in views closed to all others (`infra.database.access.exposure`).
Workers end sessions that stand still, of the planner and of readers, too."""


class ServiceRoleRefusedError(UserError):
    """A role that must not serve: it has more rights than a service of ours may have."""


def grant_statements(service: Service, role_name: str) -> list[sql.Composed]:
    """Return what gives a role exactly the rights of a service on our tables."""
    role = sql.Identifier(role_name)
    statements = [
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(role),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(role),
    ]
    if service in READS_ALL:
        kinds = sql.SQL(_ALL if service in WRITES_ALL else "SELECT")
        statements.append(
            sql.SQL("GRANT {} ON ALL TABLES IN SCHEMA public TO {}").format(kinds, role)
        )
        secret = sql.SQL(", ").join(sql.Identifier("public", name) for name in _SECRET)
        statements.append(sql.SQL("REVOKE ALL ON {} FROM {}").format(secret, role))
    for table, privileges in WRITES[service].items():
        statements.append(
            sql.SQL("GRANT {} ON {} TO {}").format(
                sql.SQL(privileges), sql.Identifier("public", table), role
            )
        )
    for table, column in READS_COLUMN.get(service, {}).items():
        statements.append(
            sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(
                sql.Identifier(column), sql.Identifier("public", table), role
            )
        )
    return statements


_OBJECTIONS: Final = """
SELECT unnest(array_remove(ARRAY[
    CASE WHEN r.rolsuper THEN 'is a superuser' END,
    CASE WHEN r.rolbypassrls THEN 'bypasses row-level security' END,
    CASE WHEN r.rolcreaterole THEN 'may create roles' END,
    CASE WHEN r.rolcreatedb THEN 'may create databases' END,
    CASE WHEN r.rolreplication THEN 'may replicate, which reads everything' END,
    CASE WHEN EXISTS (SELECT 1 FROM pg_class c WHERE c.relowner = r.oid)
         THEN 'owns tables' END,
    CASE WHEN EXISTS (SELECT 1 FROM public.reader_access a WHERE a.role_name = r.rolname)
         THEN 'is a reader of dashboards' END
], NULL)) FROM pg_roles r WHERE r.rolname = %s
"""


async def grant_service_role(
    connection: AsyncConnection[TupleRow],
    service: Service,
    role_name: str,
    password: str | None = None,
) -> None:
    """Let a role log in and do what a service does, and nothing else. May be repeated.

    A missing role is created. An existing one keeps its password unless one is given. Needs the
    owner of our tables, who may create roles. Raises `ServiceRoleRefusedError` for a name that is
    none, a missing role without a password, and a role that could do more than a service.
    """
    if re.fullmatch(ROLE_PATTERN, role_name) is None:
        raise ServiceRoleRefusedError(
            f"role {role_name!r} does not match {ROLE_PATTERN}; choose a plain name such as "
            f"fleetpulse_{service.value}"
        )
    role = sql.Identifier(role_name)
    cursor = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role_name])
    if await cursor.fetchone() is None:
        if password is None:
            raise ServiceRoleRefusedError(
                f"role {role_name} does not exist; give a password to create it: "
                f"FLEETPULSE_{service.value.upper()}_ROLE_PASSWORD"
            )
        await connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    objections = await connection.execute(_OBJECTIONS, [role_name])
    if reasons := [row[0] for row in await objections.fetchall()]:
        raise ServiceRoleRefusedError(
            f"role {role_name} cannot serve as {service.value}: it {'; it '.join(reasons)}. "
            "Use a role of its own"
        )
    await connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(role))
    if password is not None:
        # Hashed here, so that the server's log never holds the password itself.
        verifier = connection.pgconn.encrypt_password(
            password.encode(), role_name.encode(), b"scram-sha-256"
        ).decode()
        await connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(verifier))
        )
    await connection.execute(
        "INSERT INTO public.service_role (role_name, service) VALUES (%s, %s) "
        "ON CONFLICT (role_name) DO UPDATE SET service = excluded.service",
        [role_name, service.value],
    )
    for statement in grant_statements(service, role_name):
        await connection.execute(statement)
    if await _may_grant_memberships(connection):
        for statement in membership_statements(service, role_name):
            await connection.execute(statement)


async def make_service_roles(owner_url: str) -> dict[Service, str]:
    """Make `fleetpulse_<service>` for every service, with new passwords; return their URLs.

    `owner_url` is how the owner of our tables connects, who may create roles. Raises
    `psycopg.OperationalError` where the database is away.
    """
    urls: dict[Service, str] = {}
    owner = urlsplit(owner_url)
    async with await AsyncConnection.connect(owner_url) as connection:
        for service in Service:
            name, password = f"fleetpulse_{service.value}", secrets.token_urlsafe(24)
            await grant_service_role(connection, service, name, password)
            address = f"{name}:{password}@{owner.hostname}:{owner.port}"
            urls[service] = owner._replace(netloc=address).geturl()
    return urls


def membership_statements(service: Service, role_name: str) -> list[sql.Composed]:
    """Return what makes a role a member of the server's own roles that its service needs."""
    role = sql.Identifier(role_name)
    statements = [sql.SQL("REVOKE pg_signal_backend, pg_read_all_stats FROM {}").format(role)]
    if service in MEMBERSHIPS:
        powers = sql.SQL(MEMBERSHIPS[service])
        statements.append(sql.SQL("GRANT {} TO {}").format(powers, role))
    return statements


async def _may_grant_memberships(connection: AsyncConnection[TupleRow]) -> bool:
    """Return whether we may let a role see, and end, the sessions of others."""
    cursor = await connection.execute(
        "SELECT bool_and(pg_has_role(rolname, 'MEMBER WITH ADMIN OPTION')) FROM pg_roles "
        "WHERE rolname IN ('pg_signal_backend', 'pg_read_all_stats')"
    )
    return await cursor.fetchone() == (True,)
