"""Law 4: no reader sees another municipality's rows, whatever the reader tries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from infra.database.access.readers import ReaderRefusedError, grant_reader, revoke_reader
from infra.database.connection.migrate import migrate
from infra.database.connection.pool import Pool, make_pool
from infra.settings import Settings
from tests.databases import Databases
from tests.sample_fleet import Connection, fill, recent_start, role

PASSWORD = "only for the tests"  # noqa: S105 - of roles that live as long as a test
MUNICIPALITIES = ("aarhus", "favrskov", "syddjurs")


@dataclass(frozen=True)
class Installation:
    """A database with three municipalities and a reader of the first."""

    url: str
    owner: Connection
    reader: str

    def connect(self, user: str | None = None) -> Connection:
        """Connect as a reader, with the password, over TCP, as Grafana does."""
        return psycopg.connect(
            make_conninfo(self.url, user=user or self.reader, password=PASSWORD), autocommit=True
        )

    def run(self, work: Callable[[Pool], Coroutine[Any, Any, None]]) -> None:
        """Run one of the functions under test as the operator."""

        async def with_pool() -> None:
            settings = Settings(database_url=SecretStr(self.url))
            async with make_pool(settings, max_size=1) as pool:
                await work(pool)

        asyncio.run(with_pool())

    def grant(self, name: str, *municipalities: str, password: str | None = PASSWORD) -> None:
        """Grant as the command line does."""
        self.run(lambda pool: grant_reader(pool, name, municipalities, password))

    def views(self) -> list[str]:
        """Return the names of all views of schema `reader`."""
        rows = self.owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'reader'::regnamespace "
            "AND relkind = 'v' ORDER BY 1"
        )
        return [row[0] for row in rows]


def _fill_all(connection: Connection) -> None:
    for municipality in MUNICIPALITIES:
        fill(connection, municipality, start=recent_start(2), days=2)


@pytest.fixture
def installation(databases: Databases) -> Iterator[Installation]:
    with ExitStack() as stack:
        database_url = stack.enter_context(
            databases.filled(f"all municipalities since {recent_start(2)}", _fill_all)
        )
        owner = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        made = Installation(database_url, owner, stack.enter_context(role(owner)))
        made.grant(made.reader, "aarhus")
        yield made


def rows_by_municipality(connection: Connection, view: str) -> dict[str, int]:
    """Return how many rows of a view, or of the joined table, each municipality has."""
    rows = connection.execute(
        sql.SQL("SELECT municipality_id, count(*) FROM {} GROUP BY 1").format(
            sql.Identifier("reader", view)
        )
    ).fetchall()
    return {row[0]: row[1] for row in rows}


OF_PANELS: Final = {
    "fleet_vehicle": ("vehicle", "count(*)"),
    "current_plan": ("plan", "count(DISTINCT municipality_id)"),
    "newest_study": ("study", "count(DISTINCT kind)"),
}
"""Relations that panels share: of which table, and how many rows of it they show."""


def expected_rows(owner: Connection, view: str, municipality: str) -> int:
    """Count a municipality's rows in the table itself, past the view."""
    table, count = OF_PANELS.get(view, (view, "count(*)"))
    columns = {
        row[0]
        for row in owner.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
            [f"public.{table}"],
        )
    }
    if "municipality_id" in columns:
        condition = "municipality_id = %(id)s"
    elif "vehicle_id" in columns:
        condition = "starts_with(vehicle_id, %(id)s || '/')"
    else:
        raise AssertionError(f"{view} names neither municipality nor vehicle")
    row = owner.execute(
        sql.SQL(f"SELECT {count} FROM {{}} WHERE {condition}").format(
            sql.Identifier("public", table)
        ),
        {"id": municipality},
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_every_view_shows_exactly_the_readers_own_rows(installation: Installation) -> None:
    views = installation.views()
    assert len(views) >= 13
    with installation.connect() as reader:
        for view in views:
            expected = expected_rows(installation.owner, view, "aarhus")
            assert expected > 0, f"the sample has no rows for {view}"
            assert rows_by_municipality(reader, view) == {"aarhus": expected}, view


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    granted=st.sets(st.sampled_from(MUNICIPALITIES), min_size=1),
    revoked=st.sets(st.sampled_from(MUNICIPALITIES), min_size=1),
)
def test_what_is_seen_is_what_is_granted_and_not_revoked(
    installation: Installation, granted: set[str], revoked: set[str]
) -> None:
    with role(installation.owner) as name:
        installation.grant(name, *sorted(granted))
        with installation.connect(name) as reader:
            if revoked & granted:
                installation.run(lambda pool: revoke_reader(pool, name, sorted(revoked)))
            left = granted - revoked
            for view in installation.views() if left else ():
                assert set(rows_by_municipality(reader, view)) == left, view
            if not left:
                with pytest.raises(errors.InsufficientPrivilege):
                    reader.execute("SELECT * FROM reader.vehicle")


