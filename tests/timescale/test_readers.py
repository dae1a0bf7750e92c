"""Law 4 on the real TimescaleDB: chunks, rollups and the extension's catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from infra.database.access.readers import grant_reader
from infra.database.connection.pool import make_pool
from infra.settings import Settings
from tests.dashboard_queries import run, targets
from tests.grafana_sql import TimeRange
from tests.sample_fleet import Connection, fill, recent_start, role
from tests.two_installations import explain
from tests.usage_rows import BUCKETS, MEASURES, SPRING, drive_all_day, refresh_by_policy, rollup

pytestmark = pytest.mark.timescale


def grant_access(url: str, name: str, municipality: str) -> None:
    async def grant() -> None:
        settings = Settings(database_url=SecretStr(url))
        async with make_pool(settings, max_size=1) as connections:
            await grant_reader(connections, name, [municipality], "only for the tests")

    asyncio.run(grant())


CATALOGUE = (
    ("public", "fix"),
    ("timescaledb_information", "chunks"),
    ("_timescaledb_catalog", "compression_chunk_size"),
)


@contextmanager
def session_of(connection: Connection, name: str) -> Iterator[None]:
    """Be somebody else on the same connection; functions go by who has logged in."""
    become = sql.SQL("SET SESSION AUTHORIZATION {}")
    connection.execute(become.format(sql.Identifier(name)))
    try:
        yield
    finally:
        connection.execute(become.format(sql.Identifier(connection.info.user)))


def test_a_reader_sees_its_own_rows_and_no_chunk(timescale_url: str, timescale: Connection) -> None:
    for municipality in ("a", "b"):
        fill(timescale, municipality, start=recent_start(3), days=3)
    refresh_by_policy(timescale)  # partly materialised, partly computed

    internals = timescale.execute(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        "WHERE n.nspname = '_timescaledb_internal' AND c.relkind IN ('r', 'v') "
        "AND c.relname ~ '^_(hyper|materialized|partial|direct|compressed)'"
    ).fetchall()
    assert len(internals) >= 3
    with role(timescale) as name:
        grant_access(timescale_url, name, "a")
        for view in ("vehicle", "segment", "trip", "usage_hour", *BUCKETS, "utilisation_day"):
            own = f"FROM tenants.{view} WHERE municipality_id = 'a' ORDER BY t::text"
            expected = timescale.execute(f"SELECT t {own.replace(' WHERE', ' t WHERE')}").fetchall()
            with session_of(timescale, name):
                rows = timescale.execute(f"SELECT t FROM reader.{view} t ORDER BY t::text")
                assert rows.fetchall() == expected != [], view
        with session_of(timescale, name):
            for schema, relation in [*internals, ("public", "usage_day_part"), *CATALOGUE]:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    timescale.execute(
                        sql.SQL("SELECT 1 FROM {}").format(sql.Identifier(schema, relation))
                    )


def test_every_plan_of_a_reader_is_the_same_beside_others(
    timescale_url: str, timescale: Connection
) -> None:
    relations = timescale.execute(
        "SELECT c.relname, bool_or(a.attname = 'vehicle_id') FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid "
        "WHERE c.relnamespace = 'reader'::regnamespace AND c.relkind = 'v' GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert len(relations) >= 34

    def question(name: str, *, of_vehicles: bool) -> sql.Composed:
        mine = "vehicle_id = 'b/car-1'" if of_vehicles else "municipality_id = 'b'"
        relation = sql.Identifier("reader", name)
        return sql.SQL("SELECT * FROM {} WHERE {}").format(relation, sql.SQL(mine))

    def plans(reader: str) -> dict[str, tuple[Any, ...]]:
        refresh_by_policy(timescale)
        timescale.execute("ANALYZE")
        with session_of(timescale, reader):
            return {
                name: explain(timescale, question(name, of_vehicles=of_vehicles))
                for name, of_vehicles in relations
            }

    fill(timescale, "a", start=recent_start(3), days=3)
    with role(timescale) as reader:
        grant_access(timescale_url, reader, "a")
        alone = plans(reader)
        fill(timescale, "b", start=recent_start(3), days=3)
        assert plans(reader) == alone


@pytest.mark.parametrize("name", BUCKETS)
def test_a_readers_rollup_of_a_range_is_what_lies_in_it(
    timescale_url: str, timescale: Connection, name: str
) -> None:
    fill(timescale, "a", start=SPRING - timedelta(days=40), days=0)
    drive_all_day(timescale, SPRING - timedelta(days=40), 24 * 80, seed=1)
    timescale.execute(
        "UPDATE usage_hour SET vehicle_id = CASE vehicle_id WHEN 'a/1' THEN 'a/car-1' "
        "ELSE 'a/car-2' END"
    )
    refresh_by_policy(timescale)
    expected = rollup(timescale, name)
    with role(timescale) as reader:
        grant_access(timescale_url, reader, "a")
        with session_of(timescale, reader):
            for first in (0, 5, 30, 41):
                for hours in (0, 1, 23, 24, 24 * 7, 24 * 31):
                    since = SPRING - timedelta(days=40) + timedelta(days=first, hours=-1)
                    until = since + timedelta(hours=hours)
                    rows = timescale.execute(
                        f"SELECT vehicle_id, {BUCKETS[name]}, {MEASURES} "
                        f"FROM reader.{name}(%s, %s) ORDER BY 1, 2",
                        [since, until],
                    ).fetchall()
                    assert rows == [row for row in expected if since <= row[1] <= until]


def test_a_reader_runs_its_plan_on_chunks_of_its_range_only(
    timescale_url: str, timescale: Connection
) -> None:
    fill(timescale, "a", start=SPRING - timedelta(days=200), days=0)
    drive_all_day(timescale, SPRING - timedelta(days=200), 24 * 200, seed=1)
    timescale.execute("UPDATE usage_hour SET vehicle_id = 'a/car-' || right(vehicle_id, 1)")
    timescale.execute("CALL refresh_continuous_aggregate('usage_day_part', NULL, NULL)")
    timescale.execute("ANALYZE")

    def blocks(query: str) -> int:
        row = timescale.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}").fetchone()
        assert row is not None
        plan = row[0][0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    with role(timescale) as reader:
        grant_access(timescale_url, reader, "a")
        with session_of(timescale, reader):
            for name in ("usage_hour", "usage_day"):
                week = f"SELECT * FROM reader.{name}('{SPRING - timedelta(7)}', '{SPRING}')"
                everything = f"SELECT * FROM reader.{name}"
                blocks(week)
                blocks(everything)
                assert 5 * blocks(week) < blocks(everything), name


def test_every_dashboard_finds_here_what_is_there(
    timescale_url: str, timescale: Connection
) -> None:
    start = recent_start(14)
    for municipality in ("a", "b"):
        fill(timescale, municipality, start=start, days=14)
    refresh_by_policy(timescale)
    shown = TimeRange(start - timedelta(hours=2), datetime.now(UTC))
    with role(timescale) as name:
        grant_access(timescale_url, name, "a")
        with session_of(timescale, name):
            timescale.execute("SET search_path = ''")
            for title, target in targets():
                assert run(timescale, target, shown), title
            timescale.execute("SET search_path = public")
