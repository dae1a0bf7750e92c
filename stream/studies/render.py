"""A study on the terminal: in words, then the first rows with their reasons."""

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
    """Return what the plan comes to, and what is proven about it."""
    plan = study.plan
    if isinstance(plan, Forecast):
        judged = sum(series.back_test is not None for series in plan.series)
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
    unproven = f"nothing costs less than {plan.bound_dkk:,.0f} DKK, a gap of {plan.gap:.1%}"
    if isinstance(plan, RoutesPlan):
        by = f" ({plan.bound_by})"
        unproven = "no lower bound that would say much is proven"
        if plan.unserved:
            driven_dkk = sum(route.cost_dkk for route in plan.routes)
            comes_to += f", {plan.objective_dkk - driven_dkk:,.0f} of them for visits not made"
    if plan.status is SolverStatus.OPTIMAL:
        return f"It costs {comes_to}, and nothing costs less{by}."
    return f"It costs {comes_to}; {unproven}."


def _proof_of_fleet(plan: CompositionPlan) -> str:
    figures = figures_of(plan)
    if figures is None:
        return f"{plan.status.capitalize()}: no fleet of these types was found that serves all."
    cost = f"It costs {figures.objective_dkk:,.0f} DKK a year."
    if not figures.gap:
        return f"{cost} No fleet with the same or lower emissions is cheaper (proven)."
    return (
        f"{cost} No fleet with the same or lower emissions costs less than "
        f"{figures.bound_dkk:,.0f} DKK (proven), a gap of {figures.gap:.2%}."
    )


def sentence(study: Study) -> str:
    """Return what was studied and what came of it, in a line."""
    return f"{study.kind.value} of {study.municipality_id}: {study.plan.explanation} {proof(study)}"


def show_lines(lines: Sequence[StudyLine], console: Console) -> None:
    """Print studies one below the other: an answer is longer than a column is wide."""
    if not lines:
        console.print("no study yet; see `fleetpulse study --help`")
    for line in lines:
        gap = "" if line.gap is None else f", gap {line.gap:.1%}"
        console.print(
            f"[bold]{line.study_id}[/] {line.kind}, {line.status}{gap}\n"
            f"{line.created_at:%Y-%m-%d %H:%M} UTC by {escape(line.requested_by)}: "
            f"{escape(line.explanation)}\n",
            highlight=False,
        )


def _show_assignment(plan: AssignmentPlan, console: Console) -> None:
    table = table_of("Vehicles by depot and class", "depot", "class", "vehicles", "used", "why")
    for use in plan.depots:
        table.add_row(
            local_part(use.depot_id),
            use.vehicle_class.value,
            str(use.vehicles),
            str(use.used),
            _why(use),
        )
    console.print(table)
    if plan.unserved:
        title = first_of("Round trips without a vehicle", len(plan.unserved))
        table = table_of(title, "round trip", "private car, DKK", "why")
        for lost in plan.unserved[:SHOWN]:
            table.add_row(escape(lost.round_trip_id), f"{lost.price_dkk:,.0f}", escape(lost.reason))
        console.print(table)


def _why(use: DepotUse) -> str:
    """Return why so many vehicles are used."""
    at_once = f"at most {counted(use.peak_overlap, 'round trip')} at once"
    if not use.unserved:
        return f"{at_once}, each has a vehicle"
    verb = "is" if use.unserved == 1 else "are"
    return f"{at_once}; {use.unserved} {verb} cheaper by private car, or had no vehicle"


def _show_carpool(plan: CarpoolPlan, console: Console) -> None:
    if not plan.groups:
        return
    groups = sorted(
        plan.groups, key=lambda group: (-group.saved_dkk, group.out_from, group.vehicle_id)
    )
    table = table_of(first_of("Who could share", len(groups)), "out", "saves", "why")
    for group in groups[:SHOWN]:
        table.add_row(
            local_minute(group.out_from, plan.timezone),
            f"{group.saved_dkk:,.0f} DKK",
            escape(group.reason),
        )
    console.print(table)


def _show_routes(plan: RoutesPlan, console: Console) -> None:
    title, zone = first_of("Routes", len(plan.routes)), ZoneInfo(plan.timezone)
    table = table_of(title, "vehicle", "leaves", "back", "km", "visits")
    for route in plan.routes[:SHOWN]:
        visits = ", ".join(
            f"{local_part(stop.visit_id)} {stop.begins_at.astimezone(zone):%H:%M}"
            for stop in route.stops
        )
        table.add_row(
            local_part(route.vehicle_id),
            local_minute(route.departs_at, plan.timezone),
            f"{route.returns_at.astimezone(zone):%H:%M}",
            f"{route.distance_m / 1000:,.1f}",
            visits,
        )
    console.print(table)
    if plan.unserved:
        table = table_of(first_of("Visits not made", len(plan.unserved)), "visit", "why")
        for lost in plan.unserved[:SHOWN]:
            table.add_row(local_part(lost.visit_id), escape(lost.reason))
        console.print(table)