def test_a_role_without_a_grant_sees_nothing(installation: Installation) -> None:
    with role(installation.owner) as name:
        installation.owner.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(PASSWORD)
            )
        )
        with installation.connect(name) as stranger:
            for view in installation.views():
                with pytest.raises(errors.InsufficientPrivilege):
                    stranger.execute(sql.SQL("TABLE {}").format(sql.Identifier("reader", view)))


def test_places_of_vehicles_are_coarse(installation: Installation) -> None:
    places = installation.owner.execute(
        "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relnamespace = 'reader'::regnamespace AND a.attname ~ '(lat|lon)$' "
        "AND c.relname <> 'depot'"
    ).fetchall()
    assert len(places) >= 10
    with installation.connect() as reader:
        for view, column in places:
            names = {"table": sql.Identifier("public", view), "column": sql.Identifier(column)}
            update = sql.SQL("UPDATE {table} SET {column} = 56.31987").format(**names)
            if view == "site_finding":
                update = _every_site_at(column)
            installation.owner.execute(update)
            names["table"] = sql.Identifier("reader", view)
            rows = reader.execute(sql.SQL("SELECT DISTINCT {column} FROM {table}").format(**names))
            assert rows.fetchall() == [(56.32,)], f"{view}.{column}"


def _every_site_at(column: str) -> sql.Composed:
    """Return how the documents of studies of sites come to have one position for all."""
    return sql.SQL(
        "UPDATE study SET document = jsonb_set(document, '{{sites}}', (SELECT jsonb_agg("
        "jsonb_set(site, ARRAY[{column}], '56.31987')) FROM jsonb_array_elements("
        "document -> 'sites') AS site)) WHERE kind = 'sites'"
    ).format(column=sql.Literal(column))


def test_no_table_is_read_or_written_directly(installation: Installation) -> None:
    relations = installation.owner.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE c.relkind IN ('r', 'v', 'm', 'p') AND (n.nspname IN ('public', 'tenants') "
        "OR n.nspname = '_timescaledb_internal' AND c.relname ~ '^_(hyper|materialized|partial)') "
    ).fetchall()
    assert ("public", "fix") in relations
    assert ("public", "reader_access") in relations
    assert ("tenants", "vehicle") in relations
    with installation.connect() as reader:
        reader.execute("SET default_transaction_read_only = off")
        for schema, name in relations:
            target = sql.Identifier(schema, name)
            for attempt in ("SELECT count(*) FROM {}", "DELETE FROM {}", "TRUNCATE {}"):
                with pytest.raises((errors.InsufficientPrivilege, errors.WrongObjectType)):
                    reader.execute(sql.SQL(attempt).format(target))


def test_views_cannot_be_written_through(installation: Installation) -> None:
    with installation.connect() as reader:
        reader.execute("SET default_transaction_read_only = off")
        for view in installation.views():
            # Joins cannot be updated at all; the others only by someone with the right to.
            with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState)):
                reader.execute(
                    sql.SQL("UPDATE {} SET municipality_id = 'favrskov'").format(
                        sql.Identifier("reader", view)
                    )
                )


