"""Rows of a small fleet in every table that readers see, for tests of what they see."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from schemas.plans.backtest import BackTest, Contender, ContenderName
from tests.sample_studies import enter_studies

Connection = psycopg.Connection[TupleRow]

DEPOTS = ("north", "south")
VEHICLES = (
    # name, type, depot, km a day, minutes of driving at noon
    ("car-1", "car", "north", 90.0, 54),
    ("car-2", "car", "north", 70.0, 42),
    ("car-3", "car", "south", 0.4, 4),  # far below its class and below every absolute limit
    ("van-1", "van", "south", 8.0, 30),  # few kilometres, but many hours
    ("stray", "unknown", None, 3.0, 10),  # seen in the stream, no depot entered
)
LAST_DAYS = {"van-1": date(2099, 12, 31)}
IDLING_MIN = 6


def _lock(name: str, start: datetime) -> date | None:
    return (start + timedelta(days=90)).date() if name == "van-1" else None


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
    _calendar(connection, municipality_id, start, days)
    for name, vehicle_type, depot_name, km_a_day, driving_min in VEHICLES:
        vehicle_id = f"{municipality_id}/{name}"
        depot_id = f"{municipality_id}/{depot_name}" if depot_name else None
        connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, home_depot_id, "
            "locked_until, in_service_until) VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [
                vehicle_id,
                municipality_id,
                name,
                vehicle_type,
                depot_id,
                _lock(name, start),
                LAST_DAYS.get(name),
            ],
        )
        for day in range(days):
            on = start + timedelta(days=day)
            _drive(connection, vehicle_id, depot_id, on, km_a_day, timedelta(minutes=driving_min))
        connection.execute(
            "INSERT INTO vehicle_state VALUES (%s, 1, %s, %s, '{}')",
            [vehicle_id, start, start + timedelta(days=days)],
        )
    connection.execute(
        "INSERT INTO tracker_assignment (tracker_id, vehicle_id, since) VALUES (%s, %s, %s)",
        [f"{municipality_id}/352093", f"{municipality_id}/car-1", start],
    )
    _plan(connection, municipality_id, start + timedelta(days=days))
    _alert(connection, municipality_id, start + timedelta(days=days))
    enter_studies(connection, municipality_id, start + timedelta(days=days))


def _calendar(connection: Connection, municipality_id: str, start: datetime, days: int) -> None:
    """Every day from seven to four, by the clock of Copenhagen."""
    zone = ZoneInfo("Europe/Copenhagen")
    for number in range(-1, days + 2):
        on = start.date() + timedelta(days=number)

        def at(hour: int, on: date = on) -> datetime:
            return datetime.combine(on, time(hour), zone)

        connection.execute(
            "INSERT INTO local_day VALUES (%(id)s, %(on)s, %(from)s, %(to)s, %(week)s, %(month)s)",
            {
                "id": municipality_id,
                "on": on,
                "from": at(0),
                "to": at(0, on + timedelta(days=1)),
                "week": at(0, on - timedelta(days=on.weekday())),
                "month": at(0, on.replace(day=1)),
            },
        )
        connection.execute(
            "INSERT INTO available_time SELECT %s, of_type, %s, "
            "tstzmultirange(tstzrange(%s, %s)) FROM unnest(%s::text[]) AS of_type",
            [municipality_id, on, at(7), at(16), sorted({entry[1] for entry in VEHICLES})],
        )


def _drive(  # noqa: PLR0913, PLR0917 - what a day is made of
    connection: Connection,
    vehicle_id: str,
    depot_id: str | None,
    day: datetime,
    km: float,
    driving: timedelta,
) -> None:
    """One day: parked, from noon driving and six minutes of idling, parked again."""
    driven_s, idled_s = driving.total_seconds(), IDLING_MIN * 60
    for hour in range(24):
        driving_s, idling_s = (driven_s, idled_s) if hour == 12 else (0, 0)
        connection.execute(
            "INSERT INTO usage_hour VALUES (%s, %s, %s, %s, %s, 0, %s, %s, %s, 0, %s, %s)",
            [
                vehicle_id,
                day + timedelta(hours=hour),
                driving_s,
                idling_s,
                3600 - driving_s - idling_s,
                km * 1000 if driving_s else 0,
                1 if driving_s else 0,
                0.07 * km if driving_s else 0,
                0.18 * km if driving_s else 0,
                driving_s + idling_s if depot_id else 3600,
            ],
        )
    noon = day + timedelta(hours=12)
    stopped = noon + driving
    back = stopped + timedelta(minutes=IDLING_MIN)
    midnight = day + timedelta(days=1)
    for began, ended, state, moved_m in (
        (day, noon, "parked", 0.0),
        (noon, stopped, "driving", km * 1000),
        (stopped, back, "idling", 0.0),
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
        "VALUES (%s, %s, %s, %s, %s, %s, 56.3, 10.5, 56.3, 10.5, %s, %s, false)",
        [vehicle_id, noon, back, km * 1000, driven_s, idled_s, depot_id, depot_id],
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
        [vehicle_id, stopped, back],
    )


def _plan(connection: Connection, municipality_id: str, created_at: datetime) -> None:
    plan_id = uuid.uuid5(uuid.NAMESPACE_URL, municipality_id)
    document: dict[str, Any] = {
        "horizon_weeks": 8.0,
        "unserved_before": 3,
        "unserved_after": 1,
        "explanation": "One car more in the north serves two more round trips at the peak.",
        "lendings": [
            {
                "vehicle_class": "car",
                "borrower_depot_id": f"{municipality_id}/south",
                "lender_depot_id": f"{municipality_id}/north",
                "way_min": 7.5,
                "vehicles": 1,
                "round_trips": 2,
                "saves_dkk": 180.0,
                "reason": "2 round trips on 14 observed days were more than the 1 car at South.",
            }
        ],
        "backtest": _backtest(created_at).model_dump(mode="json"),
        "backtest_explanation": "The plan costs 12.0% less than the fleet as it was.",
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
    _outcomes(connection, municipality_id, plan_id, created_at)


def _outcomes(
    connection: Connection, municipality_id: str, plan_id: uuid.UUID, accepted_at: datetime
) -> None:
    """Have the plan accepted, and followed up for the two weeks before, as if it had been then."""
    connection.execute(
        "UPDATE plan SET state = 'accepted', decided_by = 'a coordinator', decided_at = %s, "
        "accepted_by = 'a coordinator', accepted_at = %s, followed_from = %s WHERE plan_id = %s",
        [accepted_at, accepted_at, accepted_at - timedelta(days=21), plan_id],
    )
    monday = (accepted_at - timedelta(days=7 + accepted_at.weekday())).date()
    for weeks, realised_dkk, not_carried_out_dkk in ((1, 100, 200), (0, 250, 50)):
        connection.execute(
            "INSERT INTO plan_outcome (plan_id, municipality_id, week, promised_dkk, realised_dkk, "
            "demand_changed_dkk, not_carried_out_dkk, model_wrong_dkk, unserved_promised, "
            "unserved_modelled, unserved_realised, moves, moves_carried_out, explanation) "
            "VALUES (%s, %s, %s, 375, %s, 60, %s, 15, 0.5, 1, 2, 1, %s, 'in words')",
            [
                plan_id,
                municipality_id,
                monday - timedelta(weeks=weeks),
                realised_dkk,
                not_carried_out_dkk,
                1 - weeks,
            ],
        )


def _backtest(created_at: datetime) -> BackTest:
    """Return one of six weeks and two: the plan serves more, the greedy rule as much as it was."""
    return BackTest(
        fitted_from=created_at - timedelta(days=56),
        fitted_to=created_at - timedelta(days=14),
        replayed_to=created_at,
        weeks_fitted=6,
        weeks_replayed=2,
        round_trips_fitted=50,
        contenders=tuple(
            Contender(
                name=name,
                moves=moves,
                round_trips=20,
                served_round_trips=served,
                served_share=served / 20,
                unserved_dkk=50.0 * (20 - served),
                energy_dkk=800,
                fetching_dkk=10,
                co2e_dkk=70,
                relocation_dkk=20.0 * moves,
                charger_dkk=0,
                cost_dkk=880 + 50.0 * (20 - served) + 20.0 * moves,
                co2e_kg=70 / 1.5,
            )
            for name, moves, served in (
                (ContenderName.AS_IT_WAS, 0, 16),
                (ContenderName.GREEDY, 1, 16),
                (ContenderName.PLAN, 1, 19),
            )
        ),
        cost_ratio=950 / 1080,
        greedy_cost_ratio=1100 / 1080,
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
