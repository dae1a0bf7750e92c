"""Studies of recorded weeks: which vehicles are needed, who could share, where to stand, routes.

A study is stored and shown; it changes nothing.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from infra.settings import Settings
from stream.cli.arguments import MunicipalityArgument
from stream.cli.database import with_connection, with_pool
from stream.cli.files import read_json
from stream.cli.studies.common import (
    Seed,
    TimeLimit,
    Weeks,
    showing_progress,
    store_and_show,
)
from stream.cli.studies.depot_location import depot_location
from stream.cli.studies.fleet_mix import fleet_mix, fleet_mix_kinds, forecast

study = typer.Typer(
    no_args_is_help=True,
    help="Study recorded weeks: which vehicles were needed, which to own, where depots should be, "
    "who could share a car, and what demand will be. Also plans routes.",
)
study.command("fleet-mix")(fleet_mix)
study.command("fleet-mix-kinds")(fleet_mix_kinds)
study.command("forecast")(forecast)
study.command("depot-location")(depot_location)


@study.command("assignment")
def assignment(
    municipality: MunicipalityArgument,
    sunk_cost: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool,
        typer.Option(
            "--sunk-cost", help="Ignore what vehicles cost to own: serve every trip that they can."
        ),
    ] = False,
    weeks: Weeks = 4,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find which vehicle could have served each round trip, and which vehicles are worth it.

    A vehicle costs its share of its yearly cost. A round trip without a vehicle costs the
    allowance for a private car.
    """
    from optimizer.search import Search
    from stream.studies import run

    rows = with_pool(lambda pool: run.read_placement_inputs(pool, municipality, weeks))
    with showing_progress("assignment") as tell:
        solved = run.solve_assignment(rows, Search(seed, time_limit), tell, paid_for=sunk_cost)
    store_and_show(solved)


@study.command("carpool")
def carpool(  # noqa: PLR0913, PLR0917 - typer makes options of them
    municipality: MunicipalityArgument,
    share_between: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Two depots whose staff may share cars. Repeatable."),
    ] = None,
    detour_km: Annotated[
        float, typer.Option(min=0, help="Longest detour of the driver, each way.")
    ] = 5.0,
    max_time_shift: Annotated[
        float, typer.Option(min=0, help="Most minutes that a trip may start earlier or later.")
    ] = 15.0,
    freed_vehicle_value: Annotated[
        float,
        typer.Option(
            min=0, help="Value in DKK of needing one vehicle less at a depot, over these weeks."
        ),
    ] = 0.0,
    weeks: Weeks = 4,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find recorded trips that could have shared a vehicle, within a depot or between two."""
    from optimizer.search import Search
    from schemas.plans.carpool import CarpoolRules
    from stream.studies import run

    rules = CarpoolRules(
        max_detour_m=detour_km * 1000,
        max_shift_s=max_time_shift * 60,
        freed_vehicle_dkk=freed_vehicle_value,
    )
    options = run.CarpoolOptions([_pair(pair) for pair in share_between or ()], rules)
    rows = with_pool(lambda pool: run.read_journey_rows(pool, municipality, weeks))
    with showing_progress("carpool") as tell:
        travel = run.travel_source(Settings(), rows.costs)
        solved = run.solve_carpool(rows, options, Search(seed, time_limit), travel, tell)
    store_and_show(solved)


@study.command("routes")
def routes(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(
            help="File of visits in JSON, see `routes-example`; - reads standard input."
        ),
    ],
    time_limit: TimeLimit = 30.0,
    seed: Seed = 1,
    chains: Annotated[
        int, typer.Option(min=1, max=64, help="Number of parallel searches, one CPU core each.")
    ] = 1,
) -> None:
    """Plan who makes which visit of a file, and in which order."""
    from schemas.plans.routes import RouteInputs, RouteSearch
    from stream.studies import run

    inputs = read_json(file, RouteInputs)
    search = RouteSearch(seed=seed, time_limit_s=time_limit, chains=chains)
    municipality = with_pool(lambda pool: run.read_municipality(pool, inputs.municipality_id))
    with showing_progress("routes") as tell:
        travel = run.travel_source(Settings(), municipality.costs)
        solved = run.solve_routes(inputs, search, travel, tell)
    store_and_show(solved)


@study.command("routes-example")
def routes_example() -> None:
    """Print an example of a file of visits."""
    from stream.studies.example import ROUTES

    typer.echo(ROUTES)


@study.command("list")
def list_(
    municipality: MunicipalityArgument,
    limit: Annotated[int, typer.Option(min=1, help="Number of studies to list.")] = 20,
) -> None:
    """List the studies of a municipality, newest first."""
    from infra.database.plans.studies import list_studies
    from stream.studies.render import show_lines

    studies = with_connection(lambda connection: list_studies(connection, municipality, limit))
    show_lines(studies, Console())


@study.command("show")
def show(
    study_id: Annotated[UUID, typer.Argument(help="Study id, as `study list` shows it.")],
) -> None:
    """Show a stored study."""
    from infra.database.plans.studies import read_study
    from stream.studies.render import show as show_study

    stored = with_connection(lambda connection: read_study(connection, study_id))
    if stored is None:
        raise typer.BadParameter(f"no study {study_id}; `fleetpulse study list` shows them")
    show_study(stored, Console())


def _pair(given: str) -> tuple[str, str]:
    first, comma, second = (part.strip() for part in given.partition(","))
    if not (first and comma and second) or "," in second:
        raise typer.BadParameter(f"{given!r} are not two depots; give --share-between A,B")
    return first, second
