"""The planner's queue: which planner leads, open requests, and storing plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from psycopg import AsyncConnection
from psycopg.errors import ForeignKeyViolation
from psycopg.types.json import Jsonb

from infra.database.connection.pool import NOTICE_LOSS, Connection, Pool
from infra.database.connection.stalled_sessions import APPLICATION
from infra.database.fleet.master_data import UnknownMunicipalityError
from infra.database.stream.progress import event_id, put_outbox
from infra.settings import Settings
from schemas.plans.demand import (
    DemandProfile,
    FleetProfile,
)
from schemas.plans.plan import PlacementPlan

_LEADING: Final = (
    "pg_stat_activity a WHERE a.pid = planner_lead.pid "
    "AND a.backend_start = planner_lead.session_start AND a.datname = current_database()"
)
"""The session that `planner_lead` names, if it is there still: its pid alone may be another's."""


@dataclass(frozen=True, slots=True)
class PlanAge:
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


@dataclass(frozen=True, slots=True)
class RequestAnswer:
    """What became of a request: a plan, or none and why in words."""

    plan_id: UUID | None
    outcome: str


async def connect(settings: Settings) -> Connection:
    """Return a connection of its own, in autocommit, for a planner that leads or wants to.

    It must reach the server itself: behind a pooler in transaction mode the lock would be
    nobody's. The server ends it, and so frees the lock, after `leader_timeout_s` of the settings
    without a statement: a planner that hangs, or whose machine is gone, must not keep others from
    leading. One that hangs within a statement the workers end, see
    `infra.database.connection.stalled_sessions`. Raises `psycopg.OperationalError` when the server
    cannot be reached.
    """
    connection = await AsyncConnection.connect(
        settings.conninfo,
        autocommit=True,
        application_name=f"{APPLICATION} planner",
        options="-c timezone=UTC",
        **NOTICE_LOSS,  # a server that vanished costs the leader its role within 30 s
    )
    silence = f"{settings.planner.leader_timeout_s * 1000:.0f}ms"
    try:
        for name in ("idle_session_timeout", "idle_in_transaction_session_timeout"):
            await connection.execute("SELECT set_config(%s, %s, false)", [name, silence])
    except BaseException:
        await connection.close()
        raise
    return connection


async def try_to_lead(connection: Connection) -> bool:
    """Return whether this connection's session leads: until it ends, no other one does.

    The row says which session leads. It is not locked meanwhile: that would take a transaction, and
    one that is open for days keeps the server from cleaning up.
    """
    async with connection.transaction():
        # Locked first: who leads is then looked up after whoever took the lead a moment ago.
        await connection.execute("SELECT FROM planner_lead FOR UPDATE")
        cursor = await connection.execute(
            "UPDATE planner_lead SET pid = mine.pid, session_start = mine.backend_start "
            "FROM pg_stat_activity mine WHERE mine.pid = pg_backend_pid() AND NOT EXISTS ("
            f"SELECT 1 FROM {_LEADING} AND a.pid <> mine.pid)"
        )
    return cursor.rowcount == 1


async def somebody_leads(connection: Connection) -> bool:
    """Return whether a planner leads on this database."""
    cursor = await connection.execute(f"SELECT EXISTS (SELECT 1 FROM planner_lead, {_LEADING})")
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


async def read_plan_ages(connection: Connection) -> list[PlanAge]:
    """Return all municipalities with the instant of their newest plan."""
    cursor = await connection.execute(
        "SELECT m.municipality_id, newest.created_at FROM municipality m LEFT JOIN LATERAL ("
        "SELECT p.created_at FROM plan p WHERE p.municipality_id = m.municipality_id "
        "ORDER BY p.created_at DESC LIMIT 1) AS newest ON true ORDER BY m.municipality_id"
    )
    return [PlanAge(row[0], row[1]) for row in await cursor.fetchall()]


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
            raise UnknownMunicipalityError(municipality_id) from error
    return request_id


async def read_answer(connection: Connection, request_id: UUID) -> RequestAnswer | None:
    """Return what became of a request; None while it waits for the planner."""
    cursor = await connection.execute(
        "SELECT plan_id, outcome FROM plan_request WHERE request_id = %s AND done_at IS NOT NULL",
        [request_id],
    )
    row = await cursor.fetchone()
    return None if row is None else RequestAnswer(*row)


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

    It supersedes what was proposed before and not decided, unless it places nothing itself.
    """
    document = plan.model_dump(mode="json")
    async with connection.transaction():
        if plan.status.places:
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
                    (
                        plan.plan_id,
                        move.vehicle_id,
                        move.from_depot_id,
                        move.to_depot_id,
                        move.reason,
                    )
                    for move in plan.moves
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
        [plan_id, outcome, [request.request_id for request in requests]],
    )
