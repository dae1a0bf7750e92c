"""Migrations: repeatable, safe from several processes, all or nothing; and what they guarantee."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from infra.database.connection.migrate import migrate
from tests.databases import Databases
from tests.sample_fleet import Connection, fill, recent_start

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MIGRATE = "import sys; from infra.database.connection.migrate import migrate; migrate(sys.argv[1])"


@pytest.fixture
def empty_url(databases: Databases) -> Iterator[str]:
    """Yield a connection to a database that holds nothing."""
    with databases.empty() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('a', 'A')")
        connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name) VALUES ('a/1', 'a', '1')"
        )
        yield connection


def structure(url: str) -> list[TupleRow]:
    """Return every relation, column and constraint of our schemas."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT n.nspname, c.relname, c.relkind::text, a.attname, "
            "format_type(a.atttypid, a.atttypmod) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
            "WHERE n.nspname IN ('public', 'reader') "
            "UNION ALL SELECT 'constraint', conname, contype::text, conrelid::regclass::text, "
            "pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2, 3, 4, 5"
        ).fetchall()


def start_migrating(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MIGRATE, url], stderr=subprocess.PIPE)


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        fill(connection, "syddjurs", start=recent_start(1), days=1)
    before = structure(database_url)
    migrate(database_url)
    assert structure(database_url) == before
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM vehicle").fetchone() == (5,)


def test_several_processes_at_once_give_one_schema(empty_url: str, database_url: str) -> None:
    processes = [start_migrating(empty_url) for _ in range(4)]
    results = [(process.communicate()[1], process.returncode) for process in processes]
    assert [code for _, code in results] == [0, 0, 0, 0], results
    assert structure(empty_url) == structure(database_url)


