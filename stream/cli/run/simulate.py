"""`fleetpulse simulate`: push the fixes of a made-up fleet to a running gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from stream.simulator.towns import AREAS


def simulate(  # noqa: PLR0913, PLR0917 - each is an option of the command
    url: Annotated[
        str, typer.Option(help="Address of `fleetpulse ingest`.")
    ] = "http://127.0.0.1:8000",
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MUNICIPALITY=KEY",
            help="Key from `fleetpulse key create` for each municipality. For days more than three "
            "months ago, create it with --history. Without a key, nothing is pushed.",
        ),
    ] = None,
    municipality: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Municipality to simulate: {', '.join(AREAS)}. Repeatable (default: those with a "
            "key, else syddjurs)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same positions.")] = 1,
    days: Annotated[int, typer.Option(min=1, help="Number of days to simulate.")] = 10,
    vehicles: Annotated[
        int, typer.Option(min=1, help="Number of vehicles in each municipality.")
    ] = 40,
    start: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="First day (default: the days end yesterday)."),
    ] = None,
    shift_day: Annotated[
        int | None,
        typer.Option(
            min=0, help="Day, from 0, on which most demand of the busiest depot moves to another."
        ),
    ] = None,
    gaps: Annotated[
        float, typer.Option(min=0, max=1, help="Share of days with a gap in coverage.")
    ] = 0.0,
    no_ignition: Annotated[
        float, typer.Option(min=0, max=1, help="Share of vehicles that never report ignition.")
    ] = 0.0,
    truth: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Write what really happened to this JSON file, to compare with."
        ),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            min=0, help="Multiple of real time: 1 is live, 60 is an hour a minute, 0 is unlimited."
        ),
    ] = 0.0,
    enter: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool,
        typer.Option(
            "--register/--no-register",
            help="First create or update the municipalities, depots and vehicles in the database "
            "of the settings.",
        ),
    ] = False,
) -> None:
    """Simulate a municipal fleet and push its positions, as a vendor would.

    The first time, create the fleet with --register and a key for each municipality with
    `fleetpulse key create`, then push with --key. Safe to repeat.
    """
    from stream.simulator.config import SimulationConfig
    from stream.simulator.push import enter as enter_fleet
    from stream.simulator.push import send
    from stream.simulator.simulation import simulate as make_fleet

    console = Console()
    keys = _keys(key or ())
    wanted = tuple(municipality or keys or ("syddjurs",))
    if keys and (missing := set(wanted) - keys.keys()):
        raise typer.BadParameter(
            f"no key for {', '.join(sorted(missing))}; make one with `fleetpulse key create`"
        )
    if not (keys or truth or enter):
        raise typer.BadParameter("nothing to do; give --key to push, --register or --truth")
    first = datetime.now(UTC).date() - timedelta(days=days) if start is None else start.date()
    fleet = make_fleet(
        SimulationConfig(
            start=first,
            seed=seed,
            days=days,
            municipalities=wanted,
            vehicles_per_municipality=vehicles,
            demand_shift_day=shift_day,
            gap_share=gaps,
            no_ignition_share=no_ignition,
        )
    )
    if enter:
        asyncio.run(enter_fleet(fleet, console))
    if keys or truth:
        truths = asyncio.run(send(fleet, url, keys, console, speed=speed))
        if truth is not None:
            truth.write_bytes(orjson.dumps(truths))
            console.print(f"truth written to {truth}", highlight=False)


def _keys(given: Sequence[str]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for pair in given:
        municipality_id, equals, key = pair.partition("=")
        if not (municipality_id and equals and key):
            raise typer.BadParameter(
                "a key is given as MUNICIPALITY=KEY, such as syddjurs=fp_…, without blanks"
            )
        keys[municipality_id] = key
    return keys
