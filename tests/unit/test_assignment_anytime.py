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
    told: list[tuple[float, str]] = []
    search = Search(seed=1, time_limit_s=limit_s)
    found = assign(inputs, search, lambda share, at: told.append((share, at)))
    done = [share for share, _ in told]
    assert done == sorted(done)
    assert done[-1] == 1
    return found, [float(at.split()[0].replace(",", "")) for _, at in told]


def assert_keeps_the_rules(inputs: AssignmentInputs, found: AssignmentPlan) -> None:
    """Check seats, class, depot, times, locks and the cost of a plan by itself."""
    vehicles = {one.vehicle_id: one for one in inputs.vehicles}
    held: defaultdict[str, list[WantedRoundTrip]] = defaultdict(list)
    cost = 0.0
    for trip in inputs.round_trips:
        if trip.round_trip_id not in found.assignment:
            cost += unserved_ore(trip.distance_m, COSTS) / ORE_PER_DKK
            continue
        vehicle = vehicles[found.assignment[trip.round_trip_id]]
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
    assert all(found.assignment[one.round_trip_id] == one.vehicle_id for one in inputs.locks)
    assert found.objective_dkk == pytest.approx(cost, abs=0.01 * len(vehicles))
    assert len(found.assignment) + len(found.unserved) == len(inputs.round_trips)


def test_one_depot_with_all_vehicles_answers_within_a_tiny_effort() -> None:
    found, costs = plan(ONE_DEPOT, 1e-6)
    assert_keeps_the_rules(ONE_DEPOT, found)
    # The first answer is the answer: nothing was searched.
    assert set(costs) == {found.objective_dkk}
    nothing = (
        sum(unserved_ore(one.distance_m, COSTS) for one in ONE_DEPOT.round_trips) / ORE_PER_DKK
    )
    assert found.bound_dkk < found.objective_dkk < nothing
    assert len(found.assignment) > len(found.unserved)


def test_one_depot_gets_better_with_effort_and_tells_so() -> None:
    at_once, _ = plan(ONE_DEPOT, 1e-6)
    found, costs = plan(ONE_DEPOT, 5)
    assert_keeps_the_rules(ONE_DEPOT, found)
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(at_once.objective_dkk)
    assert costs[-1] == pytest.approx(found.objective_dkk)
    assert found.objective_dkk < at_once.objective_dkk
    assert at_once.bound_dkk <= found.bound_dkk <= found.objective_dkk
    assert found.gap < 0.01


def test_three_unlike_kinds_at_every_depot_leave_less_than_a_percent_unproven() -> None:
    inputs = unlike_fleet(1, 2_500, 50, 1)
    found, _ = plan(inputs, 3)
    assert_keeps_the_rules(inputs, found)
    assert found.gap < 0.01
    again, _ = plan(inputs, 3)
    assert again == found
