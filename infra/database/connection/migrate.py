"""Bring a database to the newest revision; safe to run from several processes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.exc import OperationalError

from infra.database.access import exposure
from infra.database.access.default_privileges import revoke_default_privileges
from infra.database.access.service_roles import Service, grant_statements, membership_statements

_MIGRATIONS: Final = Path(__file__).resolve().parents[2] / "migrations"
_LOCK_ID: Final = 7_300_021  # any constant: all migrating processes must agree on it
_LOCK_TIMEOUT_S: Final = 5
_TRIES: Final = 12
# Who is no superuser sees and ends sessions of such roles only that it is a member of. It may make
# itself one of those that it has made.
_JOIN_READERS: Final = """
DO $$
DECLARE reader_role name;
BEGIN
    FOR reader_role IN
        SELECT DISTINCT role_name FROM public.reader_access
        JOIN pg_catalog.pg_roles ON rolname = role_name
        WHERE NOT pg_has_role(rolname, 'USAGE') AND pg_has_role(rolname, 'MEMBER WITH ADMIN OPTION')
    LOOP
        EXECUTE format('GRANT %I TO CURRENT_USER', reader_role);
    END LOOP;
END $$
"""
_END_READERS: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL
  AND usename IN (SELECT role_name FROM public.reader_access)
"""

# A revision may have added a relation: readers that there are may read it from now on.
_RENEW_READERS: Final = """
DO $$
DECLARE reader_role name;
BEGIN
    FOR reader_role IN
        SELECT DISTINCT role_name FROM public.reader_access
        JOIN pg_catalog.pg_roles ON rolname = role_name
    LOOP
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA reader TO %I', reader_role);
        EXECUTE format('GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA reader TO %I', reader_role);
    END LOOP;
END $$
"""


def migrate(conninfo: str, revision: str = "head") -> None:
    """Apply all pending revisions, or those up to one, in one transaction.

    A lock makes a second process wait and then find nothing to do; the server frees it when the
    holder dies. A session of a dashboard reader that holds up a revision is ended, since a reader
    may keep a transaction open for as long as it likes: by a superuser, a member of
    `pg_signal_backend` and `pg_read_all_stats`, or the role that made the reader. Each time, what
    the server tells and lets every role do is closed as far as we may
    (`infra.database.access.exposure`, `infra.database.access.default_privileges`). Raises
    `sqlalchemy.exc.DBAPIError` when the database refuses.
    """
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(conninfo),
        poolclass=pool.NullPool,
    )
    for attempt in range(1, _TRIES + 1):
        try:
            with engine.begin() as connection:
                _apply(connection, revision)
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable) or attempt == _TRIES:
                raise
            with engine.begin() as connection:
                connection.execute(text(_JOIN_READERS))
                connection.execute(text(_END_READERS))
        else:
            return


def _apply(connection: Connection, revision: str) -> None:
    _lock(connection)
    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'"))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    connection.execute(text(_RENEW_READERS))
    # Each time: a database that was copied or restored has lost what was said of it.
    revoke_default_privileges(connection)
    _renew_service_roles(connection, closed=exposure.close(connection))


def _lock(connection: Connection) -> None:
    """Wait until nobody else migrates, and keep it so until the transaction ends.

    An advisory lock is any role's to take: it serves an empty database only, which has no readers.
    """
    if connection.execute(text("SELECT to_regclass('public.alembic_version')")).scalar() is None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
    else:
        connection.execute(text("LOCK TABLE public.alembic_version IN EXCLUSIVE MODE"))


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def newest_revision() -> str:
    """Return the revision that `migrate` brings a database to."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def _renew_service_roles(connection: Connection, *, closed: bool) -> None:
    """Give the roles of our services their rights again: a revision may have added a table.

    What is closed to everybody stays open to the services that need it.
    """
    if connection.execute(text("SELECT to_regclass('public.service_role')")).scalar() is None:
        return  # migrated up to an older revision
    roles = connection.execute(
        text(
            "SELECT s.service, s.role_name FROM public.service_role s "
            "JOIN pg_catalog.pg_roles ON rolname = s.role_name"
        )
    )
    for service, role_name in roles.all():
        statements = grant_statements(Service(service), role_name)
        if closed:
            statements += membership_statements(Service(service), role_name)
        for statement in statements:
            connection.execute(text(statement.as_string(None)))
