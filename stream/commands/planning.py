"""Asking for a plan."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from stream.commands.database import with_pool


def plan(
    municipality: Annotated[str, typer.Argument(help="For which municipality.")],
) -> None:
    """Ask the planner for a placement plan now; it answers in table `plan` and on Kafka."""
    from infra.database.planning import UnknownMunicipalityError, request_plan

    try:
        request_id = with_pool(lambda pool: request_plan(pool, municipality, getpass.getuser()))
    except UnknownMunicipalityError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"requested: {request_id}")
