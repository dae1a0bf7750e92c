"""From inputs to a plan as it is stored and published: solved, priced and explained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from optimizer.backtest.run import back_test
from optimizer.costs import ORE_PER_DKK
from optimizer.demand import profile
from optimizer.drift import fleet_profile
from optimizer.placement.cost_breakdown import placement_cost
from optimizer.placement.explanation import explanation, lendings, moves
from optimizer.placement.problem import inputs_hash, problem_of
from optimizer.placement.solve import solve
from optimizer.search import Search
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import PlacementPlan, PlanTrigger

PLAN_SHARE: Final = 0.7
"""Of the time limit; the rest is the back-test's, whose plan is of fewer weeks."""


@dataclass(frozen=True, slots=True)
class PlanMetadata:
    """Why and when a plan was made, and its id."""

    plan_id: UUID
    trigger: PlanTrigger
    reason: str
    created_at: datetime


def make_plan(inputs: PlacementInputs, search: Search, occasion: PlanMetadata) -> PlacementPlan:
    """Solve, describe and back-test: the plan as it is stored and published.

    Raises `ValueError` when there are no round trips to plan from, and what `solve` raises.
    """
    if not inputs.round_trips:
        raise ValueError(f"no round trips of {inputs.municipality_id}: nothing to plan from")
    search.tell(0.0, f"what {len(inputs.round_trips)} round trips need")
    problem = problem_of(inputs)
    solution = solve(problem, _share(search, PLAN_SHARE))
    search.tell(PLAN_SHARE, f"back-test; the plan is {solution.status}, gap {solution.gap:.2%}")
    tested = back_test(inputs, _share(search, 1 - PLAN_SHARE))
    now = problem.as_it_stands()
    before = placement_cost(problem, now)
    after = placement_cost(problem, solution.placement, solution.lendings)
    return PlacementPlan(
        plan_id=occasion.plan_id,
        municipality_id=inputs.municipality_id,
        trigger=occasion.trigger,
        trigger_reason=occasion.reason,
        created_at=occasion.created_at,
        demand_from=min(round_trip.started_at for round_trip in inputs.round_trips),
        demand_to=max(round_trip.ended_at for round_trip in inputs.round_trips),
        round_trip_count=len(inputs.round_trips),
        inputs_hash=inputs_hash(inputs),
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status=solution.status,
        objective_dkk=solution.objective_ore / ORE_PER_DKK,
        bound_dkk=solution.bound_ore / ORE_PER_DKK,
        gap=solution.gap,
        cost_before_dkk=before.total_ore / ORE_PER_DKK,
        unserved_before=before.unserved_round_trips,
        unserved_after=after.unserved_round_trips,
        horizon_weeks=inputs.horizon_days / 7,
        moves=moves(problem, solution.placement, solution.lendings),
        lendings=lendings(problem, solution.placement, solution.lendings),
        placement=dict(solution.placement),
        vehicle_ids=tuple(problem.vehicles),
        policy=inputs.policy,
        demand_profile=profile(inputs),
        stood_at=dict(now),
        relocation_dkk=after.relocation_ore / ORE_PER_DKK,
        fleet_profile=fleet_profile(inputs),
        explanation=explanation(problem, solution),
        backtest=tested.backtest,
        backtest_explanation=tested.explanation,
    )


def _share(search: Search, share: float) -> Search:
    return replace(search, time_limit_s=search.time_limit_s * share)
