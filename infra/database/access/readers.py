"""Readers of dashboards: database roles that see their own municipalities and nothing else (law 4).

What a reader may see is decided by the functions of schema `reader`
(`infra.database.access.reader_relations`) and the rows of `reader_access`. Everything here grants
on that schema only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from infra.database.connection.pool import Pool
from schemas.errors import UserError

STATEMENT_TIMEOUT_S: Final = 30
"""A dashboard's query that takes longer is cut: the stream writes to the same database."""

_CONNECTION_LIMIT: Final = 10
_TEMP_FILE_LIMIT: Final = "1GB"
_ROLE_PATTERN: Final = r"[a-z_][a-z0-9_]{0,62}"

# Each row of the answer is a reason why the role must not become, or stay, a reader.
_OBJECTIONS: Final = """
SELECT reason FROM (
    SELECT r.oid, unnest(array_remove(ARRAY[
        CASE WHEN r.rolsuper THEN 'is a superuser' END,
        CASE WHEN r.rolbypassrls THEN 'bypasses row-level security' END,
        CASE WHEN r.rolcreaterole THEN 'may create roles' END,
        CASE WHEN r.rolcreatedb THEN 'may create databases' END,
        CASE WHEN r.rolreplication THEN 'may replicate, which reads everything' END
    ], NULL)) AS reason FROM pg_roles r
    UNION ALL
    SELECT m.member, 'is a member of role ' || quote_ident(pg_get_userbyid(m.roleid))
    FROM pg_auth_members m
    UNION ALL
    SELECT DISTINCT d.refobjid, 'owns objects of this server'
    FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
    UNION ALL
    SELECT r.oid, 'may read or write ' || c.oid::regclass
    FROM pg_roles r, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE r.rolname = %(role)s AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
      AND n.nspname IN ('public', 'tenants')
      AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')
           OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE'))
    UNION ALL
    SELECT r.oid, 'may create objects in schema ' || quote_ident(n.nspname)
    FROM pg_roles r, pg_namespace n
    WHERE r.rolname = %(role)s AND n.nspname IN ('public', 'reader')
      AND has_schema_privilege(r.oid, n.oid, 'CREATE')
) AS objection JOIN pg_roles USING (oid) WHERE rolname = %(role)s
"""


class ReaderRefusedError(UserError):
    """A role that must not read dashboards' data, or a municipality that does not exist."""


async def grant_reader(
    pool: Pool, role_name: str, municipalities: Sequence[str], password: str | None = None
) -> None:
    """Let a role log in and read these municipalities, beside those that it reads already.

    A missing role is created. An existing one keeps its password unless one is given. May be
    repeated. Raises `ReaderRefusedError`, and changes nothing, for an unknown municipality, a
    missing role without a password, and a role that could see more than a reader's views: one
    with a server-wide power, memberships, objects of its own or rights on our tables.
    """
    if re.fullmatch(_ROLE_PATTERN, role_name) is None:
        raise ReaderRefusedError(
            f"role {role_name!r} does not match {_ROLE_PATTERN}; choose a plain name such as "
            "grafana_syddjurs"
        )
    if not municipalities:
        raise ReaderRefusedError(f"role {role_name}: name at least one municipality to read")
    async with pool.connection() as connection:
        await _check_municipalities(connection, municipalities)
        if not await _exists(connection, role_name):
            if password is None:
                raise ReaderRefusedError(
                    f"role {role_name} does not exist; give a password to create it"
                )
            await connection.execute(
                sql.SQL("CREATE ROLE {} NOINHERIT").format(sql.Identifier(role_name))
            )
        await _check_role(connection, role_name)
        await _configure(connection, role_name, password)
        for statement in (
            "GRANT USAGE ON SCHEMA reader TO {}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA reader TO {}",
            "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA reader TO {}",
        ):
            await connection.execute(sql.SQL(statement).format(sql.Identifier(role_name)))
        await connection.execute(
            "INSERT INTO public.reader_access (role_name, municipality_id) "
            "SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [role_name, list(municipalities)],
        )


