"""Delete what is past its retention."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.database.stream.outbox import prune as prune_rows
from schemas.fleet.rules import FIX_KEPT_DAYS
from stream.cli.database import with_connection


def prune(
    fix_days: Annotated[
        int, typer.Option(min=1, help="Days that raw positions, and studies of people, are kept.")
    ] = FIX_KEPT_DAYS,
) -> None:
    """Delete what is past its retention. Run it every day, e.g. by cron."""
    deleted = with_connection(lambda connection: prune_rows(connection, fix_days=fix_days))
    typer.echo(", ".join(f"{table}: {count}" for table, count in deleted.items()))