ESCAPES = (
    "SET ROLE {victim}",
    "SET SESSION AUTHORIZATION {victim}",
    "SET ROLE {owner}",
    "SET SESSION AUTHORIZATION {owner}",
    "INSERT INTO public.reader_access VALUES (current_user, 'favrskov')",
    "GRANT {victim} TO {reader}",
    "ALTER ROLE {reader} SUPERUSER",
    "ALTER VIEW reader.vehicle OWNER TO {reader}",
    "CREATE OR REPLACE VIEW reader.vehicle AS SELECT 1 AS municipality_id",
    "CREATE VIEW reader.mine AS SELECT * FROM public.vehicle",
    "CREATE TABLE public.mine ()",
    "COPY public.vehicle TO STDOUT",
    "SELECT pg_read_file('/etc/hostname')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
)


@pytest.mark.parametrize("attempt", ESCAPES)
def test_a_way_to_become_another_is_refused(installation: Installation, attempt: str) -> None:
    owner = installation.owner.info.user
    with role(installation.owner) as victim:
        installation.grant(victim, "favrskov")
        with installation.connect() as reader:
            reader.execute("SET default_transaction_read_only = off")
            with pytest.raises((errors.InsufficientPrivilege, errors.UndefinedTable)):
                reader.execute(
                    sql.SQL(attempt).format(
                        victim=sql.Identifier(victim),
                        owner=sql.Identifier(owner),
                        reader=sql.Identifier(installation.reader),
                    )
                )
            assert set(rows_by_municipality(reader, "vehicle")) == {"aarhus"}


def test_a_cheap_leaky_function_sees_only_the_readers_rows(installation: Installation) -> None:
    seen: list[str] = []
    with installation.connect() as reader:
        reader.execute("SET default_transaction_read_only = off")
        reader.add_notice_handler(lambda notice: seen.append(notice.message_primary or ""))
        reader.execute(
            "CREATE FUNCTION pg_temp.leak(value text) RETURNS boolean LANGUAGE plpgsql "
            "COST 0.0000000001 AS $$ BEGIN RAISE NOTICE '%', value; RETURN true; END $$"
        )
        for view in installation.views():
            seen.clear()
            reader.execute(
                sql.SQL("SELECT count(*) FROM {} t WHERE pg_temp.leak(t::text)").format(
                    sql.Identifier("reader", view)
                )
            )
            assert seen, view
            assert not [row for row in seen if "favrskov" in row or "syddjurs" in row], view


def test_an_error_that_quotes_a_value_quotes_only_own_values(installation: Installation) -> None:
    with (
        installation.connect() as reader,
        pytest.raises(errors.InvalidTextRepresentation, match="aarhus"),
    ):
        reader.execute("SELECT * FROM reader.vehicle WHERE vehicle_id::integer > 0")
    with installation.connect() as reader:
        rows = reader.execute(
            "SELECT * FROM reader.vehicle WHERE vehicle_id LIKE 'favrskov%' "
            "AND 1 / (length(vehicle_id) - length(vehicle_id)) = 0"
        ).fetchall()
        assert rows == []


def test_shadowed_names_and_search_path_change_nothing(installation: Installation) -> None:
    with installation.connect() as reader:
        reader.execute("SET default_transaction_read_only = off")
        reader.execute(
            "CREATE TEMPORARY TABLE reader_access AS "
            "SELECT current_user AS role_name, 'favrskov'::text AS municipality_id"
        )
        reader.execute("CREATE TEMPORARY TABLE vehicle (vehicle_id text, municipality_id text)")
        reader.execute(
            'CREATE FUNCTION pg_temp."current_user"() RETURNS name LANGUAGE sql AS '
            "$$ SELECT 'somebody'::name $$"
        )
        reader.execute("SET search_path = pg_temp, reader, public")
        for view in installation.views():
            assert set(rows_by_municipality(reader, view)) == {"aarhus"}, view


def test_a_definers_function_of_the_owner_gives_no_rows_of_others(
    installation: Installation,
) -> None:
    installation.owner.execute(
        "CREATE FUNCTION reader.careless() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS "
        "$$ SELECT municipality_id FROM reader.vehicle $$"
    )
    with installation.connect() as reader:
        assert set(reader.execute("SELECT * FROM reader.careless()")) == {("aarhus",)}


