"""Our assignment of 100,000 round trips to 2,000 vehicles beside first come, first served.

First come, first served is what a key cabinet does: each round trip takes the free vehicle of its
depot and class with the fewest seats that are enough, the cheapest to use among those, if there is
one. Its gap is measured against our bound.
"""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Final

from bench.round_trips import fleet, unlike_fleet
from optimizer.assignment.solve import assign
from optimizer.costs import ORE_PER_DKK, unserved_ore
from optimizer.search import Search
from schemas.fleet.costs import Costs
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.assignment import AssignableVehicle, AssignmentInputs

COSTS = Costs()

ROUND_TRIPS: Final = 100_000
VEHICLES: Final = 2_000
DEPOTS: Final = 20
SEARCH: Final = Search(seed=1, time_limit_s=20)
PAGE_SIZE: Final = Search(seed=1, time_limit_s=1e-6)

_LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)


def first_come_dkk(inputs: AssignmentInputs) -> float:
    """Return what first come, first served costs; locks are kept."""
    fleet_of: defaultdict[tuple[str, VehicleType], list[AssignableVehicle]] = defaultdict(list)
    for vehicle in sorted(inputs.vehicles, key=lambda vehicle: (vehicle.seats, vehicle.cost_dkk)):
        fleet_of[vehicle.depot_id, vehicle.vehicle_class].append(vehicle)
    locks = {lock.round_trip_id: lock.vehicle_id for lock in inputs.locks}
    by_id = {vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles}
    held: defaultdict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    changeover = timedelta(seconds=inputs.changeover_s)
    for vehicle in inputs.vehicles:
        held[vehicle.vehicle_id] = [
            (unavailable.started_at, unavailable.ended_at) for unavailable in vehicle.unavailable
        ]
    used = set(locks.values())
    cost_dkk = 0.0
    for trip in inputs.round_trips:
        if trip.round_trip_id in locks:
            vehicle = by_id[locks[trip.round_trip_id]]
            held[vehicle.vehicle_id].append(
                (trip.started_at - changeover, trip.ended_at + changeover)
            )
            cost_dkk += trip.distance_m / 1000 * vehicle.cost_dkk_per_km
    free_at: defaultdict[str, datetime] = defaultdict(lambda: _LONG_AGO)
    for trip in inputs.round_trips:
        if trip.round_trip_id in locks:
            continue
        for vehicle in fleet_of[trip.depot_id, trip.vehicle_class]:
            if (
                vehicle.seats >= trip.seats
                and free_at[vehicle.vehicle_id] <= trip.started_at
                and not any(
                    start < trip.ended_at and trip.started_at < end
                    for start, end in held[vehicle.vehicle_id]
                )
            ):
                free_at[vehicle.vehicle_id] = trip.ended_at + changeover
                used.add(vehicle.vehicle_id)
                cost_dkk += trip.distance_m / 1000 * vehicle.cost_dkk_per_km
                break
        else:
            cost_dkk += unserved_ore(trip.distance_m, COSTS) / ORE_PER_DKK
    return cost_dkk + sum(by_id[name].cost_dkk for name in used)


def assignment_figures() -> dict[str, float]:
    """Return gap and time of ours, and the gap of first come, first served.

    Besides, of as many round trips and vehicles: the gap where every depot has three unlike kinds
    of car, and how long the first answer takes where one depot has all of them.
    """
    inputs = fleet(1, ROUND_TRIPS, VEHICLES, DEPOTS)
    began = time.perf_counter()
    plan = assign(inputs, SEARCH)
    took_s = time.perf_counter() - began
    greedy_dkk = first_come_dkk(inputs)
    unlike = assign(unlike_fleet(1, ROUND_TRIPS, VEHICLES, DEPOTS), SEARCH)
    return {
        "assignment_gap": plan.gap,
        "assignment_s": took_s,
        "first_come_assignment_gap": (greedy_dkk - plan.bound_dkk) / greedy_dkk,
        "assignment_unlike_gap": unlike.gap,
        "assignment_one_depot_first_answer_s": _first_answer_s(),
    }


def _first_answer_s() -> float:
    """Return how long it takes to the first answer where one depot has all vehicles."""
    inputs = fleet(1, ROUND_TRIPS, VEHICLES, 1)
    answered: list[float] = []
    began = time.perf_counter()
    assign(inputs, PAGE_SIZE, lambda _, __: answered.append(time.perf_counter()))
    return answered[0] - began
