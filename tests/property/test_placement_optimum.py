"""CP-SAT's optimum is the one that trying every placement finds, with costs simulated afresh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.costs import (
    CHANGEOVER_S,
    MISSING_CHARGER_DKK_PER_DAY,
    ore,
    relocation_ore,
    unserved_ore,
)
from optimizer.inputs import bill, problem_of
from optimizer.placement import solve
from optimizer.search import Search
from schemas.demand import ObservedRoundTrip, PlacementInputs
from schemas.fleet import Depot, EnergySource, Vehicle, VehicleType
from schemas.plan import SolverStatus

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DEPOTS = ("m/a", "m/b", "m/c")
HORIZON_DAYS = 7  # a week is observed: each round trip counts once


@st.composite
def small_instances(draw: st.DrawFn) -> PlacementInputs:
    """Draw up to three depots and five vehicles, each with a few round trips in a week."""
    depot_ids = DEPOTS[: draw(st.integers(1, 3))]
    depots = [
        Depot(
            depot_id=depot_id,
            municipality_id="m",
            name=depot_id,
            lat=56.0 + 0.05 * number,
            lon=10.0,
            capacity=draw(st.integers(0, 4)),
            charger_count=draw(st.integers(0, 2)),
        )
        for number, depot_id in enumerate(depot_ids)
    ]
    vehicles = [
        Vehicle(
            vehicle_id=f"m/{number}",
            municipality_id="m",
            name=str(number),
            vehicle_type=draw(st.sampled_from(["car", "van", "bike"])),
            energy_source=draw(st.sampled_from(["petrol", "electricity"])),
            consumption_per_km=draw(st.sampled_from([0.05, 0.2])),
            home_depot_id=draw(st.sampled_from([*depot_ids, None])),
        )
        for number in range(draw(st.integers(1, 5)))
    ]
    round_trips: list[ObservedRoundTrip] = []
    for vehicle in vehicles:
        hour = 0
        for _ in range(draw(st.integers(0, 4))):
            hour += draw(st.integers(1, 5))
            lasts_h = draw(st.integers(1, 6))
            depot_id = draw(st.sampled_from(depot_ids))
            round_trips.append(
                ObservedRoundTrip(
                    vehicle_id=vehicle.vehicle_id,
                    started_at=MONDAY + timedelta(hours=hour),
                    ended_at=MONDAY + timedelta(hours=hour + lasts_h),
                    start_depot_id=depot_id,
                    end_depot_id=depot_id,
                    distance_m=draw(st.integers(1, 400)) * 1000.0,
                )
            )
            hour += lasts_h
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=HORIZON_DAYS,
        round_trip_max_s=36_000,
        depots=tuple(depots),
        vehicles=tuple(vehicles),
        round_trips=tuple(round_trips),
    )


def turned_away(round_trips: list[ObservedRoundTrip], vehicles: int) -> list[ObservedRoundTrip]:
    """Simulate first come, first served: who finds all of a depot's vehicles out or just back."""
    away: list[datetime] = []
    lost: list[ObservedRoundTrip] = []
    for one in sorted(
        round_trips, key=lambda trip: (trip.started_at, -trip.distance_m, trip.ended_at)
    ):
        away = [until for until in away if until > one.started_at]
        if len(away) < vehicles:
            away.append(one.ended_at + timedelta(seconds=CHANGEOVER_S))
        else:
            lost.append(one)
    return lost


def simulated_ore(inputs: PlacementInputs, placement: Mapping[str, str]) -> int | None:
    """Return what a placement costs; None where places are missing."""
    kind = {one.vehicle_id: one.vehicle_type for one in inputs.vehicles}
    left = Counter((one.vehicle_id, one.start_depot_id) for one in inputs.round_trips)
    depots = {one.depot_id: one for one in inputs.depots}
    cost = 0
    for depot_id, depot in depots.items():
        here = [one for one in inputs.vehicles if placement[one.vehicle_id] == depot_id]
        motor = [one for one in here if one.vehicle_type is not VehicleType.BIKE]
        if len(motor) > depot.capacity:
            return None
        electric = [one for one in motor if one.energy_source is EnergySource.ELECTRICITY]
        missing = max(0, len(electric) - depot.charger_count)
        cost += missing * ore(MISSING_CHARGER_DKK_PER_DAY * HORIZON_DAYS)
        for vehicle_class in set(kind.values()):
            wanted = [
                one
                for one in inputs.round_trips
                if one.start_depot_id == depot_id and kind[one.vehicle_id] is vehicle_class
            ]
            count = sum(1 for one in here if one.vehicle_type is vehicle_class)
            cost += sum(unserved_ore(one.distance_m) for one in turned_away(wanted, count))
    for vehicle in inputs.vehicles:
        most = max(depots, key=lambda one: (left[vehicle.vehicle_id, one], [-ord(c) for c in one]))
        origin = vehicle.home_depot_id or (most if left[vehicle.vehicle_id, most] else None)
        if origin is not None:
            cost += relocation_ore(vehicle, depots[origin], depots[placement[vehicle.vehicle_id]])
    return cost


@given(small_instances())
@settings(max_examples=150, deadline=None)
def test_the_optimum_is_the_cheapest_of_all_placements(inputs: PlacementInputs) -> None:
    ids = [vehicle.vehicle_id for vehicle in inputs.vehicles]
    costs = [
        cost
        for chosen in product([depot.depot_id for depot in inputs.depots], repeat=len(ids))
        if (cost := simulated_ore(inputs, dict(zip(ids, chosen, strict=True)))) is not None
    ]
    problem = problem_of(inputs)
    found = solve(problem, Search(seed=1, time_limit_s=10))
    if not costs:
        assert found.status is SolverStatus.INFEASIBLE
        return
    assert found.status is SolverStatus.OPTIMAL
    assert found.objective_ore == min(costs)
    assert found.gap == 0
    assert simulated_ore(inputs, found.placement) == found.objective_ore
    assert bill(problem, found.placement).total_ore == found.objective_ore
