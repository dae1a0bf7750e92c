"""What the demo ends with: the picture that a fleet coordinator would want to see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from infra.database.connection.pool import Pool
from infra.database.fleet.master_data import load_fleet
from infra.database.operations import report as queries
from processors.alerts.underuse import Underused, VehicleUse, underused
from schemas.errors import UserError
from schemas.ids import local_part
from schemas.plans.plan import PlacementPlan
from stream.cli.text import moves_in_words

_SHOWN_UNDERUSED = 8
_SHOWN_MOVES = 6
_SHOWN_ALERTS = 6
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the report shows."""

    totals: Mapping[str, Any]
    precision: Mapping[str, Any]
    window_days: float
    depots: Sequence[Mapping[str, Any]]
    classes: Sequence[Mapping[str, Any]]
    underused: Sequence[Underused]
    alerts: Sequence[Mapping[str, Any]]
    plans: Sequence[PlacementPlan]


async def find(pool: Pool) -> Findings:
    """Read an installation's rows and sum them up.

    Raises `ValueError` when no fix has arrived yet.
    """
    async with pool.connection() as connection:
        totals = await queries.totals(connection)
        precision = await queries.precision(connection)
        window = await queries.window(connection)
        depots = await queries.depots(connection)
        classes = await queries.classes(connection)
        vehicles = await queries.vehicles(connection)
        alerts = await queries.open_alerts(connection)
        municipalities = (await load_fleet(connection)).municipalities
        plans = [PlacementPlan.model_validate(plan) for plan in await queries.plans(connection)]
    if window["since"] is None:
        raise UserError("no fix has arrived yet: nothing to report; push some first")
    days = (window["until"] - window["since"]).total_seconds() / _DAY_S
    fleets: defaultdict[str, list[VehicleUse]] = defaultdict(list)
    for row in vehicles:
        fleets[row["municipality_id"]].append(
            VehicleUse(
                vehicle_id=row["vehicle_id"],
                vehicle_class=row["vehicle_type"],
                distance_km=float(row["km"]),
                engine_h=float(row["engine_h"]),
                days_used=row["days_used"],
                available_h=float(row["available_h"]),
                used_available_h=float(row["used_available_h"]),
            )
        )
    underused_vehicles = [
        vehicle
        for municipality_id, fleet in fleets.items()
        for vehicle in underused(
            fleet, window_days=days, rules=municipalities[municipality_id].rules
        )
    ]
    return Findings(
        totals,
        precision,
        days,
        depots,
        classes,
        sorted(underused_vehicles, key=lambda vehicle: (vehicle.km_a_year, vehicle.vehicle_id)),
        alerts,
        plans,
    )


def show(findings: Findings, console: Console) -> None:
    """Print the findings."""
    console.print(_stream_panel(findings))
    console.print(_depot_table(findings))
    console.print(_class_table(findings))
    console.print(_underused_table(findings))
    console.print(_alert_table(findings))
    for plan in findings.plans:
        console.print(plan_panel(plan))


def _stream_panel(findings: Findings) -> Panel:
    total, precision = findings.totals, findings.precision
    lines = [
        (
            f"[bold]{total['fixes']:,}[/] fixes of {total['vehicles']} vehicles over "
            f"{findings.window_days:.1f} days; {total['quarantined']} quarantined, "
            f"{total['dead_letters']} dead letters"
        ),
        (
            f"[bold]{total['segments']:,}[/] segments, [bold]{total['trips']:,}[/] trips, "
            f"{total['round_trips']:,} round trips, {total['km']:,.0f} km"
        ),
        (
            f"driving {total['driving_h']:,.0f} h · idling {total['idling_h']:,.0f} h · "
            f"parked {total['parked_h']:,.0f} h · offline {total['offline_h']:,.0f} h; "
            f"{total['away_h']:,.0f} h of it away from a depot"
        ),
        (
            f"km precision [bold]{precision['km_precision']:.0%}[/]: so much of "
            f"{precision['km']:,.0f} km is in complete round trips; one-way "
            f"{precision['one_way_km']:,.0f}, over-long {precision['over_long_km']:,.0f}, "
            f"open {precision['open_km']:,.0f} km"
        ),
        (
            f"idling over 200 s: [bold]{total['idle_intervals']:,}[/] times, "
            f"{total['idle_reported_h']:,.1f} h, {total['idle_fuel_l']:,.1f} litres, "
            f"{total['idle_co2e_kg']:,.1f} kg CO2e of {total['co2e_kg']:,.0f} kg in all"
        ),
    ]
    return Panel("\n".join(lines), title="From fixes to timelines", title_align="left")


