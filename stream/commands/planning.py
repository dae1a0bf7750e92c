"""Plans: asking for one, deciding upon it, and what became of it."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

import typer
from typer.core import TyperGroup

from stream.commands.database import Connection, with_connection, with_pool
from stream.commands.instants import instant


class _AsksByDefault(TyperGroup):
    """`plan MUNICIPALITY` is `plan ask MUNICIPALITY`."""

    # Typer brings a click of its own or not, by its version: the context is either's.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["ask", *args]
        return super().parse_args(ctx, args)


plan = typer.Typer(
    no_args_is_help=True,
    cls=_AsksByDefault,
    help="Placement plans: ask, accept, reject, list, outcome. `plan MUNICIPALITY` asks for one.",
)
Municipality = Annotated[str, typer.Argument(help="Of which municipality.")]
Which = Annotated[UUID | None, typer.Argument(help="Its id, as `plan list` shows it; the newest.")]
By = Annotated[str, typer.Option(help="Who decides; you without it.")]


@plan.command("ask")
def ask(municipality: Municipality) -> None:
    """Ask the planner for a placement plan now; it answers in table `plan` and on Kafka."""
    from infra.database.planning import UnknownMunicipalityError, request_plan

    try:
        request_id = with_pool(lambda pool: request_plan(pool, municipality, getpass.getuser()))
    except UnknownMunicipalityError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"requested: {request_id}")


@plan.command("accept")
def accept(
    municipality: Municipality,
    plan_id: Which = None,
    by: By = "",
    since: Annotated[
        str, typer.Option(help="Since when it is carried out, with an offset; now without it.")
    ] = "",
) -> None:
    """Accept a plan: the planner reckons week by week what it saves. It supersedes the former."""
    from infra.database import follow_up

    at = instant("--since", since) if since else None
    who = by or getpass.getuser()

    async def decide(connection: Connection) -> UUID:
        return await follow_up.accept(connection, municipality, plan_id, who, at)

    try:
        accepted = with_connection(decide)
    except follow_up.DecisionError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"accepted by {who}: {accepted}")


@plan.command("reject")
def reject(municipality: Municipality, plan_id: Which = None, by: By = "") -> None:
    """Reject a plan; one that was accepted is followed up no longer."""
    from infra.database import follow_up

    who = by or getpass.getuser()

    async def decide(connection: Connection) -> UUID:
        return await follow_up.reject(connection, municipality, plan_id, who)

    try:
        rejected = with_connection(decide)
    except follow_up.DecisionError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"rejected by {who}: {rejected}")


@plan.command("list")
def list_(municipality: Municipality) -> None:
    """List plans, the newest first."""
    from infra.database import follow_up

    rows = with_connection(lambda connection: follow_up.list_plans(connection, municipality))
    _show(("plan", "made", "state", "by", "moves", "saves DKK", "why then"), rows)


@plan.command("outcome")
def outcome(municipality: Municipality, plan_id: Which = None) -> None:
    """Show what accepted plans have saved in each week, and why not what they promised."""
    from infra.database import follow_up

    rows = with_connection(
        lambda connection: follow_up.list_outcomes(connection, municipality, plan_id)
    )
    _show(
        (
            "plan",
            "week",
            "promised DKK",
            "realised DKK",
            "demand changed",
            "not carried out",
            "model wrong",
            "in words",
        ),
        rows,
    )


def _show(columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, float) else str(value)
