"""Law 4 of what the server tells beside rows: plans, logs, statistics, sizes and names.

A reader of one municipality is told the same whether it is alone in the database or not.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo
from psycopg.types import TypeInfo
from pydantic import SecretStr

from infra.database.exposure import Exposure, exposures
from infra.database.migrate import migrate
from infra.database.pool import make_pool
from infra.database.readers import grant_reader
from infra.settings import Settings
from tests.databases import Databases
from tests.sample_fleet import Connection, fill, recent_start, role

PASSWORD = "only for the tests"  # noqa: S105 - of roles that live as long as a test
OWN, OTHERS = "aarhus", ("favrskov", "syddjurs")
COMPARED = (bool, int, float, Decimal, str, date, datetime, timedelta, UUID)

# Ways to have the planner go below a filter by reader, or to have it look at everything.
SETTINGS: Final[Mapping[str, Sequence[str]]] = {
    "as it is": (),
    "no index": ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"),
    "no sequence": ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"),
    "nothing kept": ("enable_material", "enable_memoize", "enable_hashagg", "enable_sort"),
}
TOLD: Final = (
    "Node Type",
    "Relation Name",
    "Function Name",
    "Plan Rows",
    "Plan Width",
    "Startup Cost",
    "Total Cost",
    "Actual Rows",
    "Actual Loops",
)


def connect(url: str, user: str) -> Connection:
    return psycopg.connect(make_conninfo(url, user=user, password=PASSWORD), autocommit=True)


def grant(url: str, name: str, municipality: str) -> None:
    async def with_pool() -> None:
        async with make_pool(Settings(database_url=SecretStr(url)), max_size=1) as pool:
            await grant_reader(pool, name, [municipality], PASSWORD)

    asyncio.run(with_pool())


def fill_alone(connection: Connection) -> None:
    fill(connection, OWN, start=recent_start(2), days=2)
    connection.execute("ANALYZE")


def fill_all(connection: Connection) -> None:
    for municipality in (OWN, *OTHERS):
        fill(connection, municipality, start=recent_start(2), days=2)
    connection.execute("ANALYZE")


class Installations:
    """The same reader of one municipality, alone and beside two others, and one of another."""

    def __init__(self, alone: str, beside: str, owner: Connection, names: tuple[str, str]) -> None:
        self.urls = (alone, beside)
        self.owner = owner
        self.reader, self.other = names
        grant(alone, self.reader, OWN)
        grant(beside, self.reader, OWN)
        grant(beside, self.other, OTHERS[0])

    def relations(self) -> list[sql.Composable]:
        """Return what a reader may select from: views, and functions of all time."""
        rows = self.owner.execute(
            "SELECT c.relname, NULL FROM pg_class c WHERE relnamespace = 'reader'::regnamespace "
            "AND has_table_privilege(%(reader)s, c.oid, 'SELECT') "
            "UNION ALL SELECT p.proname, p.pronargs FROM pg_proc p "
            "WHERE pronamespace = 'reader'::regnamespace AND p.pronargs > 0 "
            "AND has_function_privilege(%(reader)s, p.oid, 'EXECUTE')",
            {"reader": self.reader},
        ).fetchall()
        return [
            sql.Identifier("reader", name)
            + (sql.SQL("") if arguments is None else sql.SQL("('-infinity', 'infinity')"))
            for name, arguments in rows
        ]


@pytest.fixture(scope="module")
def installations(databases: Databases) -> Iterator[Installations]:
    since = recent_start(2)
    with ExitStack() as stack:
        alone = stack.enter_context(databases.filled(f"{OWN} alone since {since}", fill_alone))
        beside = stack.enter_context(databases.filled(f"all analysed since {since}", fill_all))
        owner = stack.enter_context(psycopg.connect(beside, autocommit=True))
        names = stack.enter_context(role(owner)), stack.enter_context(role(owner))
        # Rights in the other database have to go before the role can.
        alone_owner = stack.enter_context(psycopg.connect(alone, autocommit=True))
        stack.callback(
            lambda: alone_owner.execute(
                sql.SQL("DROP OWNED BY {}").format(sql.Identifier(names[0]))
            )
        )
        yield Installations(alone, beside, owner, names)


def told(plan: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a plan tells of rows, node by node."""
    removed = [(key, plan[key]) for key in sorted(plan) if key.startswith("Rows Removed")]
    return (
        *(plan.get(key) for key in TOLD),
        *removed,
        *(told(below) for below in plan.get("Plans", ())),
    )


