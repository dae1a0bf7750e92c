"""What the leading planner does: it answers requests, keeps the schedule and looks for drift."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import psycopg
import structlog
from prometheus_client import Counter, Histogram

from infra.database.planning import (
    Connection,
    PlanRequest,
    Standing,
    database_now,
    read_inputs,
    read_last_plan,
    read_standings,
    read_waiting,
    refuse_requests,
    store_plan,
)
from infra.database.stream import event_id
from infra.kafka import Topics
from infra.settings import PlannerSettings, Settings
from optimizer.demand import profile
from optimizer.drift import Drift, drift, no_plan_yet
from optimizer.inputs import inputs_hash
from optimizer.plan import Occasion, make_plan
from optimizer.search import Search
from schemas.demand import PlacementInputs
from schemas.plan import PlacementPlan, PlanTrigger
from stream.planner.news import News
from stream.planner.schedule import SCHEDULE_ZONE, last_fire, next_fire

PLANS: Final = Counter("fleetpulse_plans", "Plans stored", ["trigger", "status"])
PLAN_FAILURES: Final = Counter("fleetpulse_plan_failures", "Plans that could not be made")
SOLVE_SECONDS: Final = Histogram(
    "fleetpulse_plan_solve_seconds",
    "From inputs to plan",
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)

TICK_S: Final = 1.0
"""Longest wait until requests, the schedule and our leadership are looked at again."""
_POLL_S: Final = 60.0
"""Longest wait until drift is measured without having been told of a round trip."""
_DRIFT_DUTY: Final = 20
"""Measuring drift takes at most one of so many seconds."""
_FAILURE_REST_S: Final = 60.0
"""Rest of a municipality whose plan could not be made."""

_log: Final = structlog.get_logger(__name__)


class Leader:
    """What the leading planner does, over the connection that holds the lock."""

    def __init__(self, settings: Settings, connection: Connection, news: News) -> None:
        self._rules: PlannerSettings = settings.planner
        self._topic = Topics.named(settings.kafka.topic_prefix).plans
        self._connection = connection
        self._news = news
        self._clock = asyncio.get_running_loop().time
        self._unmeasured: set[str] = set()
        self._poll_at = 0.0
        self._measure_at: dict[str, float] = {}
        self._rests_until: dict[str, float] = {}
        self._skipped_fire: dict[str, datetime] = {}

    async def run(self) -> None:
        """Look at requests, schedule and drift, again and again."""
        while True:
            self._news.arrived.clear()
            await self._answer_requests()
            standings = await read_standings(self._connection)
            now = await database_now(self._connection)
            self._take_news(standings)
            for standing in standings:
                if self._clock() >= self._rests_until.get(standing.municipality_id, 0.0):
                    await self._guarded(standing.municipality_id, (), self._look_at(standing, now))
            until_fire_s = (next_fire(self._rules.schedule, now) - now).total_seconds()
            # Not positive in the hour that a wall clock goes through twice.
            await self._wait(min(TICK_S, until_fire_s) if until_fire_s > 0 else TICK_S)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.arrived.wait()
        except TimeoutError:
            return

    def _take_news(self, standings: Sequence[Standing]) -> None:
        known = {standing.municipality_id for standing in standings}
        if self._news.all_of_them or self._clock() >= self._poll_at:
            self._news.all_of_them = False
            self._poll_at = self._clock() + _POLL_S
            self._unmeasured |= known
        self._unmeasured |= self._news.municipalities & known
        self._news.municipalities.clear()

    async def _guarded(
        self, municipality_id: str, requests: Sequence[PlanRequest], work: Awaitable[None]
    ) -> None:
        """Let no municipality's own fault stop the others; a database away is not its fault."""
        try:
            await work
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:  # noqa: BLE001 - logged, counted, answered and tried again
            PLAN_FAILURES.inc()
            _log.exception(
                "no plan could be made",
                municipality_id=municipality_id,
                retry_in_s=_FAILURE_REST_S,
            )
            self._rests_until[municipality_id] = self._clock() + _FAILURE_REST_S
            if requests:
                await refuse_requests(self._connection, requests, f"failed: {error!r}")

    async def _answer_requests(self) -> None:
        waiting: dict[str, list[PlanRequest]] = {}
        for request in await read_waiting(self._connection):
            waiting.setdefault(request.municipality_id, []).append(request)
        for municipality_id, requests in waiting.items():
            await self._guarded(municipality_id, requests, self._answer(municipality_id, requests))

    async def _answer(self, municipality_id: str, requests: Sequence[PlanRequest]) -> None:
        """Answer all that wait for the same municipality with one plan."""
        inputs = await self._inputs(municipality_id)
        count = len(inputs.round_trips)
        if count < self._rules.min_round_trips:
            outcome = (
                f"refused: {count} round trips in {self._rules.horizon_days} days, at least "
                f"{self._rules.min_round_trips} are needed (FLEETPULSE_PLANNER_MIN_ROUND_TRIPS)"
            )
            await refuse_requests(self._connection, requests, outcome)
            _log.info("request refused", municipality_id=municipality_id, outcome=outcome)
            return
        names = ", ".join(sorted({request.requested_by for request in requests}))
        await self._plan(inputs, PlanTrigger.DEMAND, f"asked for by {names}", requests)

    async def _look_at(self, standing: Standing, now: datetime) -> None:
        if standing.planned_at is not None:
            fired = last_fire(self._rules.schedule, now)
            if standing.planned_at < fired and await self._planned_on_schedule(standing, fired):
                return
        await self._look_for_drift(standing, now)

    async def _planned_on_schedule(self, standing: Standing, fired: datetime) -> bool:
        """Plan, for the schedule has come since the newest plan, were it while nobody led."""
        if self._skipped_fire.get(standing.municipality_id) == fired:
            return False
        inputs = await self._inputs(standing.municipality_id)
        if len(inputs.round_trips) < self._rules.min_round_trips:
            self._skipped_fire[standing.municipality_id] = fired
            _log.info(
                "too few round trips for the schedule",
                municipality_id=standing.municipality_id,
                round_trips=len(inputs.round_trips),
                needed=self._rules.min_round_trips,
            )
            return False
        local = fired.astimezone(SCHEDULE_ZONE)
        reason = f"schedule {self._rules.schedule}, {local:%Y-%m-%d %H:%M:%S %Z}"
        await self._plan(inputs, PlanTrigger.SCHEDULE, reason)
        return True

    async def _look_for_drift(self, standing: Standing, now: datetime) -> None:
        """Plan if demand or fleet has drifted; not while the newest plan cools down."""
        municipality_id = standing.municipality_id
        began_at = self._clock()
        if municipality_id not in self._unmeasured or began_at < self._measure_at.get(
            municipality_id, 0.0
        ):
            return
        cooldown = timedelta(seconds=self._rules.cooldown_s)
        if standing.planned_at is not None and now - standing.planned_at < cooldown:
            return
        self._unmeasured.discard(municipality_id)
        inputs = await self._inputs(municipality_id)
        found = await self._drift(inputs)
        took_s = self._clock() - began_at
        self._measure_at[municipality_id] = self._clock() + max(TICK_S, took_s * _DRIFT_DUTY)
        # A threshold above 1 leaves what nothing exceeds: no plan yet, or nothing as it was.
        if found is not None and found.value >= min(1.0, self._rules.drift_threshold):
            reason = f"drift {found.value:.2f} of {self._rules.drift_threshold:.2f}: {found.reason}"
            await self._plan(inputs, PlanTrigger.DRIFT, reason)

    async def _drift(self, inputs: PlacementInputs) -> Drift | None:
        """Return how far things have drifted; None when too few round trips tell."""
        if len(inputs.round_trips) < self._rules.min_round_trips:
            return None
        before = await read_last_plan(self._connection, inputs.municipality_id)
        if before is None:
            return no_plan_yet()
        present = await asyncio.to_thread(profile, inputs)
        vehicle_ids = [vehicle.vehicle_id for vehicle in inputs.vehicles]
        return drift(before.profile, before.vehicle_ids, present, vehicle_ids)

    async def _inputs(self, municipality_id: str) -> PlacementInputs:
        return await read_inputs(self._connection, municipality_id, self._rules.horizon_days)

    async def _plan(
        self,
        inputs: PlacementInputs,
        trigger: PlanTrigger,
        reason: str,
        answers: Sequence[PlanRequest] = (),
    ) -> None:
        created_at = await database_now(self._connection)
        with SOLVE_SECONDS.time():  # in a thread: the solver lets go of the interpreter
            plan = await asyncio.to_thread(
                partial(_solved, inputs, self._rules, trigger, reason, created_at)
            )
        await store_plan(self._connection, plan, self._topic, answers)
        PLANS.labels(trigger=plan.trigger.value, status=plan.status.value).inc()
        _log.info(
            "plan stored",
            municipality_id=plan.municipality_id,
            plan_id=str(plan.plan_id),
            trigger=plan.trigger.value,
            reason=plan.trigger_reason,
            status=plan.status.value,
            moves=len(plan.moves),
            gap=plan.gap,
        )


def _solved(
    inputs: PlacementInputs,
    rules: PlannerSettings,
    trigger: PlanTrigger,
    reason: str,
    created_at: datetime,
) -> PlacementPlan:
    digest = inputs_hash(inputs)
    plan_id = event_id("plan", inputs.municipality_id, digest, rules.seed, created_at.isoformat())
    return make_plan(
        inputs,
        Search(rules.seed, rules.time_limit_s),
        Occasion(plan_id, trigger, reason, created_at),
    )
