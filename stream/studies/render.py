"""A study on the terminal: in words, then the first rows with the reason of each."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape

from infra.database.plans.studies import StudyLine
from schemas.ids import local_part
from schemas.local_time import local_minute
from schemas.plans.assignment import AssignmentPlan, DepotUse
from schemas.plans.carpool import CarpoolPlan
from schemas.plans.composition import CompositionPlan
from schemas.plans.forecast import Forecast
from schemas.plans.plan import SolverStatus
from schemas.plans.routes import RoutesPlan
from schemas.plans.sites import SitesPlan
from schemas.plans.study import Study, figures_of
from stream.cli.text import counted
from stream.studies.render_fleets import show_composition, show_forecast
from stream.studies.render_sites import show_sites
from stream.studies.tables import SHOWN, first_of, table_of


def show(study: Study, console: Console) -> None:
    """Print a study."""
    plan = study.plan
    console.print(
        f"[bold]{study.kind.value} study of {study.municipality_id}[/], "
        f"{study.created_at:%Y-%m-%d %H:%M} UTC, by {escape(study.requested_by)}",
        highlight=False,
    )
    console.print(f"[bold]answer[/] {escape(plan.explanation)}", highlight=False)
    console.print(f"[bold]proof[/] {escape(proof(study))}", highlight=False)
    console.print(f"[bold]basis[/] {escape(study.basis)}", highlight=False)
    match plan:
        case AssignmentPlan():
            _show_assignment(plan, console)
        case CarpoolPlan():
            _show_carpool(plan, console)
        case RoutesPlan():
            _show_routes(plan, console)
        case CompositionPlan():
            show_composition(plan, console)
        case Forecast():
            show_forecast(plan, console)
        case SitesPlan():
            show_sites(plan, console)
    console.print(
        f"stored as {study.study_id}, inputs {plan.inputs_hash[:12]}: fleetpulse study show "
        f"{study.study_id}",
        highlight=False,
        soft_wrap=True,
    )


def proof(study: Study) -> str:
    """Say what the plan comes to, and what is proven about it."""
    plan = study.plan
    if isinstance(plan, Forecast):
        judged = sum(one.back_test is not None for one in plan.series)
        return (
            f"Nothing is optimised: {judged} of {len(plan.series)} depots and classes are judged "
            "in hindsight."
        )
    if isinstance(plan, CompositionPlan):
        return _proof_of_fleet(plan)
    comes_to = f"{plan.objective_dkk:,.0f} DKK"
    if isinstance(plan, SitesPlan):
        comes_to += " a year"
    if isinstance(plan, CarpoolPlan):
        if plan.status is SolverStatus.OPTIMAL:
            return f"It saves {comes_to}, and nothing saves more ({plan.bound_by})."
        return (
            f"It saves {comes_to}; nothing saves more than {plan.bound_dkk:,.0f} DKK, a gap of "
            f"{plan.gap:.1%} ({plan.bound_by})."
        )
    by = ""
    if isinstance(plan, RoutesPlan):
        by = f" ({plan.bound_by})"
        if plan.unserved:
            driven_dkk = sum(one.cost_dkk for one in plan.routes)
            comes_to += f", {plan.objective_dkk - driven_dkk:,.0f} of them for visits not made"
    if plan.status is SolverStatus.OPTIMAL:
        return f"It costs {comes_to}, and nothing costs less{by}."
    return (
        f"It costs {comes_to}; nothing costs less than {plan.bound_dkk:,.0f} DKK, a gap of "
        f"{plan.gap:.1%}{by}."
    )


def _proof_of_fleet(plan: CompositionPlan) -> str:
    figures = figures_of(plan)
    if figures is None:
        return f"{plan.status.capitalize()}: no fleet of these kinds is known to take all."
    return (
        f"It costs {figures.objective_dkk:,.0f} DKK a year; none that emits no more costs less "
        f"than {figures.bound_dkk:,.0f} DKK, a gap of {figures.gap:.2%}."
    )


def sentence(study: Study) -> str:
    """Say what was asked and what came of it, in a line."""
    return f"{study.kind.value} of {study.municipality_id}: {study.plan.explanation} {proof(study)}"


def show_lines(lines: Sequence[StudyLine], console: Console) -> None:
    """Print studies one below the other: an answer is longer than a column is wide."""
    if not lines:
        console.print("no study yet; `fleetpulse study --help` says what can be asked")
    for one in lines:
        gap = "" if one.gap is None else f", gap {one.gap:.1%}"
        console.print(
            f"[bold]{one.study_id}[/] {one.kind}, {one.status}{gap}\n"
            f"{one.created_at:%Y-%m-%d %H:%M} UTC by {escape(one.requested_by)}: "
            f"{escape(one.explanation)}\n",
            highlight=False,
        )


def _show_assignment(plan: AssignmentPlan, console: Console) -> None:
    table = table_of("Vehicles by depot and class", "depot", "class", "vehicles", "used", "why")
    for one in plan.depots:
        table.add_row(
            local_part(one.depot_id),
            one.vehicle_class.value,
            str(one.vehicles),
            str(one.used),
            _why(one),
        )
    console.print(table)
    if plan.unserved:
        title = first_of("Without a vehicle", len(plan.unserved))
        table = table_of(title, "round trip", "own car, DKK", "why")
        for lost in plan.unserved[:SHOWN]:
            table.add_row(escape(lost.round_trip_id), f"{lost.price_dkk:,.0f}", escape(lost.reason))
        console.print(table)


def _why(use: DepotUse) -> str:
    """Say why so many vehicles are used."""
    at_once = f"at most {counted(use.peak_overlap, 'round trip')} at once"
    if not use.unserved:
        return f"{at_once}, each has a vehicle"
    verb = "is" if use.unserved == 1 else "are"
    return f"{at_once}; {use.unserved} {verb} cheaper by own car, or found no vehicle"


def _show_carpool(plan: CarpoolPlan, console: Console) -> None:
    if not plan.groups:
        return
    groups = sorted(plan.groups, key=lambda one: (-one.saved_dkk, one.out_from, one.vehicle_id))
    table = table_of(first_of("Who could share", len(groups)), "out", "saves", "why")
    for one in groups[:SHOWN]:
        table.add_row(
            local_minute(one.out_from, plan.timezone),
            f"{one.saved_dkk:,.0f} DKK",
            escape(one.reason),
        )
    console.print(table)


def _show_routes(plan: RoutesPlan, console: Console) -> None:
    title, zone = first_of("Routes", len(plan.routes)), ZoneInfo(plan.timezone)
    table = table_of(title, "vehicle", "leaves", "back", "km", "visits")
    for one in plan.routes[:SHOWN]:
        visits = ", ".join(
            f"{local_part(stop.visit_id)} {stop.begins_at.astimezone(zone):%H:%M}"
            for stop in one.stops
        )
        table.add_row(
            local_part(one.vehicle_id),
            local_minute(one.departs_at, plan.timezone),
            f"{one.returns_at.astimezone(zone):%H:%M}",
            f"{one.distance_m / 1000:,.1f}",
            visits,
        )
    console.print(table)
    if plan.unserved:
        table = table_of(first_of("Not made", len(plan.unserved)), "visit", "why")
        for lost in plan.unserved[:SHOWN]:
            table.add_row(local_part(lost.visit_id), escape(lost.reason))
        console.print(table)
