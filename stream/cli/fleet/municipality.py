"""What happens when a municipality leaves: its data are exported, then erased."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.database.operations import municipality_data as store
from stream.cli.database import with_connection

municipality = typer.Typer(no_args_is_help=True, help="Export or erase all data of a municipality.")
_Id = Annotated[str, typer.Argument(metavar="MUNICIPALITY", help="Id of the municipality.")]


@municipality.command("export")
def export(
    municipality_id: _Id,
    to: Annotated[Path, typer.Option(help="New directory for the files.")],
) -> None:
    """Write all data of a municipality as gzipped CSV files, one for each table."""
    counts = with_connection(lambda connection: store.export(connection, municipality_id, to))
    _show(counts, "rows written")
    typer.echo(f"exported {municipality_id} to {to}")


@municipality.command("erase")
def erase(
    municipality_id: _Id,
    confirm: Annotated[
        str | None, typer.Option(help="The id again (default: you are asked to type it).")
    ] = None,
) -> None:
    """Delete all data of a municipality. This cannot be undone. Its keys are revoked first."""
    if confirm is None:
        confirm = typer.prompt(f"Type {municipality_id} to delete all of its data")
    if confirm != municipality_id:
        raise typer.BadParameter(f"{confirm!r} is not {municipality_id!r}; nothing was deleted")
    counts = with_connection(lambda connection: store.erase(connection, municipality_id))
    _show(counts, "rows deleted")
    typer.echo(
        f"erased {municipality_id}. Kafka keeps its messages until their retention; when no lag "
        "is left (fleetpulse offsets show), run this once more"
    )


def _show(counts: dict[str, int], what: str) -> None:
    table = Table("table", what)
    for name, count in sorted(counts.items()):
        if count:
            table.add_row(name, f"{count:,}")
    Console().print(table)
