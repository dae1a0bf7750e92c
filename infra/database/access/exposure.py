"""Catalogue views and functions that would tell a reader about other municipalities (law 4).

How many rows a table has, which relations are being written to and who else is there are in views
and functions of the server that every role may use. No right can be taken from one role alone, so
that they are taken from all and given to `pg_read_all_stats`,
whose members watch over a server.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from sqlalchemy import Connection, text

# Both of PostgreSQL's own and of extensions such as pg_stat_statements and TimescaleDB, whose
# catalogue has rows by chunk. The views of pg_stats show no column that one may not read: they may
# stay. A role's name can be had from its number as long as there is PostgreSQL (`16384::regrole`).
_EXPOSURES: Final = r"""
WITH kept AS (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
    FROM pg_attribute WHERE attrelid = 'pg_class'::regclass AND attnum > 0
      AND attname NOT IN ('relpages', 'reltuples', 'relallvisible', 'relallfrozen')
)
SELECT 'everybody may read ' || name AS what, true AS closable,
       format('REVOKE SELECT ON %1$s FROM PUBLIC; GRANT SELECT ON %1$s TO pg_read_all_stats', name)
           || CASE name WHEN 'pg_class'
              THEN format('; GRANT SELECT (%s) ON pg_class TO PUBLIC', columns) ELSE '' END
           AS command
FROM kept, pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
     LATERAL (SELECT c.oid::regclass::text) AS called (name)
WHERE c.relkind IN ('r', 'v', 'm') AND n.nspname <> 'information_schema'
  AND (c.relname ~ '^pg_stat(io)?_' OR n.nspname = 'pg_catalog' AND c.relname IN (
          'pg_auth_members', 'pg_class', 'pg_db_role_setting', 'pg_group', 'pg_locks',
          'pg_prepared_xacts', 'pg_replication_slots', 'pg_roles', 'pg_shdepend', 'pg_user'))
  AND EXISTS (SELECT FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS a
              WHERE a.grantee = 0 AND a.privilege_type = 'SELECT')
UNION ALL
SELECT 'everybody may call ' || name, true,
       format('REVOKE EXECUTE ON FUNCTION %1$s FROM PUBLIC; '
              'GRANT EXECUTE ON FUNCTION %1$s TO pg_read_all_stats', name)
FROM pg_proc p, LATERAL (SELECT p.oid::regprocedure::text) AS called (name)
WHERE p.prokind = 'f'
  AND (p.proname ~ '^pg_stat_(get|have|statements)' OR p.proname IN (
          'pg_blocking_pids', 'pg_database_size', 'pg_get_replication_slots', 'pg_indexes_size',
          'pg_isolation_test_session_is_blocked', 'pg_lock_status', 'pg_prepared_xact',
          'pg_relation_size', 'pg_safe_snapshot_blocking_pids', 'pg_table_size',
          'pg_tablespace_size', 'pg_total_relation_size'))
  AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
              WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
UNION ALL
SELECT 'everybody may use schema ' || nspname, true,
       format('REVOKE USAGE ON SCHEMA %1$I FROM PUBLIC; '
              'GRANT USAGE ON SCHEMA %1$I TO pg_read_all_stats', nspname)
FROM pg_namespace n
WHERE nspname IN ('_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_config',
                  '_timescaledb_internal', 'timescaledb_experimental', 'timescaledb_information')
  AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
              WHERE a.grantee = 0 AND a.privilege_type = 'USAGE')
UNION ALL
SELECT 'everybody may connect to database ' || datname || ', whose catalogue may be open', false,
       format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', datname)
FROM pg_database d
WHERE datallowconn AND datname <> current_database()
  AND EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
              WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
ORDER BY 1
"""


class Exposure(NamedTuple):
    """What is open, and what a superuser runs to close it.

    `closable` is whether `migrate` closes it where it may; other databases are not ours to close.
    """

    what: str
    closable: bool
    command: str


async def exposures(connection: AsyncConnection[TupleRow]) -> list[Exposure]:
    """Return what is open in this database, and other databases of the server that are."""
    async with connection.cursor(row_factory=class_row(Exposure)) as cursor:
        await cursor.execute(_EXPOSURES)
        return await cursor.fetchall()


def close(connection: Connection) -> bool:
    """Close what is open in this database; return False for a role that is no superuser."""
    if connection.execute(text("SELECT current_setting('is_superuser')")).scalar_one() != "on":
        return False
    for _, closable, command in connection.execute(text(_EXPOSURES)).all():
        if closable:
            connection.execute(text(command))
    return True
