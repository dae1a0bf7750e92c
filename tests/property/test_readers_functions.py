"""Law 4 of schema `reader`: functions that show all of a reader's own rows, and only these."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta

import psycopg
from psycopg import sql

from infra.database.connection.migrate import migrate
from tests.databases import Databases
from tests.sample_fleet import Connection, recent_start, role
from tests.two_installations import OWN, Installations, connect, fill_alone, grant


def test_every_relation_of_the_readers_schema_shows_a_function_and_nothing_else(
    installations: Installations,
) -> None:
    rows = installations.owner.execute(
        "SELECT relname, relkind, pg_get_viewdef(oid) FROM pg_class "
        "WHERE relnamespace = 'reader'::regnamespace AND relkind NOT IN ('i', 'c')"
    ).fetchall()
    assert len(rows) >= 34
    for name, kind, definition in rows:
        assert kind == "v", name
        sources = definition.partition("FROM")[2]
        assert sources.startswith(f" reader.{name}("), name
        assert not {"SELECT", "FROM", "JOIN"} & set(sources.split()), name


def test_every_function_of_the_readers_schema_is_opaque(installations: Installations) -> None:
    rows = installations.owner.execute(
        "SELECT p.proname, l.lanname, p.prosecdef, p.prosupport = 0, p.prorows::int, "
        "p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp', 'client_min_messages=error', "
        "'debug_print_plan=off', 'enable_seqscan=off'], has_function_privilege('public', p.oid, "
        "'EXECUTE') FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang "
        "WHERE p.pronamespace = 'reader'::regnamespace"
    ).fetchall()
    assert {row[0] for row in rows} == set(installations.views())
    for name, language, definer, unsupported, expected_rows, settled, everybody in rows:
        # A function in SQL would be melted into the reader's plan.
        assert (language, definer, unsupported, settled) == ("plpgsql", True, True, True), name
        assert expected_rows in {500, 10_000}, name
        assert not everybody, name


def test_every_row_is_shown_as_it_is(installations: Installations) -> None:
    with connect(installations.urls[1], installations.reader) as reader:
        for view in installations.views():
            shown = reader.execute(
                sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(
                    sql.Identifier("reader", view)
                )
            ).fetchall()
            expected = installations.owner.execute(
                sql.SQL(
                    "SELECT t::text FROM {} t WHERE municipality_id = 'aarhus' ORDER BY 1"
                ).format(sql.Identifier("tenants", view))
            ).fetchall()
            assert shown == expected, view


def test_a_range_gives_what_lies_in_it(installations: Installations) -> None:
    functions = installations.owner.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'reader'::regnamespace AND pronargs = 2"
    ).fetchall()
    assert len(functions) >= 14
    start = recent_start(2)
    with connect(installations.urls[1], installations.reader) as reader:
        for (name,) in functions:
            function = sql.Identifier("reader", name)
            columns = {column.name for column in _described(reader, function)}
            column = next(text for text in INSTANTS if text in columns)
            for since_h, until_h in ((-48, 96), (0, 24), (12, 12), (23, 30), (-900, 24), (36, 36)):
                since, until = start + timedelta(hours=since_h), start + timedelta(hours=until_h)
                called = sql.SQL("SELECT t::text FROM {}(%s, %s) t ORDER BY 1").format(function)
                bounded = sql.SQL(
                    "SELECT t::text FROM {} t WHERE {} BETWEEN %s AND %s ORDER BY 1"
                ).format(function, sql.Identifier(column))
                assert (
                    reader.execute(called, [since, until]).fetchall()
                    == reader.execute(bounded, [since, until]).fetchall()
                ), (name, since, until)
            unbounded = sql.SQL("SELECT count(*) FROM {}(NULL, NULL)").format(function)
            everything = sql.SQL("SELECT count(*) FROM {}").format(function)
            assert reader.execute(unbounded).fetchone() == reader.execute(everything).fetchone()


INSTANTS = ("hour", "started_at", "day", "week", "month")
"""The column by which a function of time chooses: the first of these."""


def _described(connection: Connection, relation: sql.Identifier) -> Sequence[psycopg.Column]:
    cursor = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(relation))
    assert cursor.description is not None
    return cursor.description


def test_readers_of_before_read_on_after_the_upgrade(databases: Databases) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(databases.empty())
        owner = stack.enter_context(psycopg.connect(url, autocommit=True))
        name = stack.enter_context(role(owner))
        migrate(url, "0019")
        owner.execute("SET TIME ZONE 'UTC'")
        fill_alone(owner)
        grant(url, name, OWN)
        with connect(url, name) as reader:
            before = {
                view: reader.execute(f"SELECT * FROM reader.{view}".encode())
                for view in ("trip", "usage_day", "utilisation_month", "plan", "km_precision")
            }
            rows = {view: sorted(cursor.fetchall(), key=str) for view, cursor in before.items()}
        migrate(url)
        with connect(url, name) as reader:
            for view, expected in rows.items():
                after = reader.execute(f"SELECT * FROM reader.{view}".encode())
                assert [column.name for column in after.description or ()] == [
                    column.name for column in before[view].description or ()
                ]
                assert sorted(after.fetchall(), key=str) == expected
                assert expected