@contextmanager
def blocked_at_the_reader_schema(url: str) -> Iterator[Connection]:
    """Hold the name of the last revision's schema, so that a migration stops halfway, waiting."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA reader")
        yield connection
        connection.rollback()


def test_a_migration_killed_halfway_leaves_nothing(empty_url: str, database_url: str) -> None:
    untouched = structure(empty_url)
    name = conninfo_to_dict(empty_url)["dbname"]
    with (
        psycopg.connect(empty_url, autocommit=True) as watcher,
        blocked_at_the_reader_schema(empty_url),
    ):
        process = start_migrating(empty_url)
        deadline = time.monotonic() + 30
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock' "
            "AND query LIKE '%%CREATE SCHEMA reader%%' AND pid <> pg_backend_pid()"
        )
        while not (row := watcher.execute(waiting, [name]).fetchone()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the migration never reached the last revision"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    alive = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    with psycopg.connect(empty_url, autocommit=True) as watcher:
        while watcher.execute(alive, [row[0]]).fetchone():
            assert time.monotonic() < deadline, "the server kept the killed migration's session"
            time.sleep(0.02)
    assert structure(empty_url) == untouched
    migrate(empty_url)
    assert structure(empty_url) == structure(database_url)


INTERVALS = {
    "segment": (
        "INSERT INTO segment (vehicle_id, started_at, ended_at, state, distance_m, moved, "
        "start_lat, start_lon, end_lat, end_lon, is_open) "
        "VALUES ('a/1', %s, %s, 'parked', 0, false, 0, 0, 0, 0, %s)"
    ),
    "trip": (
        "INSERT INTO trip (vehicle_id, started_at, ended_at, distance_m, driving_s, idling_s, "
        "start_lat, start_lon, end_lat, end_lon, is_open) "
        "VALUES ('a/1', %s, %s, 0, 0, 0, 0, 0, 0, 0, %s)"
    ),
    "round_trip": (
        "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, distance_m, trip_count, "
        "is_open) VALUES ('a/1', %s, %s, 'complete', 0, 1, %s)"
    ),
    "idle_interval": (
        "INSERT INTO idle_interval (vehicle_id, started_at, ended_at, lat, lon, fuel_l, co2e_kg, "
        "is_open) VALUES ('a/1', %s, %s, 0, 0, 0, 0, %s)"
    ),
}


@pytest.mark.parametrize("table", INTERVALS)
def test_an_interval_cannot_end_before_it_starts(database: Connection, table: str) -> None:
    with pytest.raises(errors.CheckViolation):
        database.execute(INTERVALS[table], [AT, AT - MINUTE, False])


@pytest.mark.parametrize("table", ["segment", "trip"])
def test_intervals_of_a_vehicle_may_touch_but_not_overlap(database: Connection, table: str) -> None:
    database.execute(INTERVALS[table], [AT, AT + 10 * MINUTE, False])
    database.execute(INTERVALS[table], [AT + 10 * MINUTE, AT + 20 * MINUTE, False])
    with pytest.raises(errors.ExclusionViolation, match=r"a/1 .* overlaps another one"):
        database.execute(INTERVALS[table], [AT + 5 * MINUTE, AT + 6 * MINUTE, False])


@pytest.mark.parametrize("table", ["segment", "trip"])
def test_what_is_around_or_beside_an_interval_is_refused_too(
    database: Connection, table: str
) -> None:
    database.execute(INTERVALS[table], [AT + 5 * MINUTE, AT + 6 * MINUTE, False])
    for start, end in ((0, 10), (0, 5.5), (5.5, 10)):
        with pytest.raises(errors.ExclusionViolation), database.transaction():
            database.execute(INTERVALS[table], [AT + start * MINUTE, AT + end * MINUTE, False])
    database.execute(INTERVALS[table], [AT, AT + 5 * MINUTE, False])
    with pytest.raises(errors.ExclusionViolation):
        database.execute(f"UPDATE {table} SET ended_at = ended_at + INTERVAL '1 minute'".encode())


@pytest.mark.parametrize("table", ["segment", "trip", "round_trip"])
def test_a_vehicle_has_at_most_one_open_interval(database: Connection, table: str) -> None:
    database.execute(INTERVALS[table], [AT, AT + MINUTE, True])
    with pytest.raises(errors.UniqueViolation):
        database.execute(INTERVALS[table], [AT + MINUTE, AT + 2 * MINUTE, True])


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        (
            "INSERT INTO usage_hour VALUES ('a/1', now(), 3600, 0, 0, 0.000001, 0, 0, 0, 0, 0)",
            errors.CheckViolation,
        ),
        (
            "INSERT INTO vehicle (vehicle_id, municipality_id, name) VALUES ('b/1', 'a', '1')",
            errors.CheckViolation,
        ),
        (
            (
                "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
                "VALUES ('b/d', 'a', 'd', 0, 0, 1)"
            ),
            errors.CheckViolation,
        ),
        (
            "INSERT INTO vehicle (vehicle_id, municipality_id, name) VALUES ('c/1', 'c', '1')",
            errors.ForeignKeyViolation,
        ),
        (
            "INSERT INTO stream_progress VALUES ('fixes', 0, -1)",
            errors.CheckViolation,
        ),
        (
            "INSERT INTO reader_access VALUES ('somebody', 'nowhere')",
            errors.ForeignKeyViolation,
        ),
        (
            "INSERT INTO tracker_assignment VALUES ('b/352093', 'a/1', now())",
            errors.CheckViolation,
        ),
        (
            "INSERT INTO tracker_assignment VALUES ('a/352093', 'a/2', now())",
            errors.ForeignKeyViolation,
        ),
        (
            "INSERT INTO tracker_assignment VALUES ('a/352093', 'a/1', now(), now())",
            errors.CheckViolation,
        ),
    ],
)
def test_the_database_refuses_what_cannot_be(
    database: Connection, statement: str, error: type[psycopg.Error]
) -> None:
    with pytest.raises(error):
        database.execute(statement)


def test_a_vehicle_cannot_be_at_home_in_another_municipality(database: Connection) -> None:
    database.execute("INSERT INTO municipality (municipality_id, name) VALUES ('b', 'B')")
    database.execute(
        "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
        "VALUES ('b/d', 'b', 'd', 0, 0, 1)"
    )
    with pytest.raises(errors.ForeignKeyViolation):
        database.execute("UPDATE vehicle SET home_depot_id = 'b/d' WHERE vehicle_id = 'a/1'")


def test_a_tracker_is_in_one_vehicle_at_a_time_and_each_change_is_counted(
    database: Connection,
) -> None:
    insert = "INSERT INTO tracker_assignment VALUES ('a/352093', 'a/1', %s, %s)"
    database.execute(insert, [AT, AT + MINUTE])
    database.execute(insert, [AT + MINUTE, None])
    with pytest.raises(errors.ExclusionViolation):
        database.execute(insert, [AT + 5 * MINUTE, AT + 6 * MINUTE])
    database.execute("DELETE FROM tracker_assignment")
    assert database.execute("SELECT revision FROM tracker_revision").fetchall() == [(3,)]
    with pytest.raises(errors.UniqueViolation):
        database.execute("INSERT INTO tracker_revision (revision) VALUES (0)")


def test_letters_of_before_get_the_vendor_that_their_message_says(empty_url: str) -> None:
    migrate(empty_url, "0019")
    values = {
        b'{"vendor": "trackit", "fixes": []}': "trackit",
        b'{"vendor": "\\u0000"}': None,
        b'{"vendor": "a\\u001b"}': None,
        b'{"vendor": 7}': None,
        b'{"vendor": "' + b"v" * 61 + b'"}': None,
        b'[{"vendor": "trackit"}]': None,
        b"not json": None,
        b"\xff\xfe": None,
        b"": None,
        b"[" * 100_000: None,
    }
    with psycopg.connect(empty_url, autocommit=True) as connection:
        for value in values:
            connection.execute(
                "INSERT INTO dead_letter (dead_letter_id, reason, detail, topic, partition, "
                "record_offset, message_value) VALUES (gen_random_uuid(), 'r', 'd', 't', 0, 0, %s)",
                [value],
            )
    migrate(empty_url)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        rows = connection.execute("SELECT message_value, vendor FROM dead_letter").fetchall()
        assert {bytes(value): vendor for value, vendor in rows} == values
        for change in ("discarded_at = now()", "discarded_by = 'me'"):
            with pytest.raises(errors.CheckViolation):
                connection.execute(f"UPDATE dead_letter SET {change}".encode())


def test_alerts_of_before_and_events_that_wait_get_the_plainer_names(empty_url: str) -> None:
    migrate(empty_url, "0027")
    names = {
        "silent": "not-reporting",
        "heard-after-retirement": "reporting-after-retirement",
        "underused": "underused",
    }
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('m', 'M')")
        connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type) "
            "VALUES ('m/car', 'm', 'Car', 'car')"
        )
        for kind in names:
            connection.execute(
                "INSERT INTO alert (alert_id, municipality_id, kind, vehicle_id, raised_at, "
                "reason) VALUES (gen_random_uuid(), 'm', %s, 'm/car', now(), %s)",
                [kind, kind],
            )
            connection.execute(
                "INSERT INTO outbox (message_id, topic, key, payload) VALUES (gen_random_uuid(), "
                "'t', %(kind)s, "
                "jsonb_build_object('type', 'alert-raised', 'kind', %(kind)s::text))",
                {"kind": kind},
            )
    migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        rows = connection.execute("SELECT reason, kind FROM alert").fetchall()
        waiting = connection.execute("SELECT key, payload ->> 'kind' FROM outbox").fetchall()
    assert dict(rows) == dict(waiting) == names


def test_a_plan_that_was_asked_for_before_is_on_request_now(empty_url: str) -> None:
    migrate(empty_url, "0027")
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('a', 'A')")
        connection.execute(
            "INSERT INTO plan (plan_id, municipality_id, created_at, trigger, trigger_reason, "
            "demand_from, demand_to, round_trip_count, inputs_hash, seed, status, objective_dkk, "
            "bound_dkk, gap, cost_before_dkk, document) "
            "VALUES (gen_random_uuid(), 'a', %(at)s, 'on-demand', 'asked for by Ea Lund', %(at)s, "
            "%(at)s, 1, repeat('0', 64), 1, 'feasible', 0, 0, 0, 0, "
            """'{"trigger": "on-demand", "trigger_reason": "asked for by Ea Lund"}')""",
            {"at": AT},
        )
    migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        stored = connection.execute("SELECT trigger, document->>'trigger' FROM plan").fetchall()
        shown = connection.execute(
            "SELECT trigger, trigger_reason, document->>'trigger_reason' FROM tenants.plan"
        ).fetchall()
    assert stored == [("on-request", "on-request")]
    assert shown == [("on-request", "asked for", "asked for")]
