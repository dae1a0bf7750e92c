"""What became of a plan is what a simulation of the week finds, part by part."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optimizer.costs import (
    driving_ore_per_km,
    ore,
    unserved_ore,
)
from optimizer.followup import follow_up, promise_of
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import EnergySource, Home, VehicleType
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.outcome import WEEK_DAYS
from schemas.plans.plan import PlanTrigger
from tests.property.test_placement_optimum import MONDAY, driving_ore, small_instances, turned_away

COSTS = Costs()

OCCASION = PlanMetadata(uuid.UUID(int=1), PlanTrigger.SCHEDULE, "test", MONDAY)


def week_ore(
    inputs: PlacementInputs, placement: Mapping[str, str], *, with_unserved: bool = True
) -> int:
    """Return what a placement costs in the week, moving left out, simulated depot by depot."""
    cost = 0
    for depot in inputs.depots:
        here = [
            vehicle
            for vehicle in inputs.vehicles
            if placement.get(vehicle.vehicle_id) == depot.depot_id
        ]
        electric = [
            vehicle
            for vehicle in here
            if vehicle.energy_source is EnergySource.ELECTRICITY
            and vehicle.vehicle_type is not VehicleType.BIKE
        ]
        missing = max(0, len(electric) - depot.charger_count)
        cost += missing * ore(COSTS.missing_charger_dkk_per_day * WEEK_DAYS)
        for kind in {vehicle.vehicle_type for vehicle in inputs.vehicles}:
            ids = {
                vehicle.vehicle_id for vehicle in inputs.vehicles if vehicle.vehicle_type is kind
            }
            wanted = [
                round_trip
                for round_trip in inputs.round_trips
                if round_trip.start_depot_id == depot.depot_id and round_trip.vehicle_id in ids
            ]
            prices = sorted(
                driving_ore_per_km(vehicle, COSTS)
                for vehicle in here
                if vehicle.vehicle_type is kind
            )
            cost += driving_ore(wanted, prices)
            if with_unserved:
                lost = turned_away(wanted, len(prices))
                cost += sum(
                    unserved_ore(observed_round_trip.distance_m, COSTS)
                    for observed_round_trip in lost
                )
    return cost


def place_of(
    inputs: PlacementInputs, observed_round_trip: ObservedRoundTrip
) -> tuple[str, VehicleType]:
    """Return the depot that a round trip left, and the class that it took."""
    kinds = {vehicle.vehicle_id: vehicle.vehicle_type for vehicle in inputs.vehicles}
    return observed_round_trip.start_depot_id, kinds[observed_round_trip.vehicle_id]


def counts(
    inputs: PlacementInputs, placement: Mapping[str, str]
) -> Counter[tuple[str, VehicleType]]:
    """Return how many of a class a placement has at a depot."""
    return Counter(
        (placement[vehicle.vehicle_id], vehicle.vehicle_type) for vehicle in inputs.vehicles
    )


@given(small_instances(), st.data())
@settings(max_examples=150, deadline=None)
def test_each_part_is_what_a_simulation_finds(inputs: PlacementInputs, data: st.DataObject) -> None:
    assume(inputs.round_trips)
    plan = make_plan(inputs, Search(1, 10), OCCASION)
    depot_ids = [depot.depot_id for depot in inputs.depots]
    real = {
        vehicle.vehicle_id: data.draw(st.sampled_from(depot_ids), label=vehicle.vehicle_id)
        for vehicle in inputs.vehicles
    }
    assert plan.stood_at is not None
    if data.draw(st.booleans(), label="nothing carried out"):
        real |= plan.stood_at
    kept = data.draw(st.lists(st.sampled_from(inputs.round_trips), unique=True))
    week = inputs.model_copy(
        update={
            "round_trips": tuple(
                round_trip for round_trip in inputs.round_trips if round_trip in kept
            )
        }
    )
    homes = {vehicle_id: [Home(depot_id, None, None)] for vehicle_id, depot_id in real.items()}
    plan_outcome = follow_up(plan, MONDAY.date(), week, homes)
    nothing_moved_ore = week_ore(week, real | plan.stood_at)
    planned_ore, real_ore = week_ore(week, real | plan.placement), week_ore(week, real)
    others = [
        round_trip
        for round_trip in week.round_trips
        if round_trip.start_depot_id != real[round_trip.vehicle_id]
    ]
    # What is observed says something of the plan only where it is not as it was.
    then, now = counts(week, real | plan.stood_at), counts(week, real)
    changed = {place for place in then | now if then[place] != now[place]}
    there = [round_trip for round_trip in week.round_trips if place_of(week, round_trip) in changed]
    observed_ore = sum(
        unserved_ore(observed_round_trip.distance_m, COSTS)
        for observed_round_trip in there
        if observed_round_trip in others
    )
    wanted = week.model_copy(update={"round_trips": tuple(there)})
    served_ore = week_ore(wanted, real, with_unserved=False)
    wrong_ore = observed_ore - (week_ore(wanted, real) - served_ore)
    assert plan_outcome.realised_ore == nothing_moved_ore - real_ore - wrong_ore
    assert plan_outcome.demand_changed_ore == promise_of(plan).saving_ore - (
        nothing_moved_ore - planned_ore
    )
    assert plan_outcome.not_carried_out_ore == real_ore - planned_ore
    assert plan_outcome.model_wrong_ore == wrong_ore
    if real == real | plan.stood_at:
        assert plan_outcome.realised_ore == 0
    assert plan_outcome.unserved_realised == len(others)
    assert plan_outcome.moves_carried_out == sum(
        1 for move in plan.moves if real[move.vehicle_id] == move.to_depot_id
    )
