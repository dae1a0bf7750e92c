"""Compositions and forecasts on the terminal."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.markup import escape

from schemas.ids import local_part
from schemas.plans.composition import CompositionPlan, CompositionPoint, FleetProposal
from schemas.plans.forecast import Forecast
from stream.cli.text import counted
from stream.studies.tables import first_of, table_of

_PROPOSALS: Final = 30
_DAY: Final = timedelta(days=1)
_WEEK: Final = 7


def show_composition(plan: CompositionPlan, console: Console) -> None:
    """Print the fleets between cost and CO2e, and the changes that lead to the chosen one."""
    if plan.chosen is None:
        return
    table = table_of(
        "Fleets between cost and CO2e, a year", "", "cost, DKK", "CO2e, kg", "gap", "vehicles"
    )
    if plan.present is not None:
        table.add_row("as it stands", *_of_point(plan.present, ""))
    for number, point in enumerate(plan.points):
        chosen = "chosen" if number == plan.chosen else ""
        table.add_row(chosen, *_of_point(point, f"{point.gap:.2%}"))
    console.print(table)
    if not plan.proposals:
        return
    title = first_of("Changes that lead to the chosen fleet", len(plan.proposals), _PROPOSALS)
    table = table_of(title, "depot", "what", "saves, DKK", "why")
    for proposal in plan.proposals[:_PROPOSALS]:
        saves = "" if proposal.saves_dkk is None else f"{proposal.saves_dkk:,.0f}"
        table.add_row(
            local_part(proposal.depot_id), _what(proposal), saves, escape(proposal.reason)
        )
    console.print(table)


def _of_point(point: CompositionPoint, gap: str) -> tuple[str, str, str, str]:
    counts: Counter[str] = Counter()
    for depot in point.depots:
        counts.update(depot.counts)
    own_car = sum(depot.own_car for depot in point.depots)
    vehicles = [f"{count} {kind_id}" for kind_id, count in sorted(counts.items()) if count]
    if own_car:
        vehicles.append(f"{counted(own_car, 'trip chain')} by private car")
    return f"{point.cost_dkk:,.0f}", f"{point.co2e_kg:,.0f}", gap, ", ".join(vehicles)


def _what(proposal: FleetProposal) -> str:
    if proposal.vehicle_id is not None:
        return f"give up {local_part(proposal.vehicle_id)} ({proposal.kind_id})"
    return f"{proposal.action} {proposal.count} {proposal.kind_id}"


def show_forecast(plan: Forecast, console: Console) -> None:
    """Print whether each series beats the same hour last week, and the days to come."""
    table = table_of("Departures by depot and class", "depot", "class", "used", "why")
    for series in plan.series:
        table.add_row(local_part(series.depot_id), series.trip_class, series.used, series.reason)
    console.print(table)
    days = range(max((len(series.hourly) for series in plan.series), default=0))
    weekdays = [f"{plan.first_day + number * _DAY:%a}" for number in days[:_WEEK]]
    title = f"Expected departures from {plan.first_day}, a week a row"
    table = table_of(title, "depot", "class", "from", *weekdays)
    for column in table.columns[2:]:
        column.no_wrap = True
    for series in plan.series:
        name, trip_class = local_part(series.depot_id), str(series.trip_class)
        for start in days[::_WEEK]:
            by_day = (f"{sum(series.hourly[number]):.1f}" for number in days[start : start + _WEEK])
            table.add_row(name, trip_class, f"{plan.first_day + start * _DAY:%d %b}", *by_day)
            name = trip_class = ""
    console.print(table)