def explain(connection: Connection, query: sql.Composable) -> tuple[Any, ...]:
    options = sql.SQL("EXPLAIN (ANALYZE, VERBOSE, BUFFERS, TIMING OFF, SUMMARY OFF, FORMAT JSON) ")
    row = connection.execute(options + query).fetchone()
    assert row is not None
    return told(row[0][0]["Plan"])


def questions(sample: Mapping[str, Any]) -> list[sql.Composable]:
    """Return what may be asked of a relation, by the values of a row of somebody else's."""
    asked: list[sql.Composable] = [sql.SQL("true")]
    for column, value in sample.items():
        if isinstance(value, COMPARED):
            names = {"column": sql.Identifier(column), "value": sql.Literal(value)}
            asked += [sql.SQL("{column} = {value}").format(**names)]
            if not isinstance(value, bool):
                asked += [sql.SQL("{column} >= {value}").format(**names)]
    return asked


def sample_of(connection: Connection, relation: sql.Composable) -> dict[str, Any]:
    cursor = connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(relation))
    row = cursor.fetchone()
    assert row is not None, relation
    assert cursor.description is not None
    return dict(zip([column.name for column in cursor.description], row, strict=True))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_plan_is_the_same_beside_others(installations: Installations, setting: str) -> None:
    relations = installations.relations()
    assert len(relations) >= 34
    with ExitStack() as stack:
        alone, beside = (
            stack.enter_context(connect(url, installations.reader)) for url in installations.urls
        )
        other = stack.enter_context(connect(installations.urls[1], installations.other))
        for name in SETTINGS[setting]:
            for connection in (alone, beside):
                connection.execute(sql.SQL("SET {} = off").format(sql.Identifier(name)))
        for relation in relations:
            for question in questions(sample_of(other, relation)):
                query = sql.SQL("SELECT * FROM {} WHERE {}").format(relation, question)
                assert explain(beside, query) == explain(alone, query), query.as_string()


def test_every_prepared_plan_is_the_same_beside_others(installations: Installations) -> None:
    with ExitStack() as stack:
        alone, beside = (
            stack.enter_context(connect(url, installations.reader)) for url in installations.urls
        )
        other = stack.enter_context(connect(installations.urls[1], installations.other))
        for relation in installations.relations():
            sample = sample_of(other, relation)
            column = "vehicle_id" if "vehicle_id" in sample else "municipality_id"
            seen = []
            for connection in (alone, beside):
                connection.execute("SET plan_cache_mode = force_generic_plan")
                connection.execute(
                    sql.SQL("PREPARE asked (text) AS SELECT * FROM {} WHERE {} = $1").format(
                        relation, sql.Identifier(column)
                    )
                )
                execute = sql.SQL("EXECUTE asked ({})").format(sql.Literal(sample[column]))
                seen.append(explain(connection, execute))
                connection.execute("DEALLOCATE asked")
            assert seen[0] == seen[1], relation


def test_what_the_server_logs_to_the_client_is_the_same_beside_others(
    installations: Installations,
) -> None:
    for relation in installations.relations():
        logged: list[list[str]] = []
        for url in installations.urls:
            with connect(url, installations.reader) as reader:
                lines: list[str] = []
                reader.add_notice_handler(
                    lambda notice, lines=lines: lines.extend(  # type: ignore[misc]
                        re.findall(
                            r"\w+_rows \S+|.*sort.*",
                            f"{notice.message_primary}\n{notice.message_detail}",
                        )
                    )
                )
                for name in ("debug_print_plan", "debug_print_parse", "trace_sort"):
                    reader.execute(sql.SQL("SET {} = on").format(sql.Identifier(name)))
                reader.execute("SET client_min_messages = log")
                reader.execute(sql.SQL("SELECT count(*) FROM {}").format(relation))
                assert any("plan_rows" in line for line in lines)
                logged.append(lines)
        assert logged[0] == logged[1], relation


