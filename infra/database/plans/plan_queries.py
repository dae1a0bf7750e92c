"""Queries for those who decide: list plans, read one, read its results."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from infra.database.connection.pool import Connection
from infra.database.plans.recorded_demand import require_municipality
from schemas.errors import UserError
from schemas.plans.outcome import PlanState
from schemas.plans.plan import PlacementPlan, SolverStatus


class UnknownPlanError(UserError):
    """A municipality has no such plan; it says what to do."""


@dataclass(frozen=True, slots=True)
class PlanLine:
    """A plan in a list; new homes are those of vehicles that had none."""

    plan_id: UUID
    created_at: datetime
    state: PlanState
    status: SolverStatus
    decided_by: str | None
    moves: int
    new_homes: int
    saves_dkk: float
    backtest_ratio: float | None
    """What it would have cost on the weeks kept back, over what these cost as it was."""
    trigger_reason: str


@dataclass(frozen=True, slots=True)
class RequestLine:
    """Somebody asked for a plan and waits for it, or was told why there is none."""

    request_id: UUID
    requested_at: datetime
    requested_by: str
    outcome: str | None


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan and what was decided about it: the last time, and by accepting it."""

    plan: PlacementPlan
    state: PlanState
    decided_by: str | None
    decided_at: datetime | None
    accepted_by: str | None
    accepted_at: datetime | None


async def list_plans(connection: Connection, municipality_id: str) -> list[PlanLine]:
    """Return the plans of a municipality, the newest first. Raises `UnknownMunicipalityError`."""
    await require_municipality(connection, municipality_id)
    async with connection.cursor(row_factory=class_row(PlanLine)) as cursor:
        await cursor.execute(
            "SELECT p.plan_id, p.created_at, p.state, p.status, p.decided_by, "
            "(SELECT count(m.from_depot_id) FROM plan_move m WHERE m.plan_id = p.plan_id) "
            "AS moves, (SELECT count(*) FROM plan_move m WHERE m.plan_id = p.plan_id "
            "AND m.from_depot_id IS NULL) AS new_homes, "
            "p.cost_before_dkk - p.objective_dkk AS saves_dkk, "
            "(p.document -> 'backtest' ->> 'cost_ratio')::float8 AS backtest_ratio, "
            "p.trigger_reason FROM plan p "
            "WHERE p.municipality_id = %s ORDER BY p.created_at DESC",
            [municipality_id],
        )
        return [
            replace(
                plan_line, state=PlanState(plan_line.state), status=SolverStatus(plan_line.status)
            )
            for plan_line in await cursor.fetchall()
        ]


async def list_requests(
    connection: Connection, municipality_id: str, limit: int
) -> list[RequestLine]:
    """Return the newest requests of a municipality that no plan has answered."""
    async with connection.cursor(row_factory=class_row(RequestLine)) as cursor:
        await cursor.execute(
            "SELECT request_id, requested_at, requested_by, outcome FROM plan_request "
            "WHERE municipality_id = %s AND plan_id IS NULL "
            "ORDER BY requested_at DESC, request_id LIMIT %s",
            [municipality_id, limit],
        )
        return await cursor.fetchall()


async def read_plan(
    connection: Connection, municipality_id: str, plan_id: UUID | None = None
) -> KeptPlan:
    """Return a plan of a municipality, the newest without an id.

    Raises `UnknownMunicipalityError`, `UnknownPlanError`, and `pydantic.ValidationError` when what
    is stored is not ours.
    """
    await require_municipality(connection, municipality_id)
    cursor = await connection.execute(
        "SELECT document, state, decided_by, decided_at, accepted_by, accepted_at FROM plan "
        "WHERE municipality_id = %s AND (%s::uuid IS NULL OR plan_id = %s) "
        "ORDER BY created_at DESC LIMIT 1",
        [municipality_id, plan_id, plan_id],
    )
    row = await cursor.fetchone()
    if row is None:
        which = "plan yet" if plan_id is None else f"plan {plan_id}"
        raise UnknownPlanError(
            f"municipality {municipality_id!r} has no {which}; see: fleetpulse plan list "
            f"{municipality_id}"
        )
    return KeptPlan(PlacementPlan.model_validate(row[0]), PlanState(row[1]), *row[2:])


async def list_outcomes(
    connection: Connection, municipality_id: str, plan_id: UUID | None
) -> list[tuple[Any, ...]]:
    """Return (plan, week, promised, realised, the three parts in DKK, in words), newest first.

    Raises `UnknownMunicipalityError`, and `UnknownPlanError` for an id that is none of its plans.
    """
    await require_municipality(connection, municipality_id)
    if plan_id is not None:
        await read_plan(connection, municipality_id, plan_id)
    cursor = await connection.execute(
        "SELECT o.plan_id, o.week, o.promised_dkk, o.realised_dkk, o.demand_changed_dkk, "
        "o.not_carried_out_dkk, o.model_wrong_dkk, o.explanation FROM plan_outcome o "
        "JOIN plan p USING (plan_id) WHERE o.municipality_id = %s "
        "AND (%s::uuid IS NULL OR plan_id = %s) ORDER BY o.week DESC, p.created_at DESC",
        [municipality_id, plan_id, plan_id],
    )
    return await cursor.fetchall()
