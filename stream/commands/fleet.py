"""Master data: entering municipalities, depots and vehicles from a file, and listing them."""

from __future__ import annotations

from typing import Annotated

import typer
from psycopg import errors
from rich.console import Console
from rich.table import Table

from infra.database import fleet as store
from infra.database.pool import Connection
from schemas.fleet import MasterData
from stream.calendars import CalendarKeeper
from stream.commands.database import with_connection
from stream.commands.files import read_json

fleet = typer.Typer(no_args_is_help=True, help="Municipalities, depots and vehicles.")

_EXAMPLE = """{
  "municipalities": [
    {"municipality_id": "odder", "name": "Odder",
     "calendar": {
       "shifts": [{"weekdays": ["mon", "tue", "wed", "thu", "fri"],
                   "starts": "07:00", "ends": "16:00"}],
       "days_off": ["2026-12-24"],
       "exceptions": [
         {"vehicle_types": ["van"], "works_on_holidays": true,
          "shifts": [{"weekdays": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
                      "starts": "06:00", "ends": "23:00"}]}
       ]},
     "planning": {"served_share": 0.95, "lending_within_min": 8, "fetching": "by-bicycle"}}
  ],
  "depots": [
    {"depot_id": "odder/town-hall", "municipality_id": "odder", "name": "Town hall",
     "lat": 55.9731, "lon": 10.1530, "capacity": 12, "charger_count": 4},
    {"depot_id": "odder/works-yard", "municipality_id": "odder", "name": "Works yard",
     "lat": 55.9652, "lon": 10.1648, "capacity": 30,
     "polygon": [[55.9660, 10.1630], [55.9660, 10.1668], [55.9645, 10.1668], [55.9645, 10.1630]]}
  ],
  "vehicles": [
    {"vehicle_id": "odder/car-017", "municipality_id": "odder", "name": "Car 17",
     "vehicle_type": "car", "energy_source": "petrol", "consumption_per_km": 0.055,
     "yearly_cost_dkk": 38000, "seats": 5, "home_depot_id": "odder/town-hall"},
    {"vehicle_id": "odder/van-003", "municipality_id": "odder", "name": "Van 3",
     "vehicle_type": "van", "energy_source": "diesel", "consumption_per_km": 0.08,
     "yearly_cost_dkk": 52000, "seats": 3, "home_depot_id": "odder/works-yard",
     "home_since": "2026-01-05T00:00:00+01:00"}
  ]
}"""


@fleet.command("example")
def example() -> None:
    """Print a file to start from."""
    typer.echo(_EXAMPLE)


@fleet.command("enter")
def enter(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(help="JSON, as `example` prints it; - reads standard input."),
    ],
) -> None:
    """Enter what a file holds; what is entered already is updated, nothing is deleted.

    Workers take it up within half a minute, for what comes then: after a change of rules, depots or
    homes that holds for the past too, see `fleetpulse recompute`. What a municipality's `planning`
    leaves out, or all of it, is as the planner's settings are.
    """
    given = read_json(file, MasterData)

    async def work(connection: Connection) -> None:
        await store.enter(connection, given)
        await CalendarKeeper().keep(connection)

    try:
        with_connection(work)
    except store.HomeInFutureError as error:
        raise typer.BadParameter(str(error)) from None
    except errors.ForeignKeyViolation as error:
        raise typer.BadParameter(
            f"{error.diag.message_detail} Enter it too, in this file or before"
        ) from None
    typer.echo(
        f"entered {len(given.municipalities)} municipalities, {len(given.depots)} depots, "
        f"{len(given.vehicles)} vehicles"
    )


@fleet.command("show")
def show() -> None:
    """Count what is entered, municipality by municipality."""
    known = with_connection(store.load_fleet)
    table = Table("municipality", "name", "depots", "vehicles")
    for one in sorted(known.municipalities.values(), key=lambda one: one.municipality_id):
        vehicles = [v for v in known.vehicles.values() if v.municipality_id == one.municipality_id]
        depots = known.depots.get(one.municipality_id, ())
        table.add_row(one.municipality_id, one.name, str(len(depots)), str(len(vehicles)))
    Console().print(table)
