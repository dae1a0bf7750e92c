"""Where vehicles should stand, on the terminal."""

from __future__ import annotations

from typing import Final

from rich.console import Console
from rich.markup import escape

from schemas.plans.sites import SiteFinding, SiteKind, SitesCost, SitesPlan
from stream.studies.tables import SHOWN, first_of, table_of

_FIGURES: Final = (
    "sites",
    "sites, DKK",
    "energy, DKK",
    "CO2e, DKK",
    "staff time, DKK",
    "all, DKK",
    "CO2e, kg",
    "km",
)


def show_sites(plan: SitesPlan, console: Console) -> None:
    """Print what a year costs, now and as proposed, and each site with its reason."""
    table = table_of(
        "A year", "", "depots as they are", "the same, each trip from the nearest depot", "proposed"
    )
    costs = (_of_cost(cost) for cost in (plan.as_driven, plan.nearest, plan.proposed))
    for name, *figures in zip(_FIGURES, *costs, strict=True):
        table.add_row(name, *figures)
    console.print(table)
    depots = [site for site in plan.sites if site.kind is SiteKind.DEPOT]
    _show_findings("Depots", depots, console)
    places = [site for site in plan.sites if site.kind is SiteKind.PLACE]
    if places:
        _show_findings("Places", places, console)


def _show_findings(title: str, findings: list[SiteFinding], console: Console) -> None:
    table = table_of(first_of(title, len(findings)), "site", "", "trips a year", "way, km", "why")
    for finding in findings[:SHOWN]:
        table.add_row(
            escape(finding.site_id),
            _what(finding),
            f"{finding.round_trips_per_year:,.0f}",
            "" if finding.way_m is None else f"{finding.way_m / 1000:,.1f}",
            escape(finding.reason),
        )
    console.print(table)


def _of_cost(cost: SitesCost) -> tuple[str, ...]:
    dkk = (cost.sites_dkk, cost.energy_dkk, cost.co2e_dkk, cost.staff_dkk, cost.cost_dkk)
    return (
        str(cost.sites),
        *(f"{amount:,.0f}" for amount in dkk),
        f"{cost.co2e_kg:,.0f}",
        f"{cost.distance_m / 1000:,.0f}",
    )


def _what(finding: SiteFinding) -> str:
    if finding.kind is SiteKind.DEPOT:
        return "keep" if finding.is_open else "close"
    return "open" if finding.is_open else "no"
