"""Studies of the fleet to have, and of the demand to come."""

from __future__ import annotations

from typing import Annotated

import typer

from stream.cli.arguments import MunicipalityArgument
from stream.cli.database import with_pool
from stream.cli.files import read_json
from stream.cli.studies.common import (
    Seed,
    TimeLimit,
    Weeks,
    showing_progress,
    store_and_show,
)


def fleet_mix(  # noqa: PLR0913, PLR0917 - typer makes options of them
    municipality: MunicipalityArgument,
    weeks: Weeks = 8,
    points: Annotated[
        int,
        typer.Option(
            min=2, max=25, help="Number of fleets to show, from the cheapest to the cleanest."
        ),
    ] = 7,
    kinds: Annotated[
        typer.FileBinaryRead | None,
        typer.Option(
            metavar="FILE",
            help="Vehicle types to choose from, in JSON, see `fleet-mix-kinds`; - reads standard "
            "input.",
        ),
    ] = None,
    own_cars: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option(help="Allow private cars of employees.")
    ] = True,
    vans_as_cars: Annotated[  # noqa: FBT002
        bool, typer.Option("--vans-as-cars", help="Assume that what vans drove fits into a car.")
    ] = False,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find which vehicles to own: fleets between lowest cost and lowest CO2e.

    It proposes changes that lead to the fleet that is cheapest when CO2e has its price.
    """
    from optimizer.composition.catalogue import CATALOGUE
    from optimizer.search import Search
    from schemas.plans.composition import CompositionRules, KindsToChooseFrom
    from stream.studies import run

    catalogue = CATALOGUE if kinds is None else read_json(kinds, KindsToChooseFrom).kinds
    rules = CompositionRules(own_cars=own_cars, points=points)
    options = run.FleetMixOptions(rules, catalogue, vans_as_cars)
    rows = with_pool(lambda pool: run.read_placement_inputs(pool, municipality, weeks))
    with showing_progress("fleet mix") as tell:
        solved = run.solve_composition(rows, options, Search(seed, time_limit), tell)
    store_and_show(solved)


def fleet_mix_kinds() -> None:
    """Print the vehicle types to choose from, as an example of a file."""
    from optimizer.composition.catalogue import CATALOGUE
    from schemas.plans.composition import KindsToChooseFrom

    typer.echo(KindsToChooseFrom(kinds=CATALOGUE).model_dump_json(indent=2))


def forecast(
    municipality: MunicipalityArgument,
    weeks: Weeks = 12,
    horizon_days: Annotated[
        int, typer.Option(min=1, max=28, help="Number of days to forecast.")
    ] = 14,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Forecast how many vehicles of each class will leave each depot, and how reliable that is."""
    from optimizer.search import Search
    from stream.studies import run

    rows = with_pool(lambda pool: run.read_placement_inputs(pool, municipality, weeks))
    calendar = with_pool(lambda pool: run.read_municipality(pool, municipality)).calendar
    with showing_progress("forecast") as tell:
        search = Search(seed, time_limit)
        solved = run.solve_forecast(rows, calendar, horizon_days, search, tell)
    store_and_show(solved)
