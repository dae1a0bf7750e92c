"""Master data: apply a file of municipalities, depots and vehicles, and retire vehicles."""

from __future__ import annotations

from collections import Counter
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
from schemas.fleet.master_data import SERVICE_FROM, SERVICE_TO, FleetFile, LastDay
from schemas.ids import local_part
from stream.calendars import CalendarKeeper
from stream.cli.arguments import scoped_id
from stream.cli.database import with_connection
from stream.cli.files import read_json
from stream.cli.text import counted

fleet = typer.Typer(
    no_args_is_help=True, help="Enter and list municipalities, depots and vehicles."
)

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
     "planning": {"served_share": 0.95, "lending_within_min": 8, "fetching": "by-bicycle"},
     "costs": {"staff_dkk_per_h": 320, "diesel_dkk_per_l": 11.2}}
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
    """Print an example of a fleet file."""
    typer.echo(_EXAMPLE)


@fleet.command("apply")
def apply(
    file: Annotated[
        typer.FileBinaryRead,
        typer.Argument(help="Fleet file in JSON, see `fleet example`; - reads standard input."),
    ],
) -> None:
    """Create or update the municipalities, depots and vehicles of a file. Deletes nothing.

    Set `in_service_until` for a vehicle that was sold or returned, or use `fleetpulse fleet
    retire`. A section or a last day that the file leaves out stays as it is.

    Workers use the new data within half a minute, for positions that come from then on. Use
    `fleetpulse recompute` to apply new rules, depots or home depots to the past. Goals that
    `planning` leaves out are taken from the planner's settings, and `costs` have defaults.
    """
    master_data = read_json(file, FleetFile)

    async def work(connection: Connection) -> None:
        await master_data_import.import_master_data(connection, master_data)
        await CalendarKeeper().keep(connection)

    with_connection(work)
    typer.echo(
        f"applied {counted(len(master_data.municipalities), 'municipality', 'municipalities')}, "
        f"{counted(len(master_data.depots), 'depot')}, "
        f"{counted(len(master_data.vehicles), 'vehicle')}"
    )


@fleet.command("show")
def show() -> None:
    """Show how many depots and vehicles each municipality has."""
    loaded = with_connection(load_fleet)
    table = Table("municipality", "name", "depots", "vehicles")
    vehicles = Counter(vehicle.municipality_id for vehicle in loaded.vehicles.values())
    for municipality_id, municipality in sorted(loaded.municipalities.items()):
        depots = loaded.depots.get(municipality_id, ())
        table.add_row(
            municipality_id, municipality.name, str(len(depots)), str(vehicles[municipality_id])
        )
    Console().print(table)


_Vehicle = Annotated[
    str,
    typer.Argument(
        metavar="VEHICLE", help="Vehicle id with its municipality, such as syddjurs/car-017."
    ),
]


@fleet.command("retire")
def retire(
    vehicle: _Vehicle,
    on: Annotated[
        str, typer.Option(help="Last day in service, such as 2026-03-31 (default: today).")
    ] = "",
) -> None:
    """Mark a vehicle as sold or returned. It belongs to the fleet until the end of this date.

    From the next day on, plans and depots no longer count it, and its alerts are resolved. Its
    history stays. If it still reports positions, an alert is raised.
    """
    vehicle_id, last_day = _vehicle_id(vehicle), _last_day(on) if on else None

    async def work(connection: Connection) -> Retired:
        return await decommissioning.retire(connection, vehicle_id, last_day)

    retired = with_connection(work)
    before = "" if retired.before is None else f", no longer until {retired.before}"
    typer.echo(
        f"{vehicle_id} is in service until the end of {retired.last_day} ({retired.timezone})"
        f"{before}; "
        f"to undo: fleetpulse fleet reinstate {vehicle_id}"
    )


@fleet.command("reinstate")
def reinstate(vehicle: _Vehicle) -> None:
    """Undo `retire`: the vehicle is in service again, with no last day."""
    vehicle_id = _vehicle_id(vehicle)

    async def work(connection: Connection) -> date:
        return await decommissioning.reinstate(connection, vehicle_id)

    typer.echo(
        f"{vehicle_id} is in service again; its last day {with_connection(work)} is cancelled"
    )


@fleet.command("list")
def list_(
    municipality: Annotated[str, typer.Argument(help="Id of the municipality.")],
) -> None:
    """List vehicles, their last day in service, and whether they still report after it."""

    async def read(connection: Connection) -> list[ListedVehicle]:
        if municipality not in await load_municipalities(connection):
            raise typer.BadParameter(
                f"municipality {municipality!r} is not entered; enter it first: fleetpulse fleet "
                "apply"
            )
        return await decommissioning.list_vehicles(connection, municipality)

    table = Table(
        "vehicle", "class", "home depot", "last fix, UTC", "in service\nuntil", box=box.SIMPLE_HEAD
    )
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True  # to be copied
    for vehicle in with_connection(read):
        vehicle_id, home, last = (
            vehicle.vehicle_id,
            vehicle.home_depot_id,
            vehicle.last_recorded_at,
        )
        until = "" if vehicle.in_service_until is None else str(vehicle.in_service_until)
        has_name = vehicle.name not in {vehicle_id, local_part(vehicle_id)}
        table.add_row(
            escape(f"{vehicle_id}\n{vehicle.name}" if has_name else vehicle_id),
            vehicle.vehicle_type,
            "" if home is None else local_part(home),
            "" if last is None else f"{last:%Y-%m-%d %H:%M}",
            ": ".join(filter(None, (until, _note(vehicle)))),
        )
    Console().print(table)


def _note(vehicle: ListedVehicle) -> str:
    if not vehicle.registered:
        return "only seen in the stream"
    if vehicle.is_in_service:
        return ""
    if vehicle.is_heard_after:
        return "retired, still reporting: take its tracker out, or fleet reinstate"
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
