"""What the demo does: a simulated fleet pushes, the stream works, the planner answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from infra.database.connection.pool import Pool
from infra.database.fleet.api_keys import create_key
from infra.database.fleet.master_data_import import import_master_data
from infra.database.operations import report as queries
from infra.database.plans.plan_decisions import DecisionError
from infra.database.plans.plan_queue import request_plan
from infra.database.plans.recorded_demand import read_inputs
from schemas.errors import OutageError
from schemas.events.history import HistoryRange
from schemas.fleet.master_data import Municipality
from schemas.plans.plan import PlacementPlan, PlanTrigger
from stream.calendars import CalendarKeeper
from stream.cli.plans.plan_wait import NoPlanError, plan_of
from stream.demo import follow_up, latency
from stream.demo.stack import Stack
from stream.history_header import range_to_declare
from stream.ingest_client import VendorClient
from stream.simulator.config import SimulationConfig
from stream.simulator.simulation import SimulatedDay, SimulatedFleet, Simulation, simulate

_VENDOR: Final = "simulator"
_LIVE_FIXES_PER_S: Final = 2_000
_LIVE_LIMIT: Final = 20_000
_DRAIN_LIMIT_S: Final = 120.0
_PLAN_LIMIT_S: Final = 60.0
_POLL_S: Final = 0.5
_FOLLOWED_FROM_DAYS: Final = 42
"""Of fewer days the last third has not always a whole week, and the first two tell too little."""


class DemoFailedError(OutageError):
    """The loop did not close: the message says where it stopped."""


@dataclass(frozen=True, slots=True)
class Played:
    """What happened, beside the rows in the database."""

    accepted: int
    push_s: float
    live: latency.Buckets
    live_since: latency.Buckets
    live_count: int


def config(*, seed: int, days: int, vehicles: int, last_day: date) -> SimulationConfig:
    """Return the demo's fleet: two municipalities, until a day, with demand that moves."""
    return SimulationConfig(
        seed=seed,
        start=last_day - timedelta(days=days - 1),
        days=days,
        municipalities=("syddjurs", "favrskov"),
        vehicles_per_municipality=vehicles,
        demand_shift_day=days // 2,
        gap_share=0.05,
        no_ignition_share=0.1,
    )


def _carried_out_after(days: int) -> int | None:
    """Return after how many days a plan is carried out; None where no whole week would follow."""
    return days * 2 // 3 if days >= _FOLLOWED_FROM_DAYS else None


