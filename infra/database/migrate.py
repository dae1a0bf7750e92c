"""Bring a database to the newest revision; safe to run from several processes at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, pool, text
from sqlalchemy.engine import make_url

_MIGRATIONS: Final = Path(__file__).resolve().parent.parent / "migrations"
_LOCK_ID: Final = 7_300_021  # any constant: all migrating processes must agree on it

# A revision may have added a view: readers that there are may read it from now on.
_RENEW_READERS: Final = """
DO $$
DECLARE reader_role name;
BEGIN
    FOR reader_role IN
        SELECT DISTINCT role_name FROM public.reader_access
        JOIN pg_catalog.pg_roles ON rolname = role_name
    LOOP
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA reader TO %I', reader_role);
    END LOOP;
END $$
"""


def migrate(database_url: str, revision: str = "head") -> None:
    """Apply all pending revisions, or those up to one, in one transaction.

    An advisory lock makes a second process wait and then find nothing to do; the server frees it
    when the holder dies. Raises `sqlalchemy.exc.DBAPIError` when the database refuses.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK_ID})
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.execute(text(_RENEW_READERS))