async def revoke_reader(
    pool: Pool, role_name: str, municipalities: Sequence[str] | None = None
) -> None:
    """Take municipalities from a reader, all of them when none is named.

    Takes effect with the next query of connections that are open. A role that has none left loses
    its rights on schema `reader`; the role itself stays, as other databases may use it. Raises
    `ReaderRefusedError` for a role that is no reader.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "DELETE FROM public.reader_access WHERE role_name = %(role)s "
            "AND (%(all)s OR municipality_id = ANY (%(some)s::text[]))",
            {"role": role_name, "all": municipalities is None, "some": list(municipalities or ())},
        )
        if not cursor.rowcount:
            which = "no municipality" if municipalities is None else f"not {list(municipalities)}"
            raise ReaderRefusedError(f"role {role_name} reads {which}: nothing to revoke")
        left = await connection.execute(
            "SELECT 1 FROM public.reader_access WHERE role_name = %s LIMIT 1", [role_name]
        )
        if await left.fetchone() is None and await _exists(connection, role_name):
            for statement in (
                "REVOKE ALL ON ALL TABLES IN SCHEMA reader FROM {}",
                "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA reader FROM {}",
                "REVOKE ALL ON SCHEMA reader FROM {}",
            ):
                await connection.execute(sql.SQL(statement).format(sql.Identifier(role_name)))


async def _exists(connection: AsyncConnection[TupleRow], role_name: str) -> bool:
    cursor = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role_name])
    return await cursor.fetchone() is not None


async def _check_municipalities(
    connection: AsyncConnection[TupleRow], municipalities: Sequence[str]
) -> None:
    cursor = await connection.execute(
        "SELECT wanted FROM unnest(%s::text[]) AS wanted "
        "WHERE wanted NOT IN (SELECT municipality_id FROM public.municipality)",
        [list(municipalities)],
    )
    unknown = sorted(row[0] for row in await cursor.fetchall())
    if unknown:
        raise ReaderRefusedError(
            f"no municipality {', '.join(unknown)}; enter it first, then grant again"
        )


async def _check_role(connection: AsyncConnection[TupleRow], role_name: str) -> None:
    cursor = await connection.execute(_OBJECTIONS, {"role": role_name})
    reasons = [row[0] for row in await cursor.fetchall()]
    if reasons:
        raise ReaderRefusedError(
            f"role {role_name} cannot be a reader: it {'; it '.join(reasons)}. "
            "Use a role of its own for dashboards"
        )


async def _is_superuser(connection: AsyncConnection[TupleRow]) -> bool:
    cursor = await connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    return await cursor.fetchone() == (True,)


async def _configure(
    connection: AsyncConnection[TupleRow], role_name: str, password: str | None
) -> None:
    role = sql.Identifier(role_name)
    statements = [
        sql.SQL("ALTER ROLE {} LOGIN CONNECTION LIMIT {}").format(
            role, sql.Literal(_CONNECTION_LIMIT)
        ),
        sql.SQL("ALTER ROLE {} SET statement_timeout = {}").format(
            role, sql.Literal(f"{STATEMENT_TIMEOUT_S}s")
        ),
        sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role),
        sql.SQL("ALTER ROLE {} SET timezone = 'UTC'").format(role),
    ]
    if await _is_superuser(connection):
        # Of all limits the one that a role cannot lift for itself.
        statements.append(
            sql.SQL("ALTER ROLE {} SET temp_file_limit = {}").format(
                role, sql.Literal(_TEMP_FILE_LIMIT)
            )
        )
    if password is not None:
        # Hashed here, so that the server's log never holds the password itself.
        verifier = connection.pgconn.encrypt_password(
            password.encode(), role_name.encode(), b"scram-sha-256"
        ).decode()
        statements.append(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(verifier)))
    for statement in statements:
        await connection.execute(statement)
