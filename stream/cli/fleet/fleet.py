"""Master data: entering municipalities, depots and vehicles from a file, and retiring vehicles."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.database.connection.pool import Connection
from infra.database.fleet import decommissioning, master_data_import
from infra.database.fleet.decommissioning import ListedVehicle, Retired
from infra.database.fleet.master_data import load_fleet, load_municipalities
from schemas.fleet.master_data import SERVICE_FROM, SERVICE_TO, LastDay, MasterData
from schemas.ids import local_part
from stream.calendars import CalendarKeeper
from stream.cli.database import with_connection
from stream.cli.files import read_json
from stream.cli.scoped_ids import scoped_id
from stream.cli.text import counted

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

    A vehicle that was sold or handed back leaves with `in_service_until`, its last day, or with
    `fleetpulse fleet retire`; a file that says nothing of that leaves it as it is.

    Workers take it up within half a minute, for what comes then: after a change of rules, depots or
    homes that holds for the past too, see `fleetpulse recompute`. What a municipality's `planning`
    leaves out is as the planner's settings are; a file without that section leaves it as it is.
    """
    given = read_json(file, MasterData)

    async def work(connection: Connection) -> None:
        await master_data_import.enter(connection, given)
        await CalendarKeeper().keep(connection)

    with_connection(work)
    typer.echo(
        f"entered {counted(len(given.municipalities), 'municipality', 'municipalities')}, "
        f"{counted(len(given.depots), 'depot')}, {counted(len(given.vehicles), 'vehicle')}"
    )


@fleet.command("show")
def show() -> None:
    """Count what is entered, municipality by municipality."""
    known = with_connection(load_fleet)
    table = Table("municipality", "name", "depots", "vehicles")
    for one in sorted(known.municipalities.values(), key=lambda one: one.municipality_id):
        vehicles = [v for v in known.vehicles.values() if v.municipality_id == one.municipality_id]
        depots = known.depots.get(one.municipality_id, ())
        table.add_row(one.municipality_id, one.name, str(len(depots)), str(len(vehicles)))
    Console().print(table)


_Vehicle = Annotated[
    str, typer.Argument(metavar="VEHICLE", help="With its municipality: syddjurs/car-017.")
]


@fleet.command("retire")
def retire(
    vehicle: _Vehicle,
    on: Annotated[
        str, typer.Option(help="Its last day in service, such as 2026-03-31; today without it.")
    ] = "",
) -> None:
    """Say that a vehicle was sold or handed back: of the fleet up to and on a local day.

    From the next day on no plan places it, no depot has it as supply, and its alerts are over.
    What it did stays and counts. If it is heard of afterwards, an alert says so.
    """
    vehicle_id, last_day = _vehicle_id(vehicle), _last_day(on) if on else None

    async def work(connection: Connection) -> Retired:
        return await decommissioning.retire(connection, vehicle_id, last_day)

    done = with_connection(work)
    before = "" if done.before is None else f", not until {done.before} as before"
    typer.echo(
        f"{vehicle_id} is in service up to and on {done.last_day} ({done.timezone}){before}; "
        f"to undo: fleetpulse fleet reinstate {vehicle_id}"
    )


@fleet.command("reinstate")
def reinstate(vehicle: _Vehicle) -> None:
    """Undo `retire`: the vehicle is in service without an end, as if it had never left."""
    vehicle_id = _vehicle_id(vehicle)

    async def work(connection: Connection) -> date:
        return await decommissioning.reinstate(connection, vehicle_id)

    typer.echo(
        f"{vehicle_id} is in service again, its end on {with_connection(work)} is taken back"
    )


@fleet.command("list")
def list_(
    municipality: Annotated[str, typer.Argument(help="Whose vehicles.")],
) -> None:
    """List vehicles with their last day in service, and who is heard of after it."""

    async def read(connection: Connection) -> list[ListedVehicle]:
        if municipality not in await load_municipalities(connection):
            raise typer.BadParameter(
                f"municipality {municipality!r} is not entered; enter it first: fleetpulse fleet "
                "enter"
            )
        return await decommissioning.list_vehicles(connection, municipality)

    table = Table(
        "vehicle", "class", "home depot", "last fix, UTC", "in service\nuntil", box=box.SIMPLE_HEAD
    )
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True  # to be copied
    for one in with_connection(read):
        until = "" if one.in_service_until is None else str(one.in_service_until)
        named = one.name not in {one.vehicle_id, local_part(one.vehicle_id)}
        table.add_row(
            escape(f"{one.vehicle_id}\n{one.name}" if named else one.vehicle_id),
            one.vehicle_type,
            "" if one.home_depot_id is None else local_part(one.home_depot_id),
            "" if one.last_recorded_at is None else f"{one.last_recorded_at:%Y-%m-%d %H:%M}",
            ": ".join(filter(None, (until, _note(one)))),
        )
    Console().print(table)


def _note(one: ListedVehicle) -> str:
    if not one.registered:
        return "only seen in the stream"
    if one.is_in_service:
        return ""
    if one.is_heard_after:
        return "retired, heard of since: take its tracker out, or fleet reinstate"
    return "retired"


def _vehicle_id(text: str) -> str:
    return scoped_id(
        "vehicle", text, "give its id after its municipality, such as syddjurs/car-017"
    )


def _last_day(text: str) -> date:
    try:
        return TypeAdapter(LastDay).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(
            f"--on {text!r}: {error.errors()[0]['msg']}; give a day such as 2026-03-31, from "
            f"{SERVICE_FROM} to {SERVICE_TO}"
        ) from None
