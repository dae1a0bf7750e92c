"""Alerts: what operations should look at, and saying that somebody has."""

from __future__ import annotations

import getpass
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table

from infra.database import alerts as store
from stream.commands.database import with_connection

alerts = typer.Typer(no_args_is_help=True, help="Vehicles and depots that need a look.")


@alerts.command("list")
def list_(
    everything: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--all", help="Also those that are over.")
    ] = False,
) -> None:
    """List open alerts, the newest first."""
    table = Table("alert", "raised", "kind", "vehicle or depot", "why", "seen by", "over")
    for column in table.columns:
        column.overflow = "fold"
    for row in with_connection(
        lambda connection: store.list_alerts(connection, everything=everything)
    ):
        table.add_row(*(str(value or "") for value in row))
    Console().print(table)


@alerts.command("acknowledge")
def acknowledge(
    alert: Annotated[UUID, typer.Argument(help="Its id, as `alerts list` shows it.")],
    by: Annotated[str, typer.Option(help="Who has seen it; you without it.")] = "",
) -> None:
    """Say that an alert has been seen; it stays open until the figures are better."""
    who = by or getpass.getuser()
    if not with_connection(lambda connection: store.acknowledge(connection, alert, who)):
        raise typer.BadParameter(f"no alert {alert} that is not acknowledged yet; see alerts list")
    typer.echo(f"acknowledged by {who}")
