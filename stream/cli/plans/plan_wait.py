"""Waiting for the planner's answer to a request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import UUID

from schemas.errors import UserError

if TYPE_CHECKING:
    from infra.database.connection.pool import Pool
    from infra.database.plans.plan_queries import KeptPlan
    from infra.database.plans.plan_queue import RequestAnswer

WAIT_LIMIT_S: Final = 300.0
"""Longest wait by default: ten times the planner's usual limit of a search (ours)."""
_POLL_INTERVAL_S: Final = 0.5
"""Time between two looks for an answer."""


class NoPlanError(UserError):
    """A request has been refused, or not been answered in time; it says why and what to do."""

    exit_code = 1


async def plan_of(pool: Pool, municipality_id: str, request_id: UUID, limit_s: float) -> KeptPlan:
    """Wait for at most so many seconds, and return the plan that answers a request.

    Raises `NoPlanError`.
    """
    from infra.database.plans.plan_queries import read_plan

    answer = await _answered(pool, request_id, limit_s)
    if answer is None:
        raise NoPlanError(await _why_none(pool, municipality_id, request_id, limit_s))
    if answer.plan_id is None:
        raise NoPlanError(f"no plan for {municipality_id}: {answer.outcome}")
    async with pool.connection() as connection:
        return await read_plan(connection, municipality_id, answer.plan_id)


async def _answered(pool: Pool, request_id: UUID, limit_s: float) -> RequestAnswer | None:
    from infra.database.plans.plan_queue import read_answer

    clock = asyncio.get_running_loop().time
    ends_at = clock() + limit_s
    while True:
        async with pool.connection() as connection:
            answer = await read_answer(connection, request_id)
        left_s = ends_at - clock()
        if answer is not None or left_s <= 0:
            return answer
        await asyncio.sleep(min(_POLL_INTERVAL_S, left_s))


async def _why_none(pool: Pool, municipality_id: str, request_id: UUID, limit_s: float) -> str:
    from infra.database.plans.plan_queue import somebody_leads

    async with pool.connection() as connection:
        leads = await somebody_leads(connection)
    reason = (
        "a planner leads, and is not through with it; give a longer --timeout"
        if leads
        else "no planner leads: is one running? Its /readyz (FLEETPULSE_ADMIN_PORT) says what it "
        "waits for, `fleetpulse planner` starts one"
    )
    return (
        f"no answer to request {request_id} within {limit_s:g} s: {reason}. The request stays; "
        f"what came of it: fleetpulse plan list {municipality_id}"
    )