def test_what_a_later_migration_forgets_to_share_stays_closed(installation: Installation) -> None:
    installation.owner.execute("CREATE TABLE public.later AS SELECT 'secret' AS content")
    installation.owner.execute("CREATE TABLE reader.later AS SELECT 'secret' AS content")
    with installation.connect() as reader:
        for table in ("public.later", "reader.later"):
            with pytest.raises(errors.InsufficientPrivilege):
                reader.execute(f"SELECT * FROM {table}")


def test_a_view_that_a_later_migration_adds_reaches_readers_with_it(
    installation: Installation,
) -> None:
    installation.owner.execute(
        "CREATE VIEW reader.added WITH (security_barrier) AS SELECT * FROM reader.vehicle"
    )
    migrate(installation.url)
    with installation.connect() as reader:
        reader.execute("SELECT * FROM reader.added")


@pytest.mark.parametrize(
    ("preparation", "complaint"),
    [
        ("ALTER ROLE {} SUPERUSER", "is a superuser"),
        ("ALTER ROLE {} BYPASSRLS", "bypasses row-level security"),
        ("ALTER ROLE {} CREATEROLE", "may create roles"),
        ("ALTER ROLE {} REPLICATION", "may replicate"),
        ("GRANT pg_read_all_data TO {}", "is a member of role pg_read_all_data"),
        ("CREATE SCHEMA own AUTHORIZATION {}", "owns objects"),
        ("GRANT SELECT ON public.fix TO {}", "may read or write"),
        ("GRANT SELECT (lat) ON public.fix TO {}", "may read or write"),
        ("GRANT CREATE ON SCHEMA reader TO {}", "may create objects in schema reader"),
    ],
)
def test_a_role_with_other_powers_cannot_be_a_reader(
    installation: Installation, preparation: str, complaint: str
) -> None:
    with role(installation.owner) as name:
        identifier = sql.Identifier(name)
        installation.owner.execute(sql.SQL("CREATE ROLE {}").format(identifier))
        installation.owner.execute(sql.SQL(preparation).format(identifier))
        with pytest.raises(ReaderRefusedError, match=complaint):
            installation.grant(name, "aarhus")
        assert not installation.owner.execute(
            "SELECT 1 FROM reader_access WHERE role_name = %s", [name]
        ).fetchall()


def test_the_operators_own_role_cannot_be_a_reader(installation: Installation) -> None:
    with pytest.raises(ReaderRefusedError, match="is a superuser"):
        installation.grant(installation.owner.info.user, "aarhus")


def test_an_unknown_municipality_creates_no_role(installation: Installation) -> None:
    with role(installation.owner) as name:
        with pytest.raises(ReaderRefusedError, match="no municipality roskilde"):
            installation.grant(name, "aarhus", "roskilde")
        with pytest.raises(ReaderRefusedError, match="give a password"):
            installation.grant(name, "aarhus", password=None)
        with pytest.raises(ReaderRefusedError, match="at least one municipality"):
            installation.grant(name)
        assert not installation.owner.execute(
            "SELECT 1 FROM pg_roles WHERE rolname = %s", [name]
        ).fetchall()


def test_granting_again_keeps_the_password_and_revoking_all_is_final(
    installation: Installation,
) -> None:
    installation.grant(installation.reader, "favrskov", password=None)
    with installation.connect() as reader:
        assert set(rows_by_municipality(reader, "vehicle")) == {"aarhus", "favrskov"}
        installation.run(lambda pool: revoke_reader(pool, installation.reader))
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("SELECT * FROM reader.vehicle")
    with pytest.raises(ReaderRefusedError, match="nothing to revoke"):
        installation.run(lambda pool: revoke_reader(pool, installation.reader))


def test_a_readers_query_is_cut_and_its_password_is_stored_hashed(
    installation: Installation,
) -> None:
    with installation.connect() as reader:
        assert reader.execute("SHOW statement_timeout").fetchone() == ("30s",)
        assert reader.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
    row = installation.owner.execute(
        "SELECT rolpassword FROM pg_authid WHERE rolname = %s", [installation.reader]
    ).fetchone()
    assert row is not None
    assert row[0].startswith("SCRAM-SHA-256$")
