"""What the leading planner does: it answers requests, plans when called for, and follows up."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from prometheus_client import Counter

from infra.database.connection.pool import Connection
from infra.database.fleet.master_data import load_municipalities
from infra.database.plans.plan_queue import (
    PlanAge,
    PlanRequest,
    database_now,
    read_last_plan,
    read_plan_ages,
    read_waiting,
    refuse_requests,
    store_plan,
)
from infra.database.plans.recorded_demand import read_inputs
from infra.database.plans.replan_signals import count_waiting, newest_on_request, read_fleet_digests
from infra.kafka.client import Topics
from infra.settings import PlannerSettings, Settings
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import PlanTrigger
from stream.calendars import holidays_around
from stream.planner.plan_evaluation import evaluate_plans
from stream.planner.replan_signals import ReplanSignals
from stream.planner.round_trip_consumer import RoundTripSignals
from stream.planner.schedule import SCHEDULE_ZONE, last_fire, next_fire
from stream.planner.solver_task import SupersededError, make, solve
from stream.planner.triggers import TriggerReason, named, select_trigger
from stream.process.background import count_fault, guarded
from stream.process.outages import is_away

PLANS: Final = Counter("fleetpulse_plans", "Plans stored", ["trigger", "status"])
PLAN_FAILURES: Final = Counter("fleetpulse_plan_failures", "Plans that could not be made")
PLANS_CANCELLED: Final = Counter(
    "fleetpulse_plans_cancelled", "Plans not wanted any more while they were made", ["trigger"]
)

TICK_S: Final = 1.0
"""Longest wait until requests, the schedule and our leadership are looked at again."""
_MIN_TICK_S: Final = 0.1
"""Shortest one, however much news comes in."""
_FAILURE_REST_S: Final = 60.0
"""Rest of a municipality whose plan could not be made."""
_MOST_CANCELLED: Final = 3
"""After so many cancelled plans of a municipality in a row the next one is made, come what may."""

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _PlanInputs:
    """What a plan is made from, and a hash of its master data from no later than that."""

    inputs: PlacementInputs
    fleet_digest: str


class Leader:
    """What the leading planner does, over the connection that holds the lock."""

    def __init__(self, settings: Settings, connection: Connection, news: RoundTripSignals) -> None:
        self._rules: PlannerSettings = settings.planner
        self._topic = Topics.named(settings.kafka.topic_prefix).plans
        self._connection = connection
        self._news = news
        self._clock = asyncio.get_running_loop().time
        self._reckon_at = 0.0
        self._signs = ReplanSignals(connection, news, self._rules.alert_threshold)
        self._asking: frozenset[str] = frozenset()
        self._rests_until: dict[str, float] = {}
        self._skipped_fire: dict[str, datetime] = {}
        self._cancelled: Tally[str] = Tally()

    async def run(self) -> None:
        """Look at requests, schedule, demand, fleets and alerts, again and again.

        A fault of any of them is logged and counted, and the others go on. Raises only that the
        database is away.
        """
        while True:
            self._news.arrived.clear()
            planned = False
            until_fire_s = TICK_S
            with guarded("planner-requests"):
                await self._answer_requests()
            with guarded("planner"):
                now = await database_now(self._connection)
                with guarded("planner-follow-up"):
                    await self._follow_up(now)
                standings = await read_plan_ages(self._connection)
                with guarded("planner-signals"):
                    await self._signs.look([standing.municipality_id for standing in standings])
                planned = await self._plan_most_urgent(standings, now)
                until_fire_s = (next_fire(self._rules.schedule, now) - now).total_seconds()
            if not planned:
                # Not positive in the hour that a wall clock goes through twice.
                await self._wait(min(TICK_S, until_fire_s) if until_fire_s > 0 else TICK_S)

    async def _follow_up(self, now: datetime) -> None:
        if self._clock() >= self._reckon_at:
            self._reckon_at = self._clock() + self._rules.follow_up_every_s
            await evaluate_plans(self._connection, now, self._rules.follow_up_weeks)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(min(_MIN_TICK_S, seconds))
        try:
            async with asyncio.timeout(max(0.0, seconds - _MIN_TICK_S)):
                await self._news.arrived.wait()
        except TimeoutError:
            return

    async def _plan_most_urgent(self, standings: Sequence[PlanAge], now: datetime) -> bool:
        """Plan for one municipality that needs it, who has waited longest first.

        Return whether it was begun. Only one: requests that came meanwhile go first.
        """
        never = datetime.min.replace(tzinfo=UTC)
        for standing in sorted(standings, key=lambda standing: standing.planned_at or never):
            municipality_id = standing.municipality_id
            if municipality_id in self._asking:
                continue  # it gets the plan that is asked for
            if self._clock() < self._rests_until.get(municipality_id, 0.0):
                continue
            if await self._guarded(municipality_id, (), self._look_at(standing, now)):
                return True
        return False

    async def _guarded(
        self, municipality_id: str, requests: Sequence[PlanRequest], work: Awaitable[bool]
    ) -> bool:
        """Let no municipality's own fault stop the others; a database away is not its fault."""
        try:
            return await work
        except Exception as error:
            if is_away(error):
                raise
            PLAN_FAILURES.inc()
            count_fault(
                "planner", error, municipality_id=municipality_id, retry_in_s=_FAILURE_REST_S
            )
            self._rests_until[municipality_id] = self._clock() + _FAILURE_REST_S
            if requests:
                with guarded("planner-requests", municipality_id=municipality_id):
                    await refuse_requests(self._connection, requests, f"failed: {error!r}")
            return False

    async def _answer_requests(self) -> None:
        """Answer all that ask for the same municipality together, and then let them rest."""
        waiting: dict[str, list[PlanRequest]] = {}
        for request in await read_waiting(self._connection):
            waiting.setdefault(request.municipality_id, []).append(request)
        self._asking = frozenset(waiting)
        if not waiting:
            return
        answered = await newest_on_request(self._connection)
        now = await database_now(self._connection)
        rest = timedelta(seconds=self._rules.request_cooldown_s)
        for municipality_id, requests in waiting.items():
            if municipality_id in answered and now - answered[municipality_id] < rest:
                continue
            await self._guarded(municipality_id, requests, self._answer(municipality_id, requests))

    async def _answer(self, municipality_id: str, requests: Sequence[PlanRequest]) -> bool:
        """Answer all that wait for the same municipality with one plan."""
        basis = await self._basis(municipality_id)
        count = len(basis.inputs.round_trips)
        if count < self._rules.min_round_trips:
            outcome = (
                f"refused: {count} round trips in {self._rules.horizon_days} days, at least "
                f"{self._rules.min_round_trips} are needed (FLEETPULSE_PLANNER_MIN_ROUND_TRIPS)"
            )
            await refuse_requests(self._connection, requests, outcome)
            _log.info("request refused", municipality_id=municipality_id, outcome=outcome)
            return False
        names = tuple(sorted({request.requested_by for request in requests}))
        cause = TriggerReason(PlanTrigger.ON_REQUEST, f"asked for by {named(names)}")
        await self._plan(basis, cause, requests)
        return True

    async def _look_at(self, standing: PlanAge, now: datetime) -> bool:
        """Plan if anything calls for it; not while the newest plan cools down."""
        if standing.planned_at is not None:
            if now - standing.planned_at < timedelta(seconds=self._rules.cooldown_s):
                return False
            fired = last_fire(self._rules.schedule, now)
            if standing.planned_at < fired and await self._planned_on_schedule(standing, fired):
                return True
        return await self._planned_as_measured(standing.municipality_id)

    async def _planned_on_schedule(self, standing: PlanAge, fired: datetime) -> bool:
        """Plan, for the schedule has come since the newest plan, were it while nobody led."""
        if self._skipped_fire.get(standing.municipality_id) == fired:
            return False
        basis = await self._basis(standing.municipality_id)
        if len(basis.inputs.round_trips) < self._rules.min_round_trips:
            self._skipped_fire[standing.municipality_id] = fired
            _log.info(
                "too few round trips for the schedule",
                municipality_id=standing.municipality_id,
                round_trips=len(basis.inputs.round_trips),
                needed=self._rules.min_round_trips,
            )
            return False
        local = fired.astimezone(SCHEDULE_ZONE)
        reason = f"schedule {self._rules.schedule}, {local:%Y-%m-%d %H:%M:%S %Z}"
        await self._plan(basis, TriggerReason(PlanTrigger.SCHEDULE, reason))
        return True

    async def _planned_as_measured(self, municipality_id: str) -> bool:
        """Plan if demand, fleet or alerts are beyond their thresholds."""
        if not self._signs.worth_measuring(municipality_id):
            return False
        began_at = self._clock()
        basis = await self._basis(municipality_id)
        self._signs.taken(municipality_id, basis.fleet_digest)
        cause = None
        if len(basis.inputs.round_trips) >= self._rules.min_round_trips:  # fewer tell nothing
            before = await read_last_plan(self._connection, municipality_id)
            pressure = self._signs.pressure(municipality_id)
            cause = await asyncio.to_thread(
                select_trigger, basis.inputs, before, pressure, self._rules
            )
        self._signs.measured(municipality_id, self._clock() - began_at)
        if cause is None:
            return False
        await self._plan(basis, cause)
        return True

    async def _basis(self, municipality_id: str) -> _PlanInputs:
        # The digest first: a change in between is noticed, if twice.
        digests = await read_fleet_digests(self._connection, municipality_id)
        inputs = await read_inputs(
            self._connection, municipality_id, self._rules.horizon_days, self._rules.policy
        )
        if inputs.policy.forecast:
            municipalities = await load_municipalities(self._connection, municipality_id)
            off = holidays_around(municipalities[municipality_id].calendar, inputs)
            inputs = inputs.model_copy(update={"holidays": off})
        return _PlanInputs(inputs, digests.get(municipality_id, ""))

    async def _superseded(self, basis: _PlanInputs, answers: Sequence[PlanRequest]) -> str | None:
        """Return why a plan in the making is not wanted any more, None while it is.

        It always asks the database: who does not lead any more must stop.
        """
        municipality_id = basis.inputs.municipality_id
        digests = await read_fleet_digests(self._connection, municipality_id)
        waiting = await count_waiting(self._connection, municipality_id)
        if self._cancelled[municipality_id] >= _MOST_CANCELLED:
            return None
        if digests.get(municipality_id) != basis.fleet_digest:
            return "depots, vehicles or what is wanted of plans were entered anew"
        if waiting and not answers:
            return f"{waiting} requests wait for a plan"
        return None

    async def _plan(
        self, basis: _PlanInputs, cause: TriggerReason, answers: Sequence[PlanRequest] = ()
    ) -> None:
        """Make a plan and store it, unless it is superseded: then the cause is looked at anew."""
        municipality_id = basis.inputs.municipality_id
        created_at = await database_now(self._connection)
        try:
            plan = await solve(
                partial(make, basis.inputs, self._rules, cause, created_at),
                partial(self._superseded, basis, answers),
            )
        except SupersededError as why:
            self._cancelled[municipality_id] += 1
            self._signs.again(municipality_id)
            PLANS_CANCELLED.labels(trigger=cause.trigger.value).inc()
            _log.info(
                "plan cancelled",
                municipality_id=municipality_id,
                trigger=cause.trigger.value,
                reason=cause.reason,
                why=str(why),
            )
            return
        await store_plan(self._connection, plan, self._topic, answers)
        del self._cancelled[municipality_id]
        self._signs.planned()
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