def _depot_table(findings: Findings) -> Table:
    table = _figures(
        "Utilisation by home depot: hours away are of a vehicle and day, shares of the time that "
        "the municipality's calendar makes available",
        "depot",
    )
    for name in (
        "places",
        "km",
        "engine\nhours",
        "idle\nshare",
        "hours\naway",
        "used",
        "away",
        "days\nused",
        "most\nout",
    ):
        table.add_column(name, justify="right")
    municipality_id = ""
    for row in findings.depots:
        if row["municipality_id"] != municipality_id:
            municipality_id = row["municipality_id"]
            table.add_row(f"[bold]{municipality_id}[/]")
        count = row["vehicles"]
        engine_h = float(row["engine_h"])
        idle = f"{float(row['idling_h']) / engine_h:.0%}" if engine_h else "-"
        away = (
            f"{float(row['away_h']) / count / findings.window_days:.1f}"
            if count and findings.window_days
            else "-"
        )
        table.add_row(
            f"  {row['name']}",
            str(row["capacity"]),
            f"{row['km']:,.0f}",
            f"{engine_h:,.0f}",
            idle,
            away,
            _share(row["used_share"]),
            _share(row["away_share"]),
            f"{row['days_used']:.1f}",
            f"{row['peak']} of {count}",
        )
    return table


def _class_table(findings: Findings) -> Table:
    table = _figures(
        "Utilisation by class: shares of the hours that the municipality's calendar makes "
        "available, and of its days",
        "class",
    )
    for name in (
        "count",
        "hours",
        "on a\ntrip",
        "away",
        "days\nused",
        "trips\na day",
        "km",
        "engine\nhours",
    ):
        table.add_column(name, justify="right")
    municipality_id = ""
    for row in findings.classes:
        if row["municipality_id"] != municipality_id:
            municipality_id = row["municipality_id"]
            table.add_row(f"[bold]{municipality_id}[/]")
        table.add_row(
            f"  {row['vehicle_type']}",
            str(row["vehicles"]),
            f"{row['available_h']:,.0f}",
            _share(row["used_share"]),
            _share(row["away_share"]),
            _share(row["days_share"]),
            "-" if row["trips_a_day"] is None else f"{row['trips_a_day']:.1f}",
            f"{row['km']:,.0f}",
            f"{row['engine_h']:,.0f}",
        )
    return table


def _figures(title: str, of_what: str) -> Table:
    """Return a table of many columns that no terminal cuts short."""
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column(of_what, no_wrap=True, min_width=12)
    return table


def _share(value: Any) -> str:
    return "-" if value is None else f"{value:.0%}"


def _underused_table(findings: Findings) -> Table:
    underused_vehicles = findings.underused
    table = Table(
        "vehicle",
        "why",
        box=box.SIMPLE_HEAD,
        title=f"Underused: {len(underused_vehicles)} vehicles"
        + (
            f", the {_SHOWN_UNDERUSED} least used"
            if len(underused_vehicles) > _SHOWN_UNDERUSED
            else ""
        ),
        title_justify="left",
    )
    for vehicle in underused_vehicles[:_SHOWN_UNDERUSED]:
        table.add_row(vehicle.vehicle_id, vehicle.reason)
    return table


def _alert_table(findings: Findings) -> Table:
    others = [alert for alert in findings.alerts if alert["kind"] != "underused"]
    raised = len(findings.alerts)
    table = Table(
        "vehicle or depot",
        "alert",
        "why",
        box=box.SIMPLE_HEAD,
        title=f"Alerts: {raised} open, {raised - len(others)} of them underused vehicles; with the "
        "figures of when they were raised",
        title_justify="left",
    )
    for other in others[:_SHOWN_ALERTS]:
        table.add_row(other["whose"], other["kind"], other["reason"])
    if len(others) > _SHOWN_ALERTS:
        table.add_row("", "", f"… and {len(others) - _SHOWN_ALERTS} more")
    return table


def plan_panel(plan: PlacementPlan) -> Panel:
    """Return a plan with its first moves; new homes of vehicles without one count apart."""
    saved = plan.cost_before_dkk - plan.objective_dkk
    lines = [
        f"[bold]why[/] {plan.trigger.value}: {plan.trigger_reason}",
        (
            f"[bold]solver[/] {plan.status.value}, gap {plan.gap:.1%}, seed {plan.seed}, inputs "
            f"{plan.inputs_hash[:12]}, {plan.round_trip_count} round trips from "
            f"{plan.demand_from:%Y-%m-%d %H:%M} to {plan.demand_to:%Y-%m-%d %H:%M} UTC"
        ),
        (
            f"[bold]round trips beyond their depot's own vehicles[/] {plan.unserved_before} → "
            f"{plan.unserved_after}; "
            f"saves [bold]{saved:,.0f} DKK[/] in {plan.horizon_weeks:.0f} weeks"
        ),
        plan.explanation,
        f"[bold]back-test[/] {plan.backtest_explanation}",
    ]
    lines += [
        f"  {local_part(move.vehicle_id)}: "
        f"{local_part(move.from_depot_id) if move.from_depot_id else 'nowhere'} → "
        f"{local_part(move.to_depot_id)}: {move.reason}"
        for move in plan.moves[:_SHOWN_MOVES]
    ]
    if len(plan.moves) > _SHOWN_MOVES:
        lines.append(f"  … and {len(plan.moves) - _SHOWN_MOVES} more, in table plan_move")
    return Panel(
        "\n".join(lines),
        title=f"Plan for {plan.municipality_id}: {moves_in_words(plan)}",
        title_align="left",
    )