MORE_VEHICLES, MORE_ROWS = 200, 150
GROWN: Final = {
    "segment": (
        "INSERT INTO segment (vehicle_id, started_at, ended_at, state, distance_m, moved, "
        "start_lat, start_lon, end_lat, end_lon, is_open) "
        "SELECT vehicle_id, at, at + interval '9 min', "
        "'parked', 0, false, 0, 0, 0, 0, false"
    ),
    "trip": (
        "INSERT INTO trip (vehicle_id, started_at, ended_at, distance_m, driving_s, idling_s, "
        "start_lat, start_lon, end_lat, end_lon, is_open) "
        "SELECT vehicle_id, at, at + interval '9 min', 0, 0, 0, 0, 0, 0, 0, false"
    ),
    "round_trip": (
        "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, distance_m, trip_count, "
        "is_open) SELECT vehicle_id, at, at + interval '9 min', 'complete', 0, 1, false"
    ),
    "usage_hour": ("INSERT INTO usage_hour SELECT vehicle_id, at, 0, 0, 3600, 0, 0, 0, 0, 0, 0"),
}


def test_what_is_read_does_not_grow_with_others_rows(databases: Databases) -> None:
    """Whatever a reader turns off: the number of blocks would tell how much others have."""

    def blocks(reader: Connection) -> dict[str, int]:
        counts = {}
        for name in (*GROWN, "usage_day", "utilisation_day", "depot_occupancy", "km_precision"):
            query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM reader.{name}"
            reader.execute(query.encode())  # plans and catalogues are read once
            row = reader.execute(query.encode()).fetchone()
            assert row is not None
            plan = row[0][0]["Plan"]
            counts[name] = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return counts

    with ExitStack() as stack:
        what = f"all analysed since {recent_start(2)}"
        url = stack.enter_context(databases.filled(what, fill_all))
        owner = stack.enter_context(psycopg.connect(url, autocommit=True))
        name = stack.enter_context(role(owner))
        grant(url, name, OWN)
        with connect(url, name) as reader:
            for setting in SETTINGS["no index"]:
                reader.execute(sql.SQL("SET {} = off").format(sql.Identifier(setting)))
            reader.execute("SET random_page_cost = 1e9")
            reader.execute("SET seq_page_cost = 0")
            before = blocks(reader)
            owner.execute(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name) "
                "SELECT 'favrskov/more-' || n, 'favrskov', n FROM generate_series(1, %s) AS n",
                [MORE_VEHICLES],
            )
            for statement in GROWN.values():
                owner.execute(
                    f"{statement} FROM vehicle, generate_series(1, %s) AS n, "
                    "LATERAL (SELECT now() - n * interval '1 hour') AS t (at) "
                    "WHERE vehicle_id LIKE 'favrskov/more-%%'".encode(),
                    [MORE_ROWS],
                )
            owner.execute("VACUUM ANALYZE")
            after = blocks(reader)
    for name, count in after.items():
        # An index grows by a level, and is descended once for each vehicle.
        assert count <= 3 * before[name] + 50, (name, before[name], count)


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
        found = TypeInfo.fetch(reader, "timestamptz")
        assert found is not None
        assert found.name == "timestamptz"
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
    assert [one for one in open_ones if one.closable] == []
    assert "database postgres" in " ".join(one.what for one in open_ones)


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
        left = [one for one in ask_exposures(owners_url) if one.closable]
        assert "everybody may read pg_stat_activity" in {one.what for one in left}
        for one in left:
            superuser.execute(one.command.encode())
        assert [one for one in ask_exposures(owners_url) if one.closable] == []
