"""Studies: who could have taken which vehicle, who could have shared, who should visit whom when.

What a study finds is stored and shown; nothing is changed by it.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console

from infra.settings import Settings
from stream.cli.database import with_connection, with_pool
from stream.cli.files import read_json
from stream.cli.studies.common import (
    Municipality,
    Seed,
    TimeLimit,
    Weeks,
    keep_and_show,
    telling,
)
from stream.cli.studies.study_fleet import composition, composition_kinds, forecast
from stream.cli.studies.study_sites import sites

study = typer.Typer(
    no_args_is_help=True,
    help="Questions to the recorded weeks: which vehicles are needed, which to have, where they "
    "should stand, who could share, what is to come; and routes.",
)
study.command("composition")(composition)
study.command("composition-kinds")(composition_kinds)
study.command("forecast")(forecast)
study.command("sites")(sites)


@study.command("assignment")
def assignment(
    municipality: Municipality,
    paid_for: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool,
        typer.Option(
            "--paid-for", help="Vehicles are paid for anyway: serve whatever they can serve."
        ),
    ] = False,
    weeks: Weeks = 4,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find which vehicle each recorded round trip could have had, and which are worth their cost.

    A vehicle costs its yearly cost pro rata; a round trip without one, the allowance for an own
    car.
    """
    from optimizer.search import Search
    from stream.studies import run

    rows = with_pool(lambda pool: run.read_outings(pool, municipality, weeks))
    with telling("assignment") as tell:
        solved = run.solve_assignment(rows, Search(seed, time_limit), tell, paid_for=paid_for)
    keep_and_show(solved)


@study.command("carpool")
def carpool(  # noqa: PLR0913, PLR0917 - typer makes options of them
    municipality: Municipality,
    agree: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Two depots whose people share; may be given again."),
    ] = None,
    detour_km: Annotated[float, typer.Option(min=0, help="Of the driver, each way.")] = 5.0,
    shift_min: Annotated[
        float, typer.Option(min=0, help="Leaving earlier or later, at most.")
    ] = 15.0,
    freed_dkk: Annotated[
        float,
        typer.Option(min=0, help="Worth of a vehicle less at a depot's peak, over these weeks."),
    ] = 0.0,
    weeks: Weeks = 4,
    time_limit: TimeLimit = 60.0,
    seed: Seed = 1,
) -> None:
    """Find recorded journeys that could have shared a vehicle; within a home depot, or agreed."""
    from optimizer.search import Search
    from schemas.plans.carpool import CarpoolRules
    from stream.studies import run

    rules = CarpoolRules(
        max_detour_m=detour_km * 1000, max_shift_s=shift_min * 60, freed_vehicle_dkk=freed_dkk
    )
    wishes = run.Wishes([_pair(one) for one in agree or ()], rules)
    rows = with_pool(lambda pool: run.read_rides(pool, municipality, weeks))
    with telling("carpool") as tell:
        ways = run.ways_of(Settings())
        solved = run.solve_carpool(rows, wishes, Search(seed, time_limit), ways, tell)
    keep_and_show(solved)


@study.command("routes")
def routes(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(help="JSON, as `routes-example` prints it; - reads standard input."),
    ],
    time_limit: TimeLimit = 30.0,
    seed: Seed = 1,
    chains: Annotated[
        int, typer.Option(min=1, max=64, help="Searches side by side, a core each.")
    ] = 1,
) -> None:
    """Plan who makes which visit of a file, and in what order."""
    from infra.database.plans.recorded_demand import require_municipality
    from schemas.plans.routes import RouteInputs, RouteSearch
    from stream.studies import run

    inputs = read_json(file, RouteInputs)
    search = RouteSearch(seed=seed, time_limit_s=time_limit, chains=chains)
    with_connection(lambda one: require_municipality(one, inputs.municipality_id))
    with telling("routes") as tell:
        solved = run.solve_routes(inputs, search, run.ways_of(Settings()), tell)
    keep_and_show(solved)


@study.command("routes-example")
def routes_example() -> None:
    """Print a file of visits to start from."""
    from stream.studies.example import ROUTES

    typer.echo(ROUTES)


@study.command("list")
def list_(
    municipality: Municipality,
    limit: Annotated[int, typer.Option(min=1, help="Newest so many.")] = 20,
) -> None:
    """List the studies of a municipality, the newest first."""
    from infra.database.plans.studies import list_studies
    from stream.studies.render import show_lines

    found = with_connection(lambda one: list_studies(one, municipality, limit))
    show_lines(found, Console())


@study.command("show")
def show(
    study_id: Annotated[UUID, typer.Argument(help="Its id, as `study list` shows it.")],
) -> None:
    """Show a study again."""
    from infra.database.plans.studies import read_study
    from stream.studies.render import show as show_study

    found = with_connection(lambda one: read_study(one, study_id))
    if found is None:
        raise typer.BadParameter(f"no study {study_id}; `fleetpulse study list` shows them")
    show_study(found, Console())


def _pair(given: str) -> tuple[str, str]:
    first, comma, second = (part.strip() for part in given.partition(","))
    if not (first and comma and second) or "," in second:
        raise typer.BadParameter(f"{given!r} are not two depots; give --agree A,B")
    return first, second
