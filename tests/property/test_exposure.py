"""Law 4 of the server's catalogue: no reader is told statistics, sizes and names."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from typing import Final

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.types import TypeInfo

from infra.database.access.exposure import Exposure, exposures
from infra.database.connection.migrate import migrate
from tests.databases import Databases
from tests.sample_fleet import role
from tests.two_installations import PASSWORD, Installations, connect

STATISTICS: Final = (
    "SELECT reltuples FROM pg_class WHERE relname = 'trip'",
    "SELECT relpages FROM pg_class WHERE relname = 'trip'",
    "SELECT pg_relation_size((SELECT oid FROM pg_class WHERE relname = 'trip'))",
    "SELECT pg_total_relation_size((SELECT oid FROM pg_class WHERE relname = 'trip_pkey'))",
    "SELECT pg_database_size(current_database())",
    "SELECT pg_stat_get_live_tuples((SELECT oid FROM pg_class WHERE relname = 'trip'))",
    "SELECT pg_stat_get_tuples_inserted((SELECT oid FROM pg_class WHERE relname = 'trip'))",
    "SELECT * FROM pg_stat_get_activity(NULL)",
    "SELECT * FROM pg_stat_user_tables",
    "SELECT * FROM pg_stat_user_indexes",
    "SELECT * FROM pg_statio_user_tables",
    "SELECT * FROM pg_stat_xact_user_tables",
    "SELECT * FROM pg_stat_database",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_locks",
    "SELECT * FROM pg_lock_status()",
    "SELECT * FROM pg_roles",
    "SELECT * FROM pg_user",
    "SELECT * FROM pg_auth_members",
    "SELECT * FROM pg_db_role_setting",
)


@pytest.mark.parametrize("query", STATISTICS)
def test_statistics_sizes_and_roles_are_not_told(installations: Installations, query: str) -> None:
    with (
        connect(installations.urls[1], installations.reader) as reader,
        pytest.raises(errors.InsufficientPrivilege),
    ):
        reader.execute(query.encode())


def test_no_distribution_of_values_is_told(installations: Installations) -> None:
    with connect(installations.urls[1], installations.reader) as reader:
        for view in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
            rows = reader.execute(
                f"SELECT * FROM {view} WHERE schemaname IN ('public', 'tenants', 'reader')".encode()
            )
            assert rows.fetchall() == [], view


def test_what_clients_ask_of_the_catalogue_is_answered(installations: Installations) -> None:
    """As psql, psycopg and Grafana's query editor do."""
    with connect(installations.urls[1], installations.reader) as reader:
        tables = reader.execute(
            "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) "
            "FROM information_schema.tables WHERE table_schema NOT IN "
            "('information_schema', 'pg_catalog') ORDER BY 1"
        ).fetchall()
        assert ("reader.trip",) in tables
        assert all(name.startswith("reader.") for (name,) in tables)
        columns = reader.execute(
            "SELECT quote_ident(column_name), data_type FROM information_schema.columns "
            "WHERE quote_ident(table_schema) = 'reader' AND quote_ident(table_name) = 'trip'"
        ).fetchall()
        assert ("started_at", "timestamp with time zone") in columns
        relation = (
            "SELECT n.nspname, c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relhastriggers "
            "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind = 'v' AND n.nspname = 'reader' AND c.relname = 'trip'"
        )
        assert len(reader.execute(relation.encode()).fetchall()) == 1
        type_info = TypeInfo.fetch(reader, "timestamptz")
        assert type_info is not None
        assert type_info.name == "timestamptz"
        assert reader.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'btree_gist'"
        ).fetchone()


def ask_exposures(url: str) -> list[Exposure]:
    async def ask() -> list[Exposure]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return await exposures(connection)

    return asyncio.run(ask())


def test_nothing_that_can_be_closed_is_open(installations: Installations) -> None:
    open_ones = ask_exposures(installations.urls[1])
    assert [open_one for open_one in open_ones if open_one.closable] == []
    assert "database postgres" in " ".join(open_one.what for open_one in open_ones)


def test_a_role_that_may_not_close_it_migrates_and_is_told_what_is_open(
    databases: Databases,
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(databases.empty())
        superuser = stack.enter_context(psycopg.connect(url, autocommit=True))
        name = stack.enter_context(role(superuser, prefix="owner"))
        owner, database = sql.Identifier(name), sql.Identifier(superuser.info.dbname)
        superuser.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(owner, sql.Literal(PASSWORD))
        )
        superuser.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, owner))
        stack.callback(
            lambda: superuser.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(owner))
        )
        owners_url = re.sub(r"//[^@]+@", f"//{name}:{PASSWORD.replace(' ', '%20')}@", url)
        migrate(owners_url)
        with psycopg.connect(owners_url, autocommit=True) as connection:
            for municipality in ("a", "b"):
                connection.execute(
                    "INSERT INTO municipality (municipality_id, name) VALUES (%s, 'M')",
                    [municipality],
                )
            connection.execute("INSERT INTO reader_access VALUES (session_user, 'a')")
            rows = connection.execute("SELECT municipality_id FROM reader.municipality")
            assert rows.fetchall() == [("a",)]
        left = [ask_exposure for ask_exposure in ask_exposures(owners_url) if ask_exposure.closable]
        assert "everybody may read pg_stat_activity" in {exposure.what for exposure in left}
        for exposure in left:
            superuser.execute(exposure.command.encode())
        assert [
            ask_exposure for ask_exposure in ask_exposures(owners_url) if ask_exposure.closable
        ] == []
