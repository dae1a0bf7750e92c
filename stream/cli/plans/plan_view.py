"""Plans on the terminal: a list, a plan with its reasons, and what it saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from infra.database.plans.plan_queries import KeptPlan, PlanLine, RequestLine
from schemas.fleet.policy import PlacementPolicy
from schemas.ids import local_part
from schemas.plans.plan import PlacementPlan, SolverStatus
from stream.cli.text import counted, moves_in_words

_ID_WIDTH: Final = 36
"""Of a UUID as text."""


def show_list(plans: Sequence[PlanLine], requests: Sequence[RequestLine], console: Console) -> None:
    """Print plans as a list, and requests that have no plan, with the reason."""
    table = _ids(_table("plan, and why then", "made, state", "moves", "saves\nDKK"))
    for plan in plans:
        by = f" by {escape(plan.decided_by)}" if plan.decided_by else ""
        table.add_row(
            f"{plan.plan_id}\n{escape(plan.trigger_reason)}",
            f"{_minute(plan.created_at)}\n{plan.state}{by}{_unplaced(plan.status)}"
            f"{_backtest(plan.backtest_ratio)}",
            str(plan.moves) + (f"\n+ {plan.new_homes} new" if plan.new_homes else ""),
            f"{plan.saves_dkk:,.0f}",
        )
    if plans:
        console.print(table)
    else:
        console.print("no plan yet; request one with `fleetpulse plan MUNICIPALITY --wait`")
    if not requests:
        return
    table = _ids(_table("request without a plan, and why", "requested, by"))
    for request in requests:
        answer = request.outcome or "no answer yet: waits for the planner"
        table.add_row(
            f"{request.request_id}\n{escape(answer)}",
            f"{_minute(request.requested_at)}\n{escape(request.requested_by)}",
        )
    console.print(table)


def show_plan(kept: KeptPlan, console: Console) -> None:
    """Print a plan: what it saves, what is proven, each move with its reason, and the back-test."""
    for line in _lines(kept):
        console.print(line, highlight=False)


def promise(plan: PlacementPlan) -> str:
    """Return how many moves and lendings a plan has, and what it is to save."""
    saved_dkk = plan.cost_before_dkk - plan.objective_dkk
    lent = f" and {counted(len(plan.lendings), 'lending')}" if plan.lendings else ""
    moving = (
        "" if plan.relocation_dkk is None else f", {plan.relocation_dkk:,.0f} DKK for moving paid"
    )
    lent_dkk = sum(lending.saves_dkk for lending in plan.lendings)
    lending = f", {lent_dkk:,.0f} DKK of it by lending (which no follow-up can see)" if lent else ""
    return (
        f"{moves_in_words(plan)}{lent}; promised saving {saved_dkk:,.0f} DKK in "
        f"{plan.horizon_weeks:.1f} weeks{lending}{moving}"
    )


def _lines(kept: KeptPlan) -> Iterator[str]:
    plan = kept.plan
    yield f"[bold]plan {plan.plan_id} of {plan.municipality_id}[/], made {_minute(plan.created_at)}"
    yield f"[bold]state[/] {escape(_state(kept))}"
    yield f"[bold]why[/] {plan.trigger.value}: {escape(plan.trigger_reason)}"
    yield f"[bold]plan[/] {escape(promise(plan))}"
    yield f"[bold]proof[/] {escape(_proof(plan))}"
    yield (
        f"[bold]basis[/] {counted(plan.round_trip_count, 'round trip')} from "
        f"{_minute(plan.demand_from)} to {_minute(plan.demand_to)}, seed {plan.seed}, inputs "
        f"{plan.inputs_hash[:12]}"
    )
    yield f"[bold]goal[/] {_goal(plan.policy)}"
    yield f"[bold]in words[/] {escape(plan.explanation)}"
    yield f"[bold]back-test[/] {escape(plan.backtest_explanation)}"
    for move in plan.moves:
        came = local_part(move.from_depot_id) if move.from_depot_id else "no home"
        what = "move" if move.from_depot_id else "new home"
        yield (
            f"[bold]{what}[/] {escape(local_part(move.vehicle_id))}: {escape(came)} → "
            f"{escape(local_part(move.to_depot_id))}: {escape(move.reason)}"
        )
    for lending in plan.lendings:
        yield (
            f"[bold]lending[/] {escape(local_part(lending.borrower_depot_id))} fetches "
            f"{counted(lending.vehicles, lending.vehicle_class.value)} of "
            f"{escape(local_part(lending.lender_depot_id))}: {escape(lending.reason)}"
        )


def _state(kept: KeptPlan) -> str:
    words = str(kept.state)
    if kept.decided_at is not None:
        words += f", decided by {kept.decided_by} at {_minute(kept.decided_at)}"
    if kept.accepted_at is not None and kept.accepted_at != kept.decided_at:
        words += f"; accepted by {kept.accepted_by} at {_minute(kept.accepted_at)}"
    return words


def _goal(policy: PlacementPolicy | None) -> str:
    if policy is None:
        return "unknown: the plan was made before goals were stored"
    share, way_min = policy.served_share, policy.lending_within_min
    goal = (
        "serve a trip if a vehicle is cheaper than a private car"
        if share is None
        else f"serve at least {share:.1%} of each class's round trips"
    )
    lending = f"Depots lend each other vehicles within {way_min:g} min"
    lending += f" {policy.fetching.value.replace('-', ' ')}."
    demand = "forecast, where that is better than last week" if policy.forecast else "as recorded"
    return f"{goal}. {lending if way_min else 'Depots do not lend vehicles.'} Demand: {demand}."


def _unplaced(status: SolverStatus) -> str:
    """Return what sets a plan that places nothing apart from one that finds nothing to move."""
    return "" if status.places else f"\n{status}: places nothing"


def _backtest(ratio: float | None) -> str:
    """Return what the weeks kept back say of what a plan saves."""
    if ratio is None:
        return ""
    more = ratio - 1
    return f"\nback-test: {abs(more):.0%} {'dearer' if more > 0 else 'less'}"


def _proof(plan: PlacementPlan) -> str:
    if not plan.status.places:
        return f"{plan.status.value}: no vehicle is moved"
    costs = (
        f"{plan.status.value}: it costs {plan.objective_dkk:,.0f} DKK against "
        f"{plan.cost_before_dkk:,.0f} DKK as it stands"
    )
    return f"{costs}; nothing costs less than {plan.bound_dkk:,.0f} DKK, a gap of {plan.gap:.1%}"


def show_outcomes(rows: Sequence[tuple[Any, ...]], console: Console) -> None:
    """Print what plans saved week by week: a table each, and the weeks in words."""
    of_plans: dict[UUID, list[tuple[Any, ...]]] = {}
    for row in rows:
        of_plans.setdefault(row[0], []).append(row)
    for plan_id, weeks in of_plans.items():
        table = _table("week", "promised\nDKK", "realised\nDKK", "demand\nchanged")
        for name in ("not\ncarried out", "model\nwrong"):
            table.add_column(name)
        explanations: list[str] = []
        for _, week, *amounts, explanation in weeks:
            table.add_row(str(week), *map(str, amounts))
            explanations.append(f"[bold]{week}[/] {escape(explanation)}")
        console.print(f"[bold]plan {plan_id}[/]", highlight=False)
        console.print(table)
        for line in explanations:
            console.print(line, highlight=False)
    if not rows:
        console.print("no week of an accepted plan has been calculated yet")


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.overflow = "fold"
    return table


def _ids(table: Table) -> Table:
    """Keep ids whole, to be copied: what stands below one in its cell is folded at its width."""
    table.columns[0].width = _ID_WIDTH
    return table


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
