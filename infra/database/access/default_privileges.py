"""What PostgreSQL lets every role do, and how far it is closed: for migrations and the doctor.

A reader of dashboards logs in with SQL of its own. What it may hold, fill or stop is closed where
the migrating role may do so; what is left open is told, each with what closes it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from sqlalchemy import Connection, text
from sqlalchemy.exc import InternalError


class DefaultPrivilege(NamedTuple):
    """Something that any role may do, and should not."""

    what: str
    remedy: str


_FUNCTIONS: Final = """
SELECT p.oid::regprocedure::text FROM pg_proc p
WHERE p.pronamespace = 'pg_catalog'::regnamespace
  AND (p.proname ~ '^pg_(try_)?advisory_(xact_)?(lock|unlock)'
       OR p.proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_open',
                        'pg_notify'))
  AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1
"""
_MAY_CLOSE: Final = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
_SERVER: Final = (
    DefaultPrivilege(
        "a role sets work_mem for itself: one query may take all of the server's memory",
        "give the database server a memory limit (mem_limit in docker-compose.yml, or a cgroup)",
    ),
    DefaultPrivilege(
        "a role changes its own password, and so locks Grafana out",
        "let readers log in by certificate or from Grafana's address only (pg_hba.conf)",
    ),
)


def revoke_default_privileges(connection: Connection) -> None:
    """Close what the migrating role may close; what stays open `fleetpulse doctor` tells."""
    database = connection.execute(text("SELECT quote_ident(current_database())")).scalar_one()
    is_open = connection.execute(
        text(
            "SELECT pg_has_role(datdba, 'USAGE') "
            "AND has_database_privilege('public', datname, 'TEMPORARY') "
            "FROM pg_database WHERE datname = current_database()"
        )
    ).scalar_one()
    if is_open:
        # A server whose catalogue cannot be changed leaves it open; `default_privileges` says so.
        with suppress(InternalError), connection.begin_nested():
            connection.execute(text(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC"))
    if connection.execute(text(_MAY_CLOSE)).scalar_one():
        for function in connection.execute(text(_FUNCTIONS)).scalars().all():
            connection.execute(text(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC"))


async def default_privileges(connection: AsyncConnection[TupleRow]) -> list[DefaultPrivilege]:
    """Return what any role may do in this database and should not, the server's own last."""
    open_ = []
    cursor = await connection.execute(
        "SELECT has_database_privilege('public', current_database(), 'TEMPORARY'), "
        "has_schema_privilege('public', 'public', 'CREATE'), quote_ident(current_database())"
    )
    row = await cursor.fetchone()
    if row is not None and row[0]:
        open_.append(
            DefaultPrivilege(
                "any role fills the disk with temporary tables",
                f"REVOKE TEMPORARY ON DATABASE {row[2]} FROM PUBLIC",
            )
        )
    if row is not None and row[1]:
        open_.append(
            DefaultPrivilege(
                "any role creates tables", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
            )
        )
    functions = [name for (name,) in await (await connection.execute(_FUNCTIONS)).fetchall()]
    if functions:
        open_.append(
            DefaultPrivilege(
                f"any role calls {', '.join(functions[:3])} and {max(0, len(functions) - 3)} more: "
                "it may hold locks or fill the disk with large objects",
                "as a superuser: REVOKE EXECUTE ON FUNCTION "
                + ", ".join(functions)
                + " FROM PUBLIC",
            )
        )
    unlimited = await connection.execute(
        "SELECT DISTINCT role_name FROM reader_access JOIN pg_roles ON rolname = role_name "
        "WHERE NOT coalesce(rolconfig, '{}')::text LIKE '%temp_file_limit=%' ORDER BY 1"
    )
    open_ += [
        DefaultPrivilege(
            f"queries of {name} fill the disk with temporary files",
            f"as a superuser: ALTER ROLE {name} SET temp_file_limit = '1GB'",
        )
        for (name,) in await unlimited.fetchall()
    ]
    return [*open_, *_SERVER]
