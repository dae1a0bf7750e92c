"""A study of depot locations: which depots to keep, and where new ones would serve better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import typer

from stream.cli.arguments import MunicipalityArgument
from stream.cli.database import with_pool
from stream.cli.studies.common import (
    Seed,
    TimeLimit,
    Weeks,
    showing_progress,
    store_and_show,
)

_MAX_DKK = 1e9


def depot_location(  # noqa: PLR0913, PLR0917 - typer makes options of them
    municipality: MunicipalityArgument,
    count: Annotated[
        int | None,
        typer.Option(
            "--sites", min=1, help="Exact number of sites (default: as many as pay for themselves)."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="DEPOT", help="A depot that must stay. Repeatable."),
    ] = None,
    places: Annotated[
        int | None,
        typer.Option(
            min=0, max=500, help="Number of new places to consider, the busiest (default: 20)."
        ),
    ] = None,
    site_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=_MAX_DKK,
            metavar="DKK",
            help="Yearly cost of a site (default: `costs` of the fleet file, else 25,000).",
        ),
    ] = None,
    depot_cost: Annotated[
        list[str] | None,
        typer.Option(metavar="DEPOT=DKK", help="Yearly cost of one depot. Repeatable."),
    ] = None,
    staff_time: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option(help="Count the working time of the driver.")
    ] = True,
    weeks: Weeks = 8,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find which depots to keep, and which places in town would serve better.

    It compares the yearly cost of sites with the cost of driving to the first stop and back from
    the last one.
    """
    from optimizer.search import Search
    from optimizer.sites.candidates import PLACES, SitesWishes
    from stream.studies import run

    options = SitesWishes(
        count=count,
        keep=keep or (),
        places=PLACES if places is None else places,
        site_dkk=site_cost,
        depot_dkk=_costs(depot_cost or ()),
        staff_time=staff_time,
    )
    rows = with_pool(lambda pool: run.read_journey_rows(pool, municipality, weeks))
    with showing_progress("depot location") as tell:
        solved = run.solve_sites(rows, options, Search(seed, time_limit), tell)
    store_and_show(solved)


def _costs(given: Sequence[str]) -> dict[str, float]:
    costs: dict[str, float] = {}
    for pair in given:
        depot, _, amount = (part.strip() for part in pair.partition("="))
        try:
            dkk = float(amount)
        except ValueError:
            dkk = math.nan
        if not depot or not 0 <= dkk <= _MAX_DKK:
            raise typer.BadParameter(
                f"{pair!r} is no depot and its DKK a year, from 0 to {_MAX_DKK:,.0f}; give "
                "--depot-cost DEPOT=DKK"
            )
        if depot in costs:
            raise typer.BadParameter(f"--depot-cost names {depot} twice; give one of them")
        costs[depot] = dkk
    return costs
