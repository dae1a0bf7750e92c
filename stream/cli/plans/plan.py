"""Plans: request one, decide about it, and see what it saved."""

from __future__ import annotations

import getpass
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from typer.core import TyperGroup

from infra.database.connection.pool import Connection
from stream.cli.arguments import MunicipalityArgument, instant
from stream.cli.database import with_connection, with_pool
from stream.cli.plans.plan_wait import WAIT_LIMIT_S, plan_of


class _RequestsByDefault(TyperGroup):
    """`plan MUNICIPALITY` is `plan request MUNICIPALITY`."""

    # Typer brings a click of its own or not, by its version: the context is either's.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["request", *args]
        return super().parse_args(ctx, args)


plan = typer.Typer(
    no_args_is_help=True,
    cls=_RequestsByDefault,
    help="Request, show, accept and reject placement plans, and see what they saved. "
    "`plan MUNICIPALITY` requests one.",
)
_REQUESTS_SHOWN: Final = 5
Which = Annotated[UUID | None, typer.Argument(help="Plan id (default: the newest).")]
By = Annotated[str, typer.Option(help="Who decides (default: your user name).")]


@plan.command("request")
def request(
    municipality: MunicipalityArgument,
    wait: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--wait", help="Wait for the answer and show the plan.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, help=f"Longest wait with --wait, in seconds (default: {WAIT_LIMIT_S:.0f})."
        ),
    ] = None,
) -> None:
    """Request a placement plan now.

    With --wait, the exit code is 1 if the planner refuses or does not answer in time. The request
    stays, and the planner answers it later.
    """
    from infra.database.plans.plan_queue import request_plan
    from stream.cli.plans.plan_view import show_plan

    if timeout is not None and not wait:
        raise typer.BadParameter(f"--timeout {timeout:g} goes with --wait; give both or neither")
    request_id = with_pool(lambda pool: request_plan(pool, municipality, getpass.getuser()))
    typer.echo(f"requested: {request_id}; what came of it: fleetpulse plan list {municipality}")
    if wait:
        limit_s = WAIT_LIMIT_S if timeout is None else timeout
        kept = with_pool(lambda pool: plan_of(pool, municipality, request_id, limit_s))
        show_plan(kept, Console())


@plan.command("accept")
def accept(
    municipality: MunicipalityArgument,
    plan_id: Which = None,
    by: By = "",
    since: Annotated[
        str, typer.Option(help="Since when the plan is carried out, with an offset (default: now).")
    ] = "",
) -> None:
    """Accept a plan. The planner then calculates every week what it saved.

    A plan accepted earlier is replaced.
    """
    from infra.database.plans import plan_decisions, plan_queries
    from stream.cli.plans.plan_view import promise

    at = instant("--since", since) if since else None
    who = by or getpass.getuser()

    async def decide(connection: Connection) -> plan_queries.KeptPlan:
        accepted = await plan_decisions.accept(connection, municipality, plan_id, who, at)
        return await plan_queries.read_plan(connection, municipality, accepted)

    kept = with_connection(decide)
    typer.echo(f"accepted by {who}: {kept.plan.plan_id}")
    typer.echo(promise(kept.plan))
    typer.echo(f"back-test: {kept.plan.backtest_explanation}")


@plan.command("reject")
def reject(municipality: MunicipalityArgument, plan_id: Which = None, by: By = "") -> None:
    """Reject a plan. If it was accepted, its savings are no longer calculated."""
    from infra.database.plans import plan_decisions

    who = by or getpass.getuser()

    async def decide(connection: Connection) -> UUID:
        return await plan_decisions.reject(connection, municipality, plan_id, who)

    rejected = with_connection(decide)
    typer.echo(f"rejected by {who}: {rejected}")


@plan.command("list")
def list_(municipality: MunicipalityArgument) -> None:
    """List plans and unanswered requests, newest first."""
    from infra.database.plans import plan_queries
    from stream.cli.plans.plan_view import show_list

    async def read(
        connection: Connection,
    ) -> tuple[list[plan_queries.PlanLine], list[plan_queries.RequestLine]]:
        return (
            await plan_queries.list_plans(connection, municipality),
            await plan_queries.list_requests(connection, municipality, _REQUESTS_SHOWN),
        )

    show_list(*with_connection(read), Console())


@plan.command("show")
def show(municipality: MunicipalityArgument, plan_id: Which = None) -> None:
    """Show a plan: what it saves, what is proven, and the reason for each move."""
    from infra.database.plans import plan_queries
    from stream.cli.plans.plan_view import show_plan

    kept = with_connection(
        lambda connection: plan_queries.read_plan(connection, municipality, plan_id)
    )
    show_plan(kept, Console())


@plan.command("results")
def results(municipality: MunicipalityArgument, plan_id: Which = None) -> None:
    """Show what accepted plans saved each week, and why it differs from their promise."""
    from infra.database.plans import plan_queries
    from stream.cli.plans.plan_view import show_outcomes

    rows = with_connection(
        lambda connection: plan_queries.list_outcomes(connection, municipality, plan_id)
    )
    show_outcomes(rows, Console())
