"""Solves in a thread, and cancels when the plan is no longer wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog
from prometheus_client import Gauge, Histogram

from infra.database.stream.progress import event_id
from infra.settings import PlannerSettings
from optimizer.placement.problem import inputs_hash
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Cancellation, Search
from schemas.errors import InternalError
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import PlacementPlan
from stream.planner.triggers import TriggerReason

SOLVE_SECONDS: Final = Histogram(
    "fleetpulse_plan_solve_seconds",
    "From inputs to plan",
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
SOLVING: Final = Gauge("fleetpulse_planner_solving", "1 while a plan is in the making, else 0")
_WATCH_S: Final = 0.5
"""How often it is looked whether a plan in the making is still wanted."""
_LOG_INTERVAL_S: Final = 5.0
"""How often the log tells how far a long search is."""
_log: Final = structlog.get_logger(__name__)
_CANCEL_S: Final = 0.05
"""How often a search that is to stop is told so, until it has."""


class SupersededError(InternalError):
    """A plan in the making is not wanted any more; the reason is in words."""


async def solve(
    make: Callable[[Cancellation], PlacementPlan], superseded: Callable[[], Awaitable[str | None]]
) -> PlacementPlan:
    """Make a plan in a thread: the solver lets go of the interpreter.

    The search is cancelled, and its end waited for, when `superseded` returns why or raises, and
    when the caller is cancelled. Raises `SupersededError`, and what `superseded` and `make` raise.
    """
    cancellation = Cancellation()
    with SOLVE_SECONDS.time(), SOLVING.track_inprogress():
        solving = asyncio.get_running_loop().run_in_executor(None, make, cancellation)
        try:
            while not (await asyncio.wait([solving], timeout=_WATCH_S))[0]:
                if (why := await superseded()) is not None:
                    raise SupersededError(why)
            return solving.result()
        finally:
            await _end(solving, cancellation)


async def _end(solving: asyncio.Future[PlacementPlan], cancellation: Cancellation) -> None:
    while not solving.done():
        cancellation.cancel()
        await asyncio.wait([solving], timeout=_CANCEL_S)
    solving.exception()  # fetched, so that nobody complains that it never was


def make(
    inputs: PlacementInputs,
    rules: PlannerSettings,
    cause: TriggerReason,
    created_at: datetime,
    cancellation: Cancellation,
) -> PlacementPlan:
    """Return the plan, whose id tells municipality, inputs, seed and instant."""
    told_at = time.monotonic()

    def tell(share: float, at: str) -> None:
        """Log how far it is, now and then: most plans are made before the first time."""
        nonlocal told_at
        if time.monotonic() - told_at >= _LOG_INTERVAL_S:
            told_at = time.monotonic()
            _log.info("planning", municipality_id=inputs.municipality_id, share=share, at=at)

    digest = inputs_hash(inputs)
    plan_id = event_id("plan", inputs.municipality_id, digest, rules.seed, created_at.isoformat())
    return make_plan(
        inputs,
        Search(rules.seed, rules.time_limit_s, cancellation, tell),
        PlanMetadata(plan_id, cause.trigger, cause.reason, created_at),
    )
