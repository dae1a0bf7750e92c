"""An assignment keeps all rules, costs what it says, and its bound is below the best of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.assignment.solve import assign
from optimizer.search import Search
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.assignment import (
    AssignableVehicle,
    AssignmentInputs,
    Unavailable,
    VehicleLock,
    WantedRoundTrip,
)
from schemas.plans.plan import SolverStatus
from tests.property.examples import examples

MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
CHANGEOVER = timedelta(minutes=5)
SEARCH = Search(seed=1, time_limit_s=20)


def at(quarters: int) -> datetime:
    return MONDAY + timedelta(minutes=15 * quarters)


@st.composite
def instances(draw: st.DrawFn, *, alike: bool = False) -> AssignmentInputs:
    """Draw up to three vehicles and six round trips; alike: one kind that is always there."""
    depots = ["m/a"] if alike else ["m/a", "m/b"]
    vehicles = []
    for number in range(draw(st.integers(0, 3))):
        away: list[Unavailable] = []
        if not alike:
            for _ in range(draw(st.integers(0, 2))):
                since = draw(st.integers(-2, 24))
                until = since + draw(st.integers(1, 12))
                away.append(Unavailable(started_at=at(since), ended_at=at(until)))
        vehicles.append(
            AssignableVehicle(
                vehicle_id=f"m/{number}",
                depot_id=draw(st.sampled_from(depots)),
                vehicle_class=VehicleType.CAR if alike else draw(st.sampled_from(["car", "van"])),
                seats=5 if alike else draw(st.sampled_from([2, 5])),
                cost_dkk=draw(st.sampled_from([0.0, 40.0, 130.0])),
                cost_dkk_per_km=1.0 if alike else draw(st.sampled_from([0.5, 1.0, 5.0])),
                unavailable=tuple(away),
            )
        )
    trips = []
    for number in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, 20))
        trips.append(
            WantedRoundTrip(
                round_trip_id=f"t{number}",
                depot_id=draw(st.sampled_from(depots)),
                started_at=at(start),
                ended_at=at(start + draw(st.integers(1, 9))),
                distance_m=draw(st.sampled_from([4_000.0, 15_000.0, 40_000.0])),
                vehicle_class=VehicleType.CAR if alike else draw(st.sampled_from(["car", "van"])),
                seats=draw(st.sampled_from([1, 4])),
            )
        )
    locks = []
    if vehicles and not alike and draw(st.booleans()):
        trip, vehicle = draw(st.sampled_from(trips)), draw(st.sampled_from(vehicles))
        locks.append(VehicleLock(round_trip_id=trip.round_trip_id, vehicle_id=vehicle.vehicle_id))
    return AssignmentInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        vehicles=tuple(vehicles),
        round_trips=tuple(trips),
        locks=tuple(locks),
    )


def fits(trip: WantedRoundTrip, vehicle: AssignableVehicle) -> bool:
    """Say the rules of one round trip and vehicle once more.

    A vehicle is back for a changeover at least after it was last not to be had.
    """
    return (
        (trip.depot_id, trip.vehicle_class) == (vehicle.depot_id, vehicle.vehicle_class)
        and trip.seats <= vehicle.seats
        and not any(
            trip.started_at < max(away.ended_at, away.started_at + CHANGEOVER)
            and away.started_at < trip.ended_at
            for away in vehicle.unavailable
        )
    )


def follow(trips: list[WantedRoundTrip]) -> bool:
    """Say whether no two overlap, changeovers included."""
    return all(
        wanted_round_trip.ended_at + CHANGEOVER <= other.started_at
        or other.ended_at + CHANGEOVER <= wanted_round_trip.started_at
        for wanted_round_trip, other in combinations(trips, 2)
    )


def cost_dkk(inputs: AssignmentInputs, assignment: Mapping[str, str]) -> float:
    vehicles = {vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles}
    cost = sum(vehicles[name].cost_dkk for name in set(assignment.values()))
    for trip in inputs.round_trips:
        km = trip.distance_m / 1000
        if trip.round_trip_id in assignment:
            cost += km * vehicles[assignment[trip.round_trip_id]].cost_dkk_per_km
        else:
            cost += max(50.0, km * 3.70)
    return cost


def all_assignments(inputs: AssignmentInputs) -> Iterator[dict[str, str]]:
    """Yield every assignment that keeps the rules and the locks."""
    trips, locks = (
        inputs.round_trips,
        {lock.round_trip_id: lock.vehicle_id for lock in inputs.locks},
    )

    def extend(number: int, held: dict[str, list[WantedRoundTrip]]) -> Iterator[dict[str, str]]:
        if number == len(trips):
            yield {
                wanted_round_trip.round_trip_id: vehicle_id
                for vehicle_id, of_one in held.items()
                for wanted_round_trip in of_one
            }
            return
        trip = trips[number]
        if trip.round_trip_id not in locks:
            yield from extend(number + 1, held)
        for vehicle in inputs.vehicles:
            if locks.get(trip.round_trip_id, vehicle.vehicle_id) != vehicle.vehicle_id:
                continue
            before = held.get(vehicle.vehicle_id, [])
            if fits(trip, vehicle) and follow([*before, trip]):
                yield from extend(number + 1, {**held, vehicle.vehicle_id: [*before, trip]})

    yield from extend(0, {})


def assert_keeps_the_rules(inputs: AssignmentInputs, assignment: Mapping[str, str]) -> None:
    vehicles = {vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles}
    held: dict[str, list[WantedRoundTrip]] = {}
    for trip in inputs.round_trips:
        if trip.round_trip_id in assignment:
            vehicle = vehicles[assignment[trip.round_trip_id]]
            assert fits(trip, vehicle)
            held.setdefault(vehicle.vehicle_id, []).append(trip)
    assert all(follow(of_one) for of_one in held.values())
    for lock in inputs.locks:
        assert assignment[lock.round_trip_id] == lock.vehicle_id


@given(instances())
@settings(max_examples=examples(200), deadline=None)
def test_it_keeps_the_rules_and_its_bound_is_below_the_best_of_all(
    inputs: AssignmentInputs,
) -> None:
    costs = [cost_dkk(inputs, assignment) for assignment in all_assignments(inputs)]
    plan = assign(inputs, SEARCH)
    if not costs:
        assert plan.status is SolverStatus.INFEASIBLE
        assert "is locked to" in plan.explanation
        return
    best = min(costs)
    assert_keeps_the_rules(inputs, plan.assignment)
    assert plan.objective_dkk == cost_dkk(inputs, plan.assignment) or (
        abs(plan.objective_dkk - cost_dkk(inputs, plan.assignment)) < 1e-6
    )
    assert plan.bound_dkk <= best + 1e-6
    assert best <= plan.objective_dkk + 1e-6
    if plan.status is SolverStatus.OPTIMAL:
        assert abs(plan.objective_dkk - best) < 1e-6
    served = {
        *plan.assignment,
        *(unserved_round_trip.round_trip_id for unserved_round_trip in plan.unserved),
    }
    assert served == {round_trip.round_trip_id for round_trip in inputs.round_trips}


@given(instances(alike=True))
@settings(max_examples=examples(200), deadline=None)
def test_vehicles_alike_that_are_always_there_are_assigned_to_proven_optimality(
    inputs: AssignmentInputs,
) -> None:
    best = min(cost_dkk(inputs, assignment) for assignment in all_assignments(inputs))
    plan = assign(inputs, SEARCH)
    assert plan.status is SolverStatus.OPTIMAL
    assert plan.gap == 0
    assert abs(plan.objective_dkk - best) < 1e-6
    assert_keeps_the_rules(inputs, plan.assignment)
