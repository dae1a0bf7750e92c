"""Plans: asking for one, deciding upon it, and what became of it."""

from __future__ import annotations

import getpass
from typing import Annotated, Any, Final
from uuid import UUID

import typer
from rich.console import Console
from typer.core import TyperGroup

from infra.database.connection.pool import Connection
from stream.cli.database import with_connection, with_pool
from stream.cli.instants import instant
from stream.cli.plans.plan_wait import WAIT_LIMIT_S, plan_of


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
    help="Placement plans: ask, accept, reject, list, show, outcome. `plan MUNICIPALITY` asks "
    "for one.",
)
_REQUESTS_SHOWN: Final = 5
Municipality = Annotated[str, typer.Argument(help="Of which municipality.")]
Which = Annotated[UUID | None, typer.Argument(help="Its id, as `plan list` shows it; the newest.")]
By = Annotated[str, typer.Option(help="Who decides; you without it.")]


@plan.command("ask")
def ask(
    municipality: Municipality,
    wait: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--wait", help="Wait for the answer, and show the plan.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help=f"Of --wait, in seconds; {WAIT_LIMIT_S:.0f} without it."),
    ] = None,
) -> None:
    """Ask the planner for a placement plan now; it answers in table `plan` and on Kafka.

    With --wait the exit code is 1 when the planner refuses, and when there is no answer in time.
    The request stays then, and a planner that comes later answers it.
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
    municipality: Municipality,
    plan_id: Which = None,
    by: By = "",
    since: Annotated[
        str, typer.Option(help="Since when it is carried out, with an offset; now without it.")
    ] = "",
) -> None:
    """Accept a plan: the planner reckons week by week what it saves. It supersedes the former."""
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
def reject(municipality: Municipality, plan_id: Which = None, by: By = "") -> None:
    """Reject a plan; one that was accepted is followed up no longer."""
    from infra.database.plans import plan_decisions

    who = by or getpass.getuser()

    async def decide(connection: Connection) -> UUID:
        return await plan_decisions.reject(connection, municipality, plan_id, who)

    rejected = with_connection(decide)
    typer.echo(f"rejected by {who}: {rejected}")


@plan.command("list")
def list_(municipality: Municipality) -> None:
    """List plans, the newest first, and the newest requests that no plan has answered."""
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
def show(municipality: Municipality, plan_id: Which = None) -> None:
    """Show a plan: what it saves, what is proven, and the reason of each move and lending."""
    from infra.database.plans import plan_queries
    from stream.cli.plans.plan_view import show_plan

    kept = with_connection(lambda one: plan_queries.read_plan(one, municipality, plan_id))
    show_plan(kept, Console())


@plan.command("outcome")
def outcome(municipality: Municipality, plan_id: Which = None) -> None:
    """Show what accepted plans have saved in each week, and why not what they promised."""
    from infra.database.plans import plan_queries
    from stream.cli.plans.plan_view import show_outcomes

    rows = with_connection(lambda one: plan_queries.list_outcomes(one, municipality, plan_id))
    show_outcomes(rows, Console())
