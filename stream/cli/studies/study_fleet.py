"""Studies of the fleet to have, and of the demand to come."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.database import with_pool
from stream.cli.files import read_json
from stream.cli.studies.common import (
    Municipality,
    Seed,
    TimeLimit,
    Weeks,
    keep_and_show,
    telling,
)


def composition(  # noqa: PLR0913, PLR0917 - typer makes options of them
    municipality: Municipality,
    weeks: Weeks = 8,
    points: Annotated[
        int, typer.Option(min=2, max=25, help="Fleets between the cheapest and the cleanest.")
    ] = 7,
    kinds: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            metavar="FILE",
            help="JSON of kinds to choose from, as `composition-kinds` prints it; - reads standard "
            "input.",
        ),
    ] = None,
    own_cars: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option(help="Whether an outing may go by an employee's own car.")
    ] = True,
    vans_as_cars: Annotated[  # noqa: FBT002
        bool, typer.Option("--vans-as-cars", help="What a van drove does not need a van's load.")
    ] = False,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find which vehicles to have: fleets between cost and CO2e, and what leads to one of them.

    That one is the cheapest with CO2e at its price.
    """
    from optimizer.composition.catalogue import CATALOGUE
    from optimizer.search import Search
    from schemas.plans.composition import CompositionRules, KindsToChooseFrom
    from stream.studies import run

    catalogue = CATALOGUE if kinds is None else read_json(kinds, KindsToChooseFrom).kinds
    rules = CompositionRules(own_cars=own_cars, points=points)
    wishes = run.FleetWishes(rules, catalogue, vans_as_cars)
    rows = with_pool(lambda pool: run.read_outings(pool, municipality, weeks))
    with telling("composition") as tell:
        solved = run.solve_composition(rows, wishes, Search(seed, time_limit), tell)
    keep_and_show(solved)


def composition_kinds() -> None:
    """Print the kinds of vehicles to choose from: a file to start from."""
    from optimizer.composition.catalogue import CATALOGUE
    from schemas.plans.composition import KindsToChooseFrom

    typer.echo(KindsToChooseFrom(kinds=CATALOGUE).model_dump_json(indent=2))


def forecast(
    municipality: Municipality,
    weeks: Weeks = 12,
    horizon_days: Annotated[int, typer.Option(min=1, max=28, help="So many days ahead.")] = 14,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Forecast how many vehicles of which class will leave each depot, and how far to trust it."""
    from optimizer.search import Search
    from stream.studies import run

    rows = with_pool(lambda pool: run.read_outings(pool, municipality, weeks))
    calendar = with_pool(lambda pool: run.read_calendar(pool, municipality))
    with telling("forecast") as tell:
        search = Search(seed, time_limit)
        solved = run.solve_forecast(rows, calendar, horizon_days, search, tell)
    keep_and_show(solved)
