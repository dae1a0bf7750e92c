"""What the demo does with a plan: accepts it, has it carried out, and tells what it saved."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, time
from typing import Final
from zoneinfo import ZoneInfo

from rich.console import Console

from infra.database.connection.pool import Pool
from infra.database.fleet.master_data_import import import_master_data
from infra.database.plans import plan_decisions, plan_queries
from infra.database.plans.plan_queue import connect
from infra.settings import Settings
from schemas.fleet.master_data import EnteredVehicle, FleetFile
from schemas.plans.plan import PlacementPlan
from stream.calendars import CalendarKeeper
from stream.cli.plans.plan_view import promise, show_outcomes
from stream.planner.plan_evaluation import evaluate_plans
from stream.simulator.simulation import SimulatedFleet, Simulation

BY: Final = "the demo"
_EVER: Final = 1_000
"""Weeks that are calculated again: all."""


async def carry_out(
    pool: Pool, plan: PlacementPlan, fleet: SimulatedFleet, simulation: Simulation, on: date
) -> None:
    """Accept a plan, and have its vehicles at home where it says from a local day on.

    Raises `infra.database.plans.plan_decisions.DecisionError` for a plan that places nothing.
    """
    zones = {
        municipality.municipality_id: ZoneInfo(municipality.timezone)
        for municipality in fleet.municipalities
    }
    since = datetime.combine(on, time(), zones[plan.municipality_id]).astimezone(UTC)
    to = {move.vehicle_id: move.to_depot_id for move in plan.moves}
    moved = [
        EnteredVehicle(
            **vehicle.model_dump(exclude={"home_depot_id"}),
            home_depot_id=to[vehicle.vehicle_id],
            home_since=since,
        )
        for vehicle in fleet.vehicles
        if vehicle.vehicle_id in to
    ]
    async with pool.connection() as connection:
        await plan_decisions.accept(connection, plan.municipality_id, plan.plan_id, BY, since)
        await import_master_data(connection, FleetFile(vehicles=tuple(moved)))
        await CalendarKeeper().keep(connection)
    for vehicle_id, depot_id in to.items():
        simulation.rehome(vehicle_id, depot_id)


async def show_followed(settings: Settings, console: Console) -> None:
    """Tell of each accepted plan what it promised, and what each week has brought of it."""
    # What is logged of each week stands in the tables below; what goes wrong is still said.
    logging.getLogger("stream.planner").setLevel(logging.WARNING)
    async with await connect(settings) as connection:
        # The planner does so every hour: here all weeks have passed in a minute.
        await evaluate_plans(connection, datetime.now(UTC), _EVER)
        for followed in await plan_decisions.read_followed(connection):
            plan = PlacementPlan.model_validate(followed.document)
            console.print(
                f"[bold]Follow-up of {plan.municipality_id}[/], accepted and carried out since "
                f"{followed.since.astimezone(ZoneInfo(followed.timezone)):%Y-%m-%d}: "
                f"{promise(plan)}",
                highlight=False,
            )
            weeks = await plan_queries.list_outcomes(connection, plan.municipality_id, plan.plan_id)
            show_outcomes(weeks, console)