class Play:
    """One run of the demo on a running stack."""

    def __init__(self, stack: Stack, pool: Pool, console: Console) -> None:
        self._stack = stack
        self._pool = pool
        self._console = console
        self._accepted = 0
        self._counted = 0
        self._rejected: list[str] = []

    async def run(self, wanted: SimulationConfig) -> Played:
        """Push the fleet's days, the last one at a steady pace, and wait until all is done.

        Raises `DemoFailedError` when rows or plans do not come.
        """
        fleet = simulate(wanted)
        keys = await self._enter(fleet)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            pushed = progress.add_task("days pushed", total=wanted.days)
            rows = progress.add_task("fixes in rows", total=None)
            plans = progress.add_task("plans by the planner", total=None)
            watching = asyncio.create_task(self._watch(progress, rows, plans))
            try:
                return await self._push(fleet, keys, progress, pushed)
            finally:
                watching.cancel()
                progress.update(rows, total=self._accepted, completed=await self._committed())

    async def _enter(self, fleet: SimulatedFleet) -> dict[str, str]:
        keys = {}
        async with self._pool.connection() as connection:
            await import_master_data(connection, fleet.master_data)
            await CalendarKeeper().keep(connection)
            for municipality in fleet.municipalities:
                keys[municipality.municipality_id] = await create_key(
                    connection, municipality.municipality_id, _VENDOR, history=True
                )
        self._console.print(
            f"{len(fleet.municipalities)} municipalities, {len(fleet.depots)} depots, "
            f"{len(fleet.vehicles)} vehicles"
        )
        return keys

    async def _push(
        self, fleet: SimulatedFleet, keys: Mapping[str, str], progress: Progress, task: TaskID
    ) -> Played:
        simulation = Simulation(fleet)
        days = iter(simulation)
        push_s = 0.0
        for number in range(fleet.config.days - 1):
            if number == _carried_out_after(fleet.config.days):
                await self._carry_out_a_plan(fleet, simulation, number)
            began = time.monotonic()
            day = await asyncio.to_thread(next, days)
            await self._push_events(day.fixes, keys)
            push_s += time.monotonic() - began
            progress.advance(task)
        await self._drained()
        await self._planned(fleet, PlanTrigger.DRIFT)
        before = await asyncio.to_thread(latency.read, self._stack.worker_urls)
        live = await self._push_live(await asyncio.to_thread(next, days), keys)
        progress.advance(task)
        await self._drained()
        await self._ask_for_plans(fleet)
        after = await asyncio.to_thread(latency.read, self._stack.worker_urls)
        return Played(self._accepted, push_s, after, before, live)

    async def _push_events(
        self, fixes: Sequence[tuple[str, dict[str, Any]]], keys: Mapping[str, str]
    ) -> None:
        for municipality_id, key in keys.items():
            events = [event for owner_id, event in fixes if owner_id == municipality_id]
            async with VendorClient(self._stack.ingest_url, key) as vendor:
                result = await vendor.push(events, history=_history(fixes))
            self._accepted += result.accepted
            if result.rejected:
                raise DemoFailedError(f"the gateway rejects our own fixes: {result.reasons}")

    async def _push_live(self, day: SimulatedDay, keys: Mapping[str, str]) -> int:
        """Push a day at a steady pace, a twentieth of a second at a time; return how much."""
        step = _LIVE_FIXES_PER_S // 20
        paced = day.fixes[:_LIVE_LIMIT]
        began = time.monotonic()
        clients = {
            municipality_id: VendorClient(self._stack.ingest_url, key, lanes=1)
            for municipality_id, key in keys.items()
        }
        try:
            for client in clients.values():
                await client.__aenter__()
            for index in range(0, len(paced), step):
                portion = paced[index : index + step]
                await asyncio.gather(
                    *(
                        self._push_portion(client, municipality_id, portion)
                        for municipality_id, client in clients.items()
                    )
                )
                due = began + (index + step) / _LIVE_FIXES_PER_S
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            for client in clients.values():
                await client.__aexit__(None, None, None)
        await self._push_events(day.fixes[_LIVE_LIMIT:], keys)
        return len(paced)

    async def _push_portion(
        self,
        client: VendorClient,
        municipality_id: str,
        portion: Sequence[tuple[str, dict[str, Any]]],
    ) -> None:
        result = await client.push(
            [event for owner, event in portion if owner == municipality_id],
            history=_history(portion),
        )
        self._accepted += result.accepted

    async def _committed(self) -> int:
        """Return how many fixes the workers have committed, by their own count.

        Where one was started again, its count began anew, and the rows are counted.
        """
        if not self._stack.restarts:
            with contextlib.suppress(OSError):  # it has ended, and may be started again
                self._counted = await asyncio.to_thread(self._count_of_workers)
            return self._counted
        async with self._pool.connection() as connection:
            cursor = await connection.execute("SELECT count(*) FROM fix")
            return int((await cursor.fetchone() or (0,))[0])

    def _count_of_workers(self) -> int:
        total = 0.0
        for url in self._stack.worker_urls:
            with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:  # noqa: S310
                text = answer.read().decode()
            for family in text_string_to_metric_families(text):
                total += sum(
                    sample.value
                    for sample in family.samples
                    if sample.name == "fleetpulse_fixes_total"
                )
        return int(total)

    async def _drained(self) -> None:
        """Wait until every accepted fix is in a row or a dead letter."""
        deadline = time.monotonic() + _DRAIN_LIMIT_S
        while (committed := await self._committed()) < self._accepted:
            if time.monotonic() > deadline:
                raise DemoFailedError(
                    f"{self._accepted - committed} of {self._accepted} accepted fixes are not in "
                    f"the database after {_DRAIN_LIMIT_S:.0f} s:\n"
                    + "\n".join(child.tail() for child in self._stack.children.values())
                )
            await asyncio.sleep(_POLL_S / 2)

    async def _ask_for_plans(self, fleet: SimulatedFleet) -> None:
        """Have a plan made of all days: the stream's own came before the last ones."""
        await asyncio.gather(
            *(self._ask_for_plan(municipality) for municipality in fleet.municipalities)
        )

    async def _ask_for_plan(self, municipality: Municipality) -> PlacementPlan:
        asked = municipality.municipality_id
        request_id = await request_plan(self._pool, asked, follow_up.BY)
        try:
            return (await plan_of(self._pool, asked, request_id, _PLAN_LIMIT_S)).plan
        except NoPlanError as error:
            tail = self._stack.children["planner"].tail()
            raise DemoFailedError(f"{error}\n{tail}") from None

    async def _carry_out_a_plan(
        self, fleet: SimulatedFleet, simulation: Simulation, after_days: int
    ) -> None:
        """Ask for a plan of the first municipality, accept it, and have its fleet carry it out."""
        await self._drained()
        plan = await self._ask_for_plan(fleet.municipalities[0])
        on = fleet.config.start + timedelta(days=after_days)
        try:
            await follow_up.carry_out(self._pool, plan, fleet, simulation, on)
        except DecisionError as error:
            raise DemoFailedError(str(error)) from None

    async def _planned(self, fleet: SimulatedFleet, trigger: PlanTrigger) -> None:
        """Wait until the planner has planned for every municipality for this reason."""
        deadline = time.monotonic() + _PLAN_LIMIT_S
        wanted = {municipality.municipality_id for municipality in fleet.municipalities}
        while True:
            placement_plans = [plan for plan in await self._plans() if plan.trigger is trigger]
            if wanted <= {placement_plan.municipality_id for placement_plan in placement_plans}:
                return
            if time.monotonic() > deadline:
                await self._driven_enough(fleet)
                raise DemoFailedError(
                    f"no plan came ({trigger.value}):\n" + self._stack.children["planner"].tail()
                )
            await asyncio.sleep(_POLL_S)

    async def _driven_enough(self, fleet: SimulatedFleet) -> None:
        """Say so when a small fleet has not driven enough for the planner to look at it."""
        rules = self._stack.settings.planner
        async with self._pool.connection() as connection:
            for municipality in fleet.municipalities:
                inputs = await read_inputs(
                    connection, municipality.municipality_id, rules.horizon_days
                )
                if (count := len(inputs.round_trips)) < rules.min_round_trips:
                    raise DemoFailedError(
                        f"{count} round trips of {municipality.municipality_id} "
                        "by the day before the last, "
                        f"a plan needs {rules.min_round_trips} at least: give more --days or "
                        "--vehicles"
                    )

    async def _plans(self) -> list[PlacementPlan]:
        async with self._pool.connection() as connection:
            return [PlacementPlan.model_validate(plan) for plan in await queries.plans(connection)]

    async def _watch(self, progress: Progress, rows: TaskID, plans: TaskID) -> None:
        while True:
            progress.update(rows, completed=await self._committed(), total=self._accepted)
            progress.update(plans, completed=len(await self._plans()))
            await asyncio.sleep(_POLL_S)


def _history(fixes: Sequence[tuple[str, dict[str, Any]]]) -> HistoryRange | None:
    return range_to_declare(datetime.fromisoformat(event["recorded_at"]) for _, event in fixes)
