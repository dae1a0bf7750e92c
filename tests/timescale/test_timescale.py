"""What only the real TimescaleDB can tell: hypertables, policies, continuous aggregates."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import errors, sql
from pydantic import SecretStr
from sqlalchemy import create_engine, pool, text
from sqlalchemy.engine import make_url

from infra.database.connection.migrate import migrate
from infra.database.connection.pool import make_pool
from infra.database.connection.timescale import PlainPostgres
from infra.database.fleet import tracker_assignments
from infra.database.timeline.fixes import allow_old_fixes, put_fixes, revise_fixes
from infra.settings import Settings
from tests.sample_fleet import IDLING_MIN, VEHICLES, Connection, fill, recent_start
from tests.usage_rows import (
    AUTUMN,
    BUCKETS,
    SPRING,
    drive_all_day,
    refresh_by_policy,
    rollup,
)

pytestmark = pytest.mark.timescale


@pytest.fixture
def plain_rollups(timescale_url: str, timescale: Connection) -> Iterator[None]:
    """Create the views that plain PostgreSQL gets, in a schema of their own."""
    url = make_url(timescale_url).set(drivername="postgresql+psycopg")
    timescale.execute("CREATE SCHEMA plain")
    with create_engine(url, poolclass=pool.NullPool).begin() as connection:
        connection.execute(text("SET LOCAL search_path = plain, public"))
        PlainPostgres(connection).more_in_rollups(("away_s",))
    yield
    timescale.execute("DROP SCHEMA plain CASCADE")


def test_it_is_timescale_with_two_hypertables(timescale: Connection) -> None:
    assert timescale.execute(
        "SELECT hypertable_name, column_name, time_interval "
        "FROM timescaledb_information.hypertables "
        "JOIN timescaledb_information.dimensions USING (hypertable_schema, hypertable_name) "
        "WHERE hypertable_schema = 'public' ORDER BY 1"
    ).fetchall() == [
        ("fix", "recorded_at", timedelta(days=7)),
        ("usage_hour", "hour", timedelta(days=28)),
    ]


def test_the_policies_are_those_that_the_design_names(timescale: Connection) -> None:
    jobs = timescale.execute(
        "SELECT proc_name, hypertable_name, config->>'drop_after', config->>'compress_after', "
        "config->>'start_offset' FROM timescaledb_information.jobs WHERE job_id >= 1000"
    ).fetchall()
    assert {job[:4] for job in jobs if job[1] == "fix"} == {
        ("policy_retention", "fix", "90 days", None),
        ("policy_compression", "fix", None, "14 days"),
    }
    # A start would keep a replayed history out of the rollups for ever.
    assert [job[4] for job in jobs if job[0] == "policy_refresh_continuous_aggregate"] == [None]


def test_the_rollups_are_continuous_and_show_what_is_not_materialised(
    timescale: Connection,
) -> None:
    assert timescale.execute(
        "SELECT view_name, materialized_only FROM timescaledb_information.continuous_aggregates"
    ).fetchall() == [("usage_day_part", False)]


def test_migrating_again_changes_nothing(timescale_url: str, timescale: Connection) -> None:
    jobs = "SELECT job_id, proc_name FROM timescaledb_information.jobs ORDER BY 1"
    before = timescale.execute(jobs).fetchall()
    migrate(timescale_url)
    assert timescale.execute(jobs).fetchall() == before


@pytest.mark.usefixtures("plain_rollups")
@pytest.mark.parametrize("name", BUCKETS)
@pytest.mark.parametrize(
    "start", [SPRING, AUTUMN, datetime(2026, 1, 1, tzinfo=UTC)], ids=["spring", "autumn", "year"]
)
def test_a_rollup_equals_the_plain_view(timescale: Connection, name: str, start: datetime) -> None:
    drive_all_day(timescale, start - timedelta(days=3), 24 * 7, seed=1)
    assert len(rollup(timescale, name, schema="plain")) >= 2
    refresh_by_policy(timescale)
    assert rollup(timescale, name) == rollup(timescale, name, schema="plain")


@pytest.mark.usefixtures("plain_rollups")
@pytest.mark.parametrize("name", BUCKETS)
def test_today_shows_at_once(timescale: Connection, name: str) -> None:
    start = recent_start(3)
    drive_all_day(timescale, start, 72, seed=1)
    refresh_by_policy(timescale)
    drive_all_day(timescale, start + timedelta(days=3), 24, seed=2)  # nobody refreshes
    assert rollup(timescale, name) == rollup(timescale, name, schema="plain")


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_local_day_has_as_many_hours_as_the_clock_says(
    timescale: Connection, day: datetime, hours: int
) -> None:
    for hour in range(-48, 72):
        timescale.execute(
            "INSERT INTO usage_hour VALUES ('a/1', %s, 0, 0, 3600, 0, 0, 0, 0, 0, 0)",
            [day + timedelta(hours=hour)],
        )
    refresh_by_policy(timescale)
    assert timescale.execute(
        "SELECT parked_s / 3600 FROM usage_day "
        "WHERE (day AT TIME ZONE 'Europe/Copenhagen')::date = %s",
        [day.date()],
    ).fetchall() == [(hours,)]


@pytest.mark.usefixtures("plain_rollups")
@pytest.mark.parametrize("seed", range(6))
def test_changes_of_a_materialised_past_arrive_with_the_policy(
    timescale: Connection, seed: int
) -> None:
    numbers = random.Random(seed)
    for start in (SPRING, AUTUMN, SPRING - timedelta(days=400)):  # the last one is a replay
        drive_all_day(timescale, start - timedelta(days=1), numbers.randrange(40, 90), seed=seed)
        refresh_by_policy(timescale)
        for _ in range(numbers.randrange(1, 4)):
            hour = numbers.choice((SPRING, AUTUMN)) + timedelta(hours=numbers.randrange(-24, 48))
            timescale.execute("DELETE FROM usage_hour WHERE hour = %s", [hour])
        timescale.execute("UPDATE usage_hour SET trip_count = trip_count + 1")  # over many chunks
        refresh_by_policy(timescale)
        for name in BUCKETS:
            assert rollup(timescale, name) == rollup(timescale, name, schema="plain"), name


def fix_count(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM fix").fetchone()
    assert row is not None
    return int(row[0])


def test_a_late_fix_reaches_the_columnstore_once(timescale: Connection) -> None:
    insert = (
        "INSERT INTO fix (vehicle_id, recorded_at, received_at, lat, lon) "
        "SELECT 'a/1', %(at)s::timestamptz + i * interval '1 minute', now(), 56.3, 10.5 "
        "FROM generate_series(1, 100) AS i ON CONFLICT (vehicle_id, recorded_at) DO NOTHING"
    )
    at = datetime.now(UTC) - timedelta(days=30)
    timescale.execute(insert, {"at": at})
    for (chunk,) in timescale.execute("SELECT show_chunks('fix')::text").fetchall():
        timescale.execute(
            sql.SQL("CALL convert_to_columnstore({}::regclass)").format(sql.Literal(chunk))
        )
    assert timescale.execute(
        "SELECT bool_and(is_compressed) FROM timescaledb_information.chunks "
        "WHERE hypertable_name = 'fix'"
    ).fetchone() == (True,)
    timescale.execute(insert, {"at": at})  # the same again
    assert fix_count(timescale) == 100
    timescale.execute(insert, {"at": at + timedelta(seconds=30)})  # in between
    assert fix_count(timescale) == 200


def test_fixes_of_a_tracker_leave_the_columnstore_for_another_vehicle(
    timescale_url: str, timescale: Connection
) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
    timescale.execute(
        "INSERT INTO fix (vehicle_id, recorded_at, received_at, lat, lon, tracker_id) "
        "SELECT 'a/1', %s::timestamptz + i * interval '1 minute', now(), 56.3, 10.5, "
        "CASE WHEN i %% 2 = 0 THEN 'a/352093' END FROM generate_series(1, 100) AS i",
        [at],
    )
    for (chunk,) in timescale.execute("SELECT show_chunks('fix')::text").fetchall():
        timescale.execute(
            sql.SQL("CALL convert_to_columnstore({}::regclass)").format(sql.Literal(chunk))
        )
    with timescale.transaction(force_rollback=True):  # as revision 0010 does where fixes are
        timescale.execute("ALTER TABLE fix ADD COLUMN added text")
    since, until = at + timedelta(minutes=20), at + timedelta(minutes=80)

    async def move() -> None:
        settings = Settings(database_url=SecretStr(timescale_url))
        async with (
            make_pool(settings, max_size=1) as connections,
            connections.connection() as connection,
        ):
            await connection.execute(
                "SET timescaledb.max_tuples_decompressed_per_dml_transaction = 10"
            )
            with pytest.raises(errors.ConfigurationLimitExceeded):
                async with connection.transaction():
                    await tracker_assignments.delete_sent(
                        connection, "a/1", "a/352093", since, until
                    )
            async with connection.transaction():
                await allow_old_fixes(connection)
                sent = await tracker_assignments.read_sent(
                    connection, "a/1", "a/352093", since, until, None, 1000
                )
                await put_fixes(connection, [("a/2", *row[1:]) for row in sent])
                await tracker_assignments.delete_sent(connection, "a/1", "a/352093", since, until)

    asyncio.run(move())
    assert timescale.execute(
        "SELECT vehicle_id, tracker_id, count(*) FROM fix GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall() == [("a/1", "a/352093", 20), ("a/1", None, 50), ("a/2", "a/352093", 30)]


def test_what_is_told_of_a_fix_opens_no_more_of_the_columnstore_than_where_it_is(
    timescale_url: str, timescale: Connection
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    old = [now - timedelta(days=days) for days in (60, 40, 20)]
    timescale.execute(
        "INSERT INTO fix (vehicle_id, recorded_at, received_at, lat, lon) "
        "SELECT vehicle_id, at + i * interval '1 minute', now(), 56.3, 10.5 FROM "
        "unnest(ARRAY['a/1', 'a/2']) AS vehicle_id, unnest(%s::timestamptz[]) AS at, "
        "generate_series(0, 99) AS i",
        [[*old, now]],
    )
    for (chunk,) in timescale.execute(
        "SELECT show_chunks('fix', older_than => INTERVAL '14 days')::text"
    ).fetchall():
        timescale.execute(
            sql.SQL("CALL convert_to_columnstore({}::regclass)").format(sql.Literal(chunk))
        )
    recent = {(name, now): "stale-position" for name in ("a/1", "a/2")}
    most_decompressed = "timescaledb.max_tuples_decompressed_per_dml_transaction"
    late = {("a/1", old[0]): "stale-position", ("a/1", old[1]): "stale-position"}

    async def tell() -> None:
        settings = Settings(database_url=SecretStr(timescale_url))
        async with (
            make_pool(settings, max_size=1) as connections,
            connections.connection() as connection,
        ):
            for most, reasons in ((1, recent), (200, late)):
                await connection.execute(f"SET {most_decompressed} = {most}")
                async with connection.transaction():
                    await revise_fixes(connection, reasons)
            await connection.execute(
                "RESET timescaledb.max_tuples_decompressed_per_dml_transaction"
            )

    asyncio.run(tell())
    assert timescale.execute(
        "SELECT vehicle_id, recorded_at FROM fix WHERE quarantine = 'stale-position' ORDER BY 1, 2"
    ).fetchall() == sorted([*recent, *late])


def test_raw_positions_go_after_ninety_days_and_usage_stays(timescale: Connection) -> None:
    for age_days in (200, 10):
        at = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=age_days)
        timescale.execute(
            "INSERT INTO fix (vehicle_id, recorded_at, received_at, lat, lon) "
            "VALUES ('a/1', %s, now(), 56.3, 10.5)",
            [at],
        )
        drive_all_day(timescale, at, 1, seed=5)
    row = timescale.execute(
        "SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"
    ).fetchone()
    assert row is not None
    timescale.execute(sql.SQL("CALL run_job({})").format(sql.Literal(row[0])))
    assert fix_count(timescale) == 1
    assert timescale.execute("SELECT count(*) FROM usage_hour").fetchone() == (4,)


SEGMENT = (
    "INSERT INTO segment (vehicle_id, started_at, ended_at, state, distance_m, moved, "
    "start_lat, start_lon, end_lat, end_lon, is_open) "
    "VALUES ('a/car-1', %s, %s, 'parked', 0, false, 0, 0, 0, 0, %s)"
)


def test_the_constraints_hold_here_too(timescale: Connection) -> None:
    fill(timescale, "a", start=SPRING, days=1)
    minute = timedelta(minutes=1)
    with pytest.raises(errors.ExclusionViolation):
        timescale.execute(SEGMENT, [SPRING + minute, SPRING + 2 * minute, False])
    with pytest.raises(errors.CheckViolation):
        timescale.execute(SEGMENT, [AUTUMN, AUTUMN - minute, False])
    timescale.execute(SEGMENT, [AUTUMN, AUTUMN + minute, True])
    with pytest.raises(errors.UniqueViolation):
        timescale.execute(SEGMENT, [AUTUMN + minute, AUTUMN + 2 * minute, True])
    with pytest.raises(errors.CheckViolation):
        timescale.execute(
            "INSERT INTO usage_hour VALUES ('a/1', %s, 3600, 1, 0, 0, 0, 0, 0, 0, 0)", [SPRING]
        )


def test_utilisation_and_occupancy_are_told_here_too(timescale: Connection) -> None:
    start = SPRING - timedelta(days=20)  # over two chunks of usage_hour, and a change of the clock
    fill(timescale, "a", start=start, days=25)
    used = {f"a/{name}": driving + IDLING_MIN for name, _, _, _, driving in VEHICLES}
    km = {f"a/{name}": km_a_day for name, _, _, km_a_day, _ in VEHICLES}
    rows = timescale.execute(
        "SELECT vehicle_id, sum(available_s), sum(used_available_s), sum(away_available_s), "
        "sum(driving_s + idling_s), sum(distance_m), sum(trip_count) "
        "FROM utilisation_day GROUP BY 1"
    ).fetchall()
    assert len(rows) == len(VEHICLES)
    for vehicle_id, *sums in rows:
        used_s = 25 * 60 * used[vehicle_id]
        expected = [25 * 9 * 3600, used_s, used_s, used_s, 25_000 * km[vehicle_id], 25]
        assert [float(entry) for entry in sums] == pytest.approx(expected), vehicle_id
    assert timescale.execute(
        "SELECT depot_id, sum(days_used) FROM utilisation_month JOIN vehicle USING (vehicle_id) "
        "JOIN depot ON depot_id = home_depot_id GROUP BY 1 ORDER BY 1"
    ).fetchall() == [("a/north", 50), ("a/south", 50)]
    peaks = timescale.execute(
        "SELECT day, peak_out, peak_at FROM depot_occupancy_day WHERE depot_id = 'a/north' "
        "AND peak_out > 0 ORDER BY day"
    ).fetchall()
    assert [(peak, at) for _, peak, at in peaks] == [
        (2, start + timedelta(days=day, hours=12)) for day in range(25)
    ]
