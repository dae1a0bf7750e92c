"""Law 4 of what the server tells beside rows: plans, logs and blocks.

A reader of one municipality is told the same whether it is alone in the database or not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from tests.databases import Databases
from tests.sample_fleet import Connection, recent_start, role
from tests.two_installations import OWN, Installations, connect, explain, fill_all, grant

COMPARED = (bool, int, float, Decimal, str, date, datetime, timedelta, UUID)

# Ways to have the planner go below a filter by reader, or to have it look at everything.
SETTINGS: Final[Mapping[str, Sequence[str]]] = {
    "as it is": (),
    "no index": ("enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"),
    "no sequence": ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"),
    "nothing kept": ("enable_material", "enable_memoize", "enable_hashagg", "enable_sort"),
}


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
