"""Evaluates accepted plans as soon as a week is over, and again after late fixes."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from prometheus_client import Counter

from infra.database.connection.pool import Connection
from infra.database.plans.plan_decisions import (
    FollowedPlan,
    forget_outcomes,
    has_reported,
    read_followed,
    read_homes,
    store_outcome,
)
from infra.database.plans.recorded_demand import read_week
from optimizer.followup import follow_up, week_bounds, whole_weeks
from schemas.plans.plan import PlacementPlan
from stream.process.background import guarded

OUTCOMES: Final = Counter("fleetpulse_plan_outcomes", "Weeks of plans that were calculated anew")
_log: Final = structlog.get_logger(__name__)


async def evaluate_plans(connection: Connection, now: datetime, weeks_again: int) -> int:
    """Calculate the weeks that are over and not calculated, and the last ones again, of every plan.

    Return how many are new or have changed. A plan that cannot be followed up is logged, counted
    and tried again the next time, and does not stop the others. Raises that the database is away.
    """
    changed = 0
    for followed in await read_followed(connection):
        with guarded("planner-follow-up", plan_id=str(followed.plan_id)):
            changed += await _evaluate_plan(connection, followed, now, weeks_again)
    OUTCOMES.inc(changed)
    return changed


async def _evaluate_plan(
    connection: Connection, followed: FollowedPlan, now: datetime, weeks_again: int
) -> int:
    plan, zone = PlacementPlan.model_validate(followed.document), ZoneInfo(followed.timezone)
    weeks = list(whole_weeks(followed.since, min(now, followed.until or now), zone))
    # Another plan was accepted since a week that was calculated already.
    if stale := followed.calculated.difference(weeks):
        await forget_outcomes(connection, followed.plan_id, stale)
    changed = 0
    for week in weeks:
        since, until = week_bounds(week, zone)
        if week in followed.calculated and until < now - timedelta(weeks=weeks_again):
            continue
        if not await has_reported(connection, plan.municipality_id, since, until):
            continue  # a stream that is down is no week without demand
        inputs = await read_week(connection, plan.municipality_id, since, until)
        homes = await read_homes(connection, plan.municipality_id, since, until)
        outcome = await asyncio.to_thread(follow_up, plan, week, inputs, homes)
        if await store_outcome(connection, outcome):
            changed += 1
            _log.info(
                "plan followed up",
                municipality_id=plan.municipality_id,
                plan_id=str(plan.plan_id),
                week=week.isoformat(),
                outcome=outcome.explanation,
            )
    return changed
