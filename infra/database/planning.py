"""The planner's rows: who leads, what it reads, what it was asked, and the plans it stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg import AsyncConnection, sql
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from infra.database.pool import NOTICE_LOSS, Pool
from infra.database.stream import event_id, put_outbox
from infra.settings import Settings
from schemas.demand import (
    DemandProfile,
    FleetProfile,
    ObservedRoundTrip,
    PlacementInputs,
    PlacementPolicy,
)
from schemas.fleet import Depot, Vehicle
from schemas.outcome import WEEK_DAYS
from schemas.plan import PlacementPlan
from schemas.rules import Rules

Connection = AsyncConnection[TupleRow]

_PLAIN: Final = PlacementPolicy()
_LEADER_LOCK_ID: Final = 7_300_022  # any constant: all planners must agree on it


class UnknownMunicipalityError(ValueError):
    """A plan was asked for a municipality that is not entered."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A municipality and the instant of its newest plan, if it has one."""

    municipality_id: str
    planned_at: datetime | None


@dataclass(frozen=True, slots=True)
class LastPlan:
    """What drift and changes of fleet are measured against; older plans do not say their fleet."""

    profile: DemandProfile
    fleet: FleetProfile | None


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Somebody waits for a plan."""

    request_id: UUID
    municipality_id: str
    requested_by: str


async def connect(settings: Settings) -> Connection:
    """Return a connection of its own, in autocommit, for a planner that leads or wants to.

    It must reach the server itself: behind a pooler in transaction mode the lock would be
    nobody's. Raises `psycopg.OperationalError` when the server cannot be reached.
    """
    return await AsyncConnection.connect(
        settings.database_url.get_secret_value(),
        autocommit=True,
        application_name="fleetpulse planner",
        options="-c timezone=UTC",
        **NOTICE_LOSS,  # a server that vanished costs the leader its role within 30 s
    )


async def try_to_lead(connection: Connection) -> bool:
    """Return whether this connection holds the leader's lock; the server frees it with it."""
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [_LEADER_LOCK_ID])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def database_now(connection: Connection) -> datetime:
    """Return the server's clock, the only one that planners on several hosts share."""
    cursor = await connection.execute("SELECT clock_timestamp()")
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("the database returned no time")
    now: datetime = row[0]
    return now


async def read_standings(connection: Connection) -> list[Standing]:
    """Return all municipalities with the instant of their newest plan."""
    cursor = await connection.execute(
        "SELECT m.municipality_id, newest.created_at FROM municipality m LEFT JOIN LATERAL ("
        "SELECT p.created_at FROM plan p WHERE p.municipality_id = m.municipality_id "
        "ORDER BY p.created_at DESC LIMIT 1) AS newest ON true ORDER BY m.municipality_id"
    )
    return [Standing(row[0], row[1]) for row in await cursor.fetchall()]


async def read_last_plan(connection: Connection, municipality_id: str) -> LastPlan | None:
    """Return what the newest plan of a municipality was made from; None without any.

    Raises `pydantic.ValidationError` when a stored profile is not ours.
    """
    cursor = await connection.execute(
        "SELECT document -> 'demand_profile', document -> 'fleet_profile' FROM plan "
        "WHERE municipality_id = %s ORDER BY created_at DESC LIMIT 1",
        [municipality_id],
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    fleet = None if row[1] is None else FleetProfile.model_validate(row[1])
    return LastPlan(DemandProfile.model_validate(row[0]), fleet)


# A part of one that was too long is demand of the depot where the vehicle was at home then,
# as with OS2fleetoptimiser: it began wherever the vehicle had rested.
_ROUND_TRIPS: Final = """
SELECT r.vehicle_id, r.started_at, r.ended_at, d.depot_id AS start_depot_id, r.end_depot_id,
       r.distance_m
FROM round_trip r
JOIN vehicle v USING (vehicle_id)
JOIN depot d ON d.municipality_id = v.municipality_id AND d.depot_id = coalesce(
    r.start_depot_id, CASE WHEN r.kind = 'over-long' THEN r.home_depot_id END)
WHERE v.municipality_id = %(municipality_id)s
  AND v.registered AND NOT r.is_open AND r.kind IN ('complete', 'one-way', 'over-long')
"""
_RECENT: Final = f"""
WITH ended AS ({_ROUND_TRIPS})
SELECT * FROM ended WHERE started_at >= (
    SELECT max(ended_at) FROM ended) - make_interval(days => %(horizon_days)s)
"""
_BETWEEN: Final = f"{_ROUND_TRIPS} AND r.started_at >= %(since)s AND r.started_at < %(until)s"


async def read_inputs(
    connection: Connection,
    municipality_id: str,
    horizon_days: int,
    policy: PlacementPolicy = _PLAIN,
) -> PlacementInputs:
    """Read depots, vehicles and the round trips of the horizon, all of one instant.

    Vehicles that nobody has entered are left out, and so is what they drove. The horizon ends with
    the newest round trip that has ended, not with the clock: the same rows
    are the same inputs whenever they are read, and a replayed year is planned like this one.
    Raises `UnknownMunicipalityError`, and `pydantic.ValidationError` for rows that break the
    schema.
    """
    given = {"municipality_id": municipality_id, "horizon_days": horizon_days}
    async with _of_one_instant(connection):
        return await _read(connection, _RECENT, given, policy)


async def read_week(
    connection: Connection, municipality_id: str, since: datetime, until: datetime
) -> PlacementInputs:
    """Read the same with the round trips that began in a week and have ended. Raises likewise.

    Depots and vehicles are those of now.
    """
    given = {
        "municipality_id": municipality_id,
        "horizon_days": WEEK_DAYS,
        "since": since,
        "until": until,
    }
    async with _of_one_instant(connection):
        return await _read(connection, _BETWEEN, given)


@asynccontextmanager
async def _of_one_instant(connection: Connection) -> AsyncIterator[None]:
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


async def _read(
    connection: Connection,
    round_trips_query: str,
    given: dict[str, Any],
    policy: PlacementPolicy = _PLAIN,
) -> PlacementInputs:
    municipality_id = given["municipality_id"]
    municipality = await _rows(
        connection,
        "SELECT timezone, rules FROM municipality WHERE municipality_id = %(municipality_id)s",
        given,
    )
    depots = await _rows(connection, _all_of("depot", Depot), given)
    # Who was only seen in the stream is nobody's to place: it may be a vendor's mistake.
    vehicles = await _rows(
        connection, _all_of("vehicle", Vehicle) + sql.SQL(" AND registered"), given
    )
    round_trips = await _rows(connection, round_trips_query, given)
    if not municipality:
        raise UnknownMunicipalityError(f"municipality {municipality_id} is not entered")
    return PlacementInputs(
        municipality_id=municipality_id,
        timezone=municipality[0]["timezone"],
        horizon_days=given["horizon_days"],
        round_trip_max_s=Rules.model_validate(municipality[0]["rules"]).round_trip_max_s,
        policy=policy,
        depots=tuple(Depot(**row) for row in depots),
        vehicles=tuple(Vehicle(**row) for row in vehicles),
        round_trips=tuple(ObservedRoundTrip(**row) for row in round_trips),
    )


def _all_of(table: str, model: type[Depot | Vehicle]) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {} WHERE municipality_id = %(municipality_id)s").format(
        sql.SQL(", ").join(map(sql.Identifier, model.model_fields)), sql.Identifier(table)
    )


