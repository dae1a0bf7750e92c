"""An answer comes at once however large a depot is, gets better with effort, and tells so."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import pytest

from bench.round_trips import fleet, unlike_fleet
from optimizer.assignment.solve import assign
from optimizer.costs import ORE_PER_DKK, unserved_ore
from optimizer.search import Search
from schemas.fleet.costs import Costs
from schemas.plans.assignment import (
    AssignmentInputs,
    AssignmentPlan,
    WantedRoundTrip,
)

COSTS = Costs()

ONE_DEPOT = fleet(7, 4_000, 80, 1)


def plan(inputs: AssignmentInputs, limit_s: float) -> tuple[AssignmentPlan, list[float]]:
    """Return the plan, and what the best cost at each report, having checked the shares done."""
    entries: list[tuple[float, str]] = []
    search = Search(seed=1, time_limit_s=limit_s)
    assignment_plan = assign(inputs, search, lambda share, at: entries.append((share, at)))
    done = [share for share, _ in entries]
    assert done == sorted(done)
    assert done[-1] == 1
    return assignment_plan, [float(at.split()[0].replace(",", "")) for _, at in entries]


def assert_keeps_the_rules(inputs: AssignmentInputs, assignment_plan: AssignmentPlan) -> None:
    """Check seats, class, depot, times, locks and the cost of a plan by itself."""
    vehicles = {vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles}
    held: defaultdict[str, list[WantedRoundTrip]] = defaultdict(list)
    cost = 0.0
    for trip in inputs.round_trips:
        if trip.round_trip_id not in assignment_plan.assignment:
            cost += unserved_ore(trip.distance_m, COSTS) / ORE_PER_DKK
            continue
        vehicle = vehicles[assignment_plan.assignment[trip.round_trip_id]]
        held[vehicle.vehicle_id].append(trip)
        cost += round(trip.distance_m / 1000 * vehicle.cost_dkk_per_km * ORE_PER_DKK) / ORE_PER_DKK
        assert vehicle.depot_id == trip.depot_id
        assert vehicle.vehicle_class == trip.vehicle_class
        assert vehicle.seats >= trip.seats
        assert not any(
            away.started_at < trip.ended_at and trip.started_at < away.ended_at
            for away in vehicle.unavailable
        )
    for vehicle_id, trips in held.items():
        cost += vehicles[vehicle_id].cost_dkk
        assert all(
            (later.started_at - earlier.ended_at).total_seconds() >= inputs.changeover_s
            for earlier, later in pairwise(trips)
        )
    assert all(
        assignment_plan.assignment[lock.round_trip_id] == lock.vehicle_id for lock in inputs.locks
    )
    assert assignment_plan.objective_dkk == pytest.approx(cost, abs=0.01 * len(vehicles))
    assert len(assignment_plan.assignment) + len(assignment_plan.unserved) == len(
        inputs.round_trips
    )


def test_one_depot_with_all_vehicles_answers_within_a_tiny_effort() -> None:
    assignment_plan, costs = plan(ONE_DEPOT, 1e-6)
    assert_keeps_the_rules(ONE_DEPOT, assignment_plan)
    # The first answer is the answer: nothing was searched.
    assert set(costs) == {assignment_plan.objective_dkk}
    nothing = (
        sum(unserved_ore(round_trip.distance_m, COSTS) for round_trip in ONE_DEPOT.round_trips)
        / ORE_PER_DKK
    )
    assert assignment_plan.bound_dkk < assignment_plan.objective_dkk < nothing
    assert len(assignment_plan.assignment) > len(assignment_plan.unserved)


def test_one_depot_gets_better_with_effort_and_tells_so() -> None:
    at_once, _ = plan(ONE_DEPOT, 1e-6)
    assignment_plan, costs = plan(ONE_DEPOT, 5)
    assert_keeps_the_rules(ONE_DEPOT, assignment_plan)
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(at_once.objective_dkk)
    assert costs[-1] == pytest.approx(assignment_plan.objective_dkk)
    assert assignment_plan.objective_dkk < at_once.objective_dkk
    assert at_once.bound_dkk <= assignment_plan.bound_dkk <= assignment_plan.objective_dkk
    assert assignment_plan.gap < 0.01


def test_three_unlike_kinds_at_every_depot_leave_less_than_a_percent_unproven() -> None:
    inputs = unlike_fleet(1, 2_500, 50, 1)
    assignment_plan, _ = plan(inputs, 3)
    assert_keeps_the_rules(inputs, assignment_plan)
    assert assignment_plan.gap < 0.01
    again, _ = plan(inputs, 3)
    assert again == assignment_plan
