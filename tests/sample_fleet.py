"""Rows of a small fleet in every table that readers see, for tests of what they see."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

Connection = psycopg.Connection[TupleRow]

DEPOTS = ("north", "south")
VEHICLES = (
    # name, type, depot, km a day
    ("car-1", "car", "north", 90.0),
    ("car-2", "car", "north", 70.0),
    ("car-3", "car", "south", 0.4),  # far below its class and below the absolute limit
    ("van-1", "van", "south", 60.0),
    ("stray", "unknown", None, 12.0),  # seen in the stream, no depot entered
)


def fill(connection: Connection, municipality_id: str, *, start: datetime, days: int = 14) -> None:
    """Enter a municipality whose vehicles drive at noon each day, and a plan for it."""
    connection.execute(
        "INSERT INTO municipality (municipality_id, name) VALUES (%s, %s)",
        [municipality_id, municipality_id.title()],
    )
    for depot in DEPOTS:
        connection.execute(
            "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
            "VALUES (%s, %s, %s, 56.3, 10.5, 10)",
            [f"{municipality_id}/{depot}", municipality_id, depot.title()],
        )
    for name, vehicle_type, depot_name, km_a_day in VEHICLES:
        vehicle_id = f"{municipality_id}/{name}"
        depot_id = f"{municipality_id}/{depot_name}" if depot_name else None
        connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, home_depot_id) "
            "VALUES (%s, %s, %s, %s, %s)",
            [vehicle_id, municipality_id, name, vehicle_type, depot_id],
        )
        for day in range(days):
            _drive(connection, vehicle_id, depot_id, start + timedelta(days=day), km_a_day)
    _plan(connection, municipality_id, start + timedelta(days=days))
    _alert(connection, municipality_id, start + timedelta(days=days))


def _drive(
    connection: Connection, vehicle_id: str, depot_id: str | None, day: datetime, km: float
) -> None:
    """One day: parked, at noon half an hour of driving and 6 minutes of idling, parked again."""
    for hour in range(24):
        driving, idling = (1800, 360) if hour == 12 else (0, 0)
        connection.execute(
            "INSERT INTO usage_hour VALUES (%s, %s, %s, %s, %s, 0, %s, %s, %s, 0, %s, %s)",
            [
                vehicle_id,
                day + timedelta(hours=hour),
                driving,
                idling,
                3600 - driving - idling,
                km * 1000 if driving else 0,
                1 if driving else 0,
                0.07 * km if driving else 0,
                0.18 * km if driving else 0,
                driving + idling if depot_id else 3600,
            ],
        )
    noon = day + timedelta(hours=12)
    back = noon + timedelta(minutes=36)
    midnight = day + timedelta(days=1)
    for began, ended, state, moved_m in (
        (day, noon, "parked", 0.0),
        (noon, noon + timedelta(minutes=30), "driving", km * 1000),
        (noon + timedelta(minutes=30), back, "idling", 0.0),
        (back, midnight, "parked", 0.0),
    ):
        connection.execute(
            "INSERT INTO segment (vehicle_id, started_at, ended_at, state, distance_m, moved, "
            "start_lat, start_lon, end_lat, end_lon, is_open) "
            "VALUES (%s, %s, %s, %s, %s, false, 56.3, 10.5, 56.3, 10.5, false)",
            [vehicle_id, began, ended, state, moved_m],
        )
    connection.execute(
        "INSERT INTO trip (vehicle_id, started_at, ended_at, distance_m, driving_s, idling_s, "
        "start_lat, start_lon, end_lat, end_lon, start_depot_id, end_depot_id, is_open) "
        "VALUES (%s, %s, %s, %s, 1800, 360, 56.3, 10.5, 56.3, 10.5, %s, %s, false)",
        [vehicle_id, noon, back, km * 1000, depot_id, depot_id],
    )
    connection.execute(
        "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, start_depot_id, "
        "end_depot_id, distance_m, trip_count, is_open, home_depot_id) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, 1, false, %s)",
        [
            vehicle_id,
            noon,
            back,
            "complete" if depot_id else "open",
            depot_id,
            depot_id,
            km * 1000,
            depot_id,
        ],
    )
    connection.execute(
        "INSERT INTO idle_interval (vehicle_id, started_at, ended_at, lat, lon, fuel_l, co2e_kg, "
        "is_open) VALUES (%s, %s, %s, 56.3, 10.5, 0.064, 0.161, false)",
        [vehicle_id, noon + timedelta(minutes=30), back],
    )


def _plan(connection: Connection, municipality_id: str, created_at: datetime) -> None:
    plan_id = uuid.uuid5(uuid.NAMESPACE_URL, municipality_id)
    document: dict[str, Any] = {
        "horizon_weeks": 8.0,
        "unserved_before": 3,
        "unserved_after": 1,
        "explanation": "One car more in the north serves two more round trips at the peak.",
    }
    connection.execute(
        "INSERT INTO plan (plan_id, municipality_id, created_at, trigger, trigger_reason, "
        "demand_from, demand_to, round_trip_count, inputs_hash, seed, status, objective_dkk, "
        "bound_dkk, gap, cost_before_dkk, document) "
        "VALUES (%s, %s, %s, 'schedule', 'nightly', %s, %s, 70, %s, 1, 'optimal', 9000, 9000, 0, "
        "12000, %s)",
        [
            plan_id,
            municipality_id,
            created_at,
            created_at - timedelta(days=56),
            created_at,
            "0" * 64,
            json.dumps(document),
        ],
    )
    connection.execute(
        "INSERT INTO plan_move (plan_id, vehicle_id, from_depot_id, to_depot_id, reason) "
        "VALUES (%s, %s, %s, %s, 'more demand in the north')",
        [
            plan_id,
            f"{municipality_id}/car-3",
            f"{municipality_id}/south",
            f"{municipality_id}/north",
        ],
    )


def _alert(connection: Connection, municipality_id: str, raised_at: datetime) -> None:
    connection.execute(
        "INSERT INTO alert (alert_id, municipality_id, kind, vehicle_id, raised_at, reason) "
        "VALUES (%s, %s, 'underused', %s, %s, '146 km a year, limit 5,000')",
        [
            uuid.uuid5(uuid.NAMESPACE_URL, f"alert/{municipality_id}"),
            municipality_id,
            f"{municipality_id}/car-3",
            raised_at,
        ],
    )


def recent_start(days: int = 14) -> datetime:
    """Return the UTC midnight that lies so many whole days before today's."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days)


@contextmanager
def role(connection: Connection, *, prefix: str = "reader") -> Iterator[str]:
    """Yield a name for a role of the test's own; the role is dropped when the test ends.

    Roles belong to the server, not to the test's database.
    """
    name = f"{prefix}_{uuid.uuid4().hex[:10]}"
    try:
        yield name
    finally:
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone():
            for statement in ("DROP OWNED BY {} CASCADE", "DROP ROLE {}"):
                connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
