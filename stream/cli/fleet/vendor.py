"""Which vendors may report a vehicle: decided when a municipality changes or adds a vendor."""

from __future__ import annotations

import asyncio
import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.database.fleet import vendors as store
from infra.database.stream.dead_letters import Filter
from infra.settings import Settings
from schemas.events.dead_letters import DeadLetterReason
from schemas.ids import scoped
from stream.cli.database import with_connection

vendor = typer.Typer(
    no_args_is_help=True,
    help="Decide which vendors may report a vehicle: the first that did, and those you allow.",
)
_Municipality = Annotated[str, typer.Argument(help="Id of the municipality.")]
_Vendor = Annotated[str, typer.Argument(help="Name of the vendor, as its key has it.")]
_Vehicles = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[VEHICLE]...", help="Ids as they are sent; default: all of the municipality."
    ),
]


@vendor.command("list")
def list_(municipality: _Municipality) -> None:
    """List the vendors of each vehicle, and how many positions of other vendors wait."""
    table = Table("vehicle", "vendor", "why", "waiting")
    for line in with_connection(lambda connection: store.list_vendors(connection, municipality)):
        since = "first to report" if line.allowed_by is None else f"allowed by {line.allowed_by}"
        if line.position is None:
            since = "not allowed"
        table.add_row(
            line.vehicle_id.partition("/")[2],
            line.vendor,
            since,
            f"{line.waiting:,}" if line.waiting else "",
        )
    Console().print(table)


@vendor.command("allow")
def allow(
    municipality: _Municipality,
    name: _Vendor,
    vehicles: _Vehicles = None,
    *,
    first: Annotated[
        bool, typer.Option("--first", help="Use its positions where vendors contradict each other.")
    ] = False,
    allowed_by: Annotated[
        str | None, typer.Option("--by", help="Who decides (default: your user name).")
    ] = None,
) -> None:
    """Allow a vendor to report vehicles. Its positions that wait are processed."""
    ids = _ids(municipality, vehicles)
    count = with_connection(
        lambda connection: store.allow_vendor(
            connection, name, ids, allowed_by=allowed_by or getpass.getuser(), first=first
        )
    )
    replayed = asyncio.run(_replay(municipality, name, ids if vehicles else None))
    typer.echo(f"{name} may report {count} vehicles more; {replayed} waiting fixes sent again")


async def _replay(municipality: str, name: str, ids: list[str] | None) -> int:
    """Send again what waits of a vendor: of some ids, or of all in a municipality."""
    from stream.cli.operate.dead_letter_replay import replay_all

    until = datetime.now(UTC)
    replayed = 0
    vehicle_ids: list[str | None] = [None] if ids is None else [*ids]
    for vehicle_id in vehicle_ids:
        wanted = Filter(
            reason=DeadLetterReason.OTHER_VENDOR,
            vendor=name,
            vehicle_id=vehicle_id,
            municipality_id=municipality,
        )
        replayed += (await replay_all(Settings(), wanted, until)).replayed
    return replayed


@vendor.command("remove")
def remove(municipality: _Municipality, name: _Vendor, vehicles: _Vehicles = None) -> None:
    """Stop a vendor from reporting vehicles. What it has sent already stays."""
    ids = _ids(municipality, vehicles)
    count = with_connection(lambda connection: store.remove_vendor(connection, name, ids))
    if not count:
        raise typer.BadParameter(
            f"{name} may report none of these vehicles; see `fleetpulse vendor list {municipality}`"
        )
    typer.echo(f"{name} may no longer report {count} vehicles")


def _ids(municipality: str, vehicles: list[str] | None) -> list[str]:
    if vehicles:
        return [scoped(municipality, vehicle) for vehicle in vehicles]
    ids = with_connection(lambda connection: store.reported_ids(connection, municipality))
    if not ids:
        raise typer.BadParameter(
            f"no vehicle of {municipality!r} has reported yet: name the vehicles, or wait; the "
            "first vendor of a vehicle needs no permission"
        )
    return ids
