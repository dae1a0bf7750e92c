"""Hours of two vehicles over weeks, and the rollups of them on TimescaleDB."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from psycopg import sql
from psycopg.rows import TupleRow

from tests.sample_fleet import Connection

BUCKETS = {"usage_day": "day", "usage_week": "week", "usage_month": "month"}
SPRING = datetime(2026, 3, 29, tzinfo=UTC)  # 23 hours in Copenhagen
AUTUMN = datetime(2026, 10, 25, tzinfo=UTC)  # 25 hours
MEASURES = (
    "driving_s, idling_s, parked_s, offline_s, distance_m, trip_count, fuel_l, energy_kwh, "
    "co2e_kg, away_s"
)


def drive_all_day(connection: Connection, start: datetime, hours: int, *, seed: int) -> None:
    """Enter hours of two vehicles with whole numbers, which every order of adding sums alike."""
    numbers = random.Random(seed)
    with connection.cursor() as cursor:
        for vehicle_id in ("a/1", "a/2"):
            for hour in range(hours):
                driving, idling = numbers.randrange(1800), numbers.randrange(1800)
                cursor.execute(
                    "INSERT INTO usage_hour VALUES (%s, %s, %s, %s, %s, 0, %s, %s, %s, %s, %s, %s)",
                    [
                        vehicle_id,
                        start + timedelta(hours=hour),
                        driving,
                        idling,
                        3600 - driving - idling,
                        *(numbers.randrange(50_000) for _ in range(5)),
                        numbers.randrange(3600),
                    ],
                )


def rollup(connection: Connection, name: str, *, schema: str = "public") -> list[TupleRow]:
    return connection.execute(
        f"SELECT vehicle_id, {BUCKETS[name]}, {MEASURES} FROM {schema}.{name} ORDER BY 1, 2"
    ).fetchall()


def refresh_by_policy(connection: Connection) -> None:
    """Run the refresh job as the scheduler would."""
    job = connection.execute(
        "SELECT job_id FROM timescaledb_information.jobs "
        "WHERE proc_name = 'policy_refresh_continuous_aggregate'"
    ).fetchone()
    assert job is not None
    connection.execute(sql.SQL("CALL run_job({})").format(sql.Literal(job[0])))