async def _rows(
    connection: Connection, query: str | sql.Composed, given: dict[str, Any]
) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, given)
        return await cursor.fetchall()


async def request_plan(pool: Pool, municipality_id: str, requested_by: str) -> UUID:
    """Ask for a plan; return the request's id, under which its outcome will stand.

    Raises `UnknownMunicipalityError`.
    """
    request_id = uuid4()
    async with pool.connection() as connection:
        try:
            await connection.execute(
                "INSERT INTO plan_request (request_id, municipality_id, requested_by) "
                "VALUES (%s, %s, %s)",
                [request_id, municipality_id, requested_by],
            )
        except ForeignKeyViolation as error:
            raise UnknownMunicipalityError(
                f"municipality {municipality_id!r} is not entered; remedy: enter it first"
            ) from error
    return request_id


async def read_waiting(connection: Connection) -> list[PlanRequest]:
    """Return the requests that nobody has answered, oldest first."""
    cursor = await connection.execute(
        "SELECT request_id, municipality_id, requested_by FROM plan_request "
        "WHERE done_at IS NULL ORDER BY requested_at, request_id"
    )
    return [PlanRequest(*row) for row in await cursor.fetchall()]


async def refuse_requests(
    connection: Connection, requests: Sequence[PlanRequest], outcome: str
) -> None:
    """Mark requests done without a plan, and say why."""
    await _close(connection, requests, None, outcome)


async def store_plan(
    connection: Connection, plan: PlacementPlan, topic: str, answers: Sequence[PlanRequest] = ()
) -> None:
    """Store a plan, its moves, its message and the requests it answers, in one transaction.

    It supersedes what was proposed before and not decided.
    """
    document = plan.model_dump(mode="json")
    async with connection.transaction():
        await connection.execute(
            "UPDATE plan SET state = 'superseded' "
            "WHERE municipality_id = %s AND state = 'proposed'",
            [plan.municipality_id],
        )
        await connection.execute(
            "INSERT INTO plan (plan_id, municipality_id, created_at, trigger, trigger_reason, "
            "demand_from, demand_to, round_trip_count, inputs_hash, seed, status, objective_dkk, "
            "bound_dkk, gap, cost_before_dkk, document) VALUES (%(plan_id)s, "
            "%(municipality_id)s, %(created_at)s, %(trigger)s, %(trigger_reason)s, "
            "%(demand_from)s, %(demand_to)s, %(round_trip_count)s, %(inputs_hash)s, %(seed)s, "
            "%(status)s, %(objective_dkk)s, %(bound_dkk)s, %(gap)s, %(cost_before_dkk)s, "
            "%(document)s)",
            {**plan.model_dump(mode="python"), "document": Jsonb(document)},
        )
        async with connection.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO plan_move (plan_id, vehicle_id, from_depot_id, to_depot_id, reason) "
                "VALUES (%s, %s, %s, %s, %s)",
                [
                    (plan.plan_id, one.vehicle_id, one.from_depot_id, one.to_depot_id, one.reason)
                    for one in plan.moves
                ],
            )
        await put_outbox(
            connection,
            [(event_id("plan", plan.plan_id), topic, plan.municipality_id, document)],
        )
        await _close(connection, answers, plan.plan_id, f"planned: {plan.status}")


async def _close(
    connection: Connection, requests: Sequence[PlanRequest], plan_id: UUID | None, outcome: str
) -> None:
    await connection.execute(
        "UPDATE plan_request SET done_at = clock_timestamp(), plan_id = %s, outcome = %s "
        "WHERE request_id = ANY(%s) AND done_at IS NULL",
        [plan_id, outcome, [one.request_id for one in requests]],
    )
