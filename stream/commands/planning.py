"""Asking for a plan."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from psycopg import errors

from infra.database.planning import request_plan
from stream.commands.access import with_pool


def plan(
    municipality: Annotated[str, typer.Argument(help="For which municipality.")],
) -> None:
    """Ask the planner for a placement plan now; it answers in table `plan` and on Kafka."""
    try:
        request_id = with_pool(lambda pool: request_plan(pool, municipality, getpass.getuser()))
    except errors.ForeignKeyViolation:
        raise typer.BadParameter(f"no municipality {municipality!r} is entered") from None
    typer.echo(f"requested: {request_id}")
