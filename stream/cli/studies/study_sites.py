"""A study of sites: where vehicles should stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import typer

from stream.cli.database import with_pool
from stream.cli.studies.common import (
    Municipality,
    Seed,
    TimeLimit,
    Weeks,
    keep_and_show,
    telling,
)

_DKK_AT_MOST = 1e9


def sites(  # noqa: PLR0913, PLR0917 - typer makes options of them
    municipality: Municipality,
    count: Annotated[
        int | None,
        typer.Option("--sites", min=1, help="Exactly so many sites; without it as many as pay."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="DEPOT", help="A depot that must stay; may be given again."),
    ] = None,
    places: Annotated[
        int | None,
        typer.Option(min=0, max=500, help="So many places to choose from, the busiest; ours: 20."),
    ] = None,
    site_cost: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=_DKK_AT_MOST,
            metavar="DKK",
            help="Of a site a year where nothing else is said; ours: 25,000.",
        ),
    ] = None,
    depot_cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEPOT=DKK", help="What a depot costs a year; may be given again for others."
        ),
    ] = None,
    staff_time: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option(help="Whether a kilometre costs the time of who drives.")
    ] = True,
    weeks: Weeks = 8,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find which depots to keep, and which places in town would serve better.

    What sites cost a year is set against the driving to first stops and back from last ones.
    """
    from optimizer.costs import SITE_DKK_PER_YEAR
    from optimizer.search import Search
    from optimizer.sites.candidates import PLACES, SitesWishes
    from stream.studies import run

    wishes = SitesWishes(
        count=count,
        keep=keep or (),
        places=PLACES if places is None else places,
        site_dkk=SITE_DKK_PER_YEAR if site_cost is None else site_cost,
        depot_dkk=_costs(depot_cost or ()),
        staff_time=staff_time,
    )
    rows = with_pool(lambda pool: run.read_rides(pool, municipality, weeks))
    with telling("sites") as tell:
        solved = run.solve_sites(rows, wishes, Search(seed, time_limit), tell)
    keep_and_show(solved)


def _costs(given: Sequence[str]) -> dict[str, float]:
    costs: dict[str, float] = {}
    for one in given:
        depot, _, told = (part.strip() for part in one.partition("="))
        try:
            dkk = float(told)
        except ValueError:
            dkk = math.nan
        if not depot or not 0 <= dkk <= _DKK_AT_MOST:
            raise typer.BadParameter(
                f"{one!r} is no depot and its DKK a year, from 0 to {_DKK_AT_MOST:,.0f}; give "
                "--depot-cost DEPOT=DKK"
            )
        if depot in costs:
            raise typer.BadParameter(f"--depot-cost names {depot} twice; give one of them")
        costs[depot] = dkk
    return costs
