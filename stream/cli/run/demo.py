"""`fleetpulse demo` and `fleetpulse up`: a whole installation on servers of its own."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

import typer

_TWELVE_WEEKS: Final = 84
"""What a plan reads by default: it is fitted on eight weeks and tried on four."""
_Days = Annotated[int, typer.Option(min=4, help="Number of days to simulate.")]
_Vehicles = Annotated[
    int, typer.Option(min=8, help="Number of vehicles in each of two municipalities.")
]
_Seed = Annotated[int, typer.Option(help="The same seed gives the same fleet and trips.")]

_LastDay = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%d"], help="Last day of driving (default: yesterday)."),
]


def demo(
    days: _Days = _TWELVE_WEEKS,
    vehicles: _Vehicles = 10,
    seed: _Seed = 1,
    last_day: _LastDay = None,
) -> None:
    """Run everything once on embedded servers, show the result, and remove it all."""
    from stream.demo.run import DemoFleet, run_demo

    run_demo(DemoFleet(days, vehicles, seed, _day(last_day)))


def up(
    days: _Days = _TWELVE_WEEKS,
    vehicles: _Vehicles = 10,
    seed: _Seed = 1,
    last_day: _LastDay = None,
    empty: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--empty", help="Start without the simulated fleet.")
    ] = False,
) -> None:
    """Run the demo and keep it running until Ctrl-C. Its data are then deleted."""
    from stream.demo.run import DemoFleet, run_up

    run_up(None if empty else DemoFleet(days, vehicles, seed, _day(last_day)))


def _day(last_day: datetime | None) -> date:
    """Return the last day of driving; it has to be over, since nothing comes from the future."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    if last_day is None:
        return yesterday
    if last_day.date() > yesterday:
        raise typer.BadParameter(
            f"--last-day {last_day:%Y-%m-%d} is not over; name one until {yesterday}"
        )
    return last_day.date()
