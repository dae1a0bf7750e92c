"""Plans on the terminal: a list, one whole with its reasons, and what became of them."""

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
    """Print plans as a list, and who waits for one or was told why there is none."""
    table = _ids(_table("plan, and why then", "made, state", "moves", "saves\nDKK"))
    for one in plans:
        by = f" by {escape(one.decided_by)}" if one.decided_by else ""
        table.add_row(
            f"{one.plan_id}\n{escape(one.trigger_reason)}",
            f"{_minute(one.created_at)}\n{one.state}{by}{_unplaced(one.status)}"
            f"{_backtest(one.backtest_ratio)}",
            str(one.moves) + (f"\n+ {one.new_homes} new" if one.new_homes else ""),
            f"{one.saves_dkk:,.0f}",
        )
    if plans:
        console.print(table)
    else:
        console.print("no plan yet; `fleetpulse plan MUNICIPALITY --wait` asks for one")
    if not requests:
        return
    table = _ids(_table("request without a plan, and why", "asked, by"))
    for asked in requests:
        answer = asked.outcome or "no answer yet: waits for the planner"
        table.add_row(
            f"{asked.request_id}\n{escape(answer)}",
            f"{_minute(asked.requested_at)}\n{escape(asked.requested_by)}",
        )
    console.print(table)


def show_plan(kept: KeptPlan, console: Console) -> None:
    """Print a plan: what it saves, what is proven, why each move and lending, and the back-test."""
    for line in _lines(kept):
        console.print(line, highlight=False)


def promise(plan: PlacementPlan) -> str:
    """Return how many moves and lendings a plan has, and what it is to save."""
    saved_dkk = plan.cost_before_dkk - plan.objective_dkk
    lent = f" and {counted(len(plan.lendings), 'lending')}" if plan.lendings else ""
    moving = (
        "" if plan.relocation_dkk is None else f", {plan.relocation_dkk:,.0f} DKK for moving paid"
    )
    lent_dkk = sum(one.saves_dkk for one in plan.lendings)
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
    yield f"[bold]policy[/] {_policy(plan.policy)}"
    yield f"[bold]in words[/] {escape(plan.explanation)}"
    yield f"[bold]back-test[/] {escape(plan.backtest_explanation)}"
    for move in plan.moves:
        came = local_part(move.from_depot_id) if move.from_depot_id else "no home"
        what = "move" if move.from_depot_id else "new home"
        yield (
            f"[bold]{what}[/] {escape(local_part(move.vehicle_id))}: {escape(came)} → "
            f"{escape(local_part(move.to_depot_id))}: {escape(move.reason)}"
        )
    for one in plan.lendings:
        yield (
            f"[bold]lending[/] {escape(local_part(one.borrower_depot_id))} fetches "
            f"{counted(one.vehicles, one.vehicle_class.value)} of "
            f"{escape(local_part(one.lender_depot_id))}: {escape(one.reason)}"
        )


def _state(kept: KeptPlan) -> str:
    said = str(kept.state)
    if kept.decided_at is not None:
        said += f", decided by {kept.decided_by} at {_minute(kept.decided_at)}"
    if kept.accepted_at is not None and kept.accepted_at != kept.decided_at:
        said += f"; accepted by {kept.accepted_by} at {_minute(kept.accepted_at)}"
    return said


def _policy(one: PlacementPolicy | None) -> str:
    if one is None:
        return "not known: the plan is from before that was kept"
    share, way_min = one.served_share, one.lending_within_min
    served = "what pays" if share is None else f"at least {share:.1%} of each class's round trips"
    lent = f"lending within {way_min:g} min {one.fetching.value.replace('-', ' ')}"
    forecast = "demand forecast where that beats last week" if one.forecast else "demand as it was"
    return f"serving {served}, {lent if way_min else 'no lending'}, {forecast}"


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
        return f"{plan.status.value}: nothing is placed, every vehicle is left where it stands"
    costs = (
        f"{plan.status.value}: it costs {plan.objective_dkk:,.0f} DKK against "
        f"{plan.cost_before_dkk:,.0f} DKK as it stands"
    )
    return f"{costs}; nothing costs less than {plan.bound_dkk:,.0f} DKK, a gap of {plan.gap:.1%}"


def show_outcomes(rows: Sequence[tuple[Any, ...]], console: Console) -> None:
    """Print what became of plans week by week: a table each, and the weeks in words."""
    of_plans: dict[UUID, list[tuple[Any, ...]]] = {}
    for row in rows:
        of_plans.setdefault(row[0], []).append(row)
    for plan_id, weeks in of_plans.items():
        table = _table("week", "promised\nDKK", "realised\nDKK", "demand\nchanged")
        for name in ("not\ncarried out", "model\nwrong"):
            table.add_column(name)
        said: list[str] = []
        for _, week, *amounts, explanation in weeks:
            table.add_row(str(week), *map(str, amounts))
            said.append(f"[bold]{week}[/] {escape(explanation)}")
        console.print(f"[bold]plan {plan_id}[/]", highlight=False)
        console.print(table)
        for line in said:
            console.print(line, highlight=False)
    if not rows:
        console.print("no week of an accepted plan is reckoned yet")


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
