"""Alerts: what operations should look at, and who has seen it."""

from __future__ import annotations

import getpass
from typing import Annotated
from uuid import UUID

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.database.timeline import alerts as store
from stream.cli.database import with_connection

alerts = typer.Typer(
    no_args_is_help=True, help="List and acknowledge alerts of vehicles and depots."
)


@alerts.command("list")
def list_(
    everything: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--all", help="Also list resolved alerts.")
    ] = False,
) -> None:
    """List open alerts, the newest first."""
    table = Table("alert, and why", "kind, subject", "raised, UTC", box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].width = len(str(UUID(int=0)))  # whole, to be copied
    table.columns[2].width = len("2026-01-31")  # what is left is for the second one's ids
    for alert_id, raised_at, kind, subject, reason, seen_by, over_at in with_connection(
        lambda connection: store.list_alerts(connection, everything=everything)
    ):
        raised = f"{raised_at:%Y-%m-%d %H:%M}"
        seen = "" if seen_by is None else f"\nseen by {seen_by}"
        over = "" if over_at is None else f"\nresolved\n{over_at:%Y-%m-%d %H:%M}"
        table.add_row(
            f"{alert_id}\n{escape(reason)}",
            f"{kind}\n{escape(subject)}",
            escape(raised + seen + over),
        )
    Console().print(table)


@alerts.command("acknowledge")
def acknowledge(
    alert: Annotated[UUID, typer.Argument(help="Alert id, as `alerts list` shows it.")],
    by: Annotated[str, typer.Option(help="Who has seen it (default: your user name).")] = "",
) -> None:
    """Mark an alert as seen. It stays open until its cause is gone."""
    who = by or getpass.getuser()
    if not with_connection(lambda connection: store.acknowledge(connection, alert, who)):
        raise typer.BadParameter(f"no alert {alert} that is not acknowledged yet; see alerts list")
    typer.echo(f"acknowledged by {who}")
