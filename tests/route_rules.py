"""What a plan of routes must keep, checked from its inputs alone, and the best plan by trying all.

Written apart from the optimizer, in instants and by trying, so that it errs differently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise, permutations, product

from schemas.plans.routes import RouteInputs, RoutesPlan, RouteVehicle, VehicleRoute, Visit
from schemas.plans.travel import Place, Travel

SLACK = timedelta(milliseconds=1)


class Roads:
    """Ways between visits and depots by their ids."""

    def __init__(self, inputs: RouteInputs, travel: Travel) -> None:
        ids = [visit.visit_id for visit in inputs.visits] + [
            depot.depot_id for depot in inputs.depots
        ]
        places = [Place(visit.lat, visit.lon) for visit in inputs.visits]
        places += [Place(depot.lat, depot.lon) for depot in inputs.depots]
        self._at = {name: number for number, name in enumerate(ids)}
        self._matrices = {
            vehicle_type: travel.matrix(places, vehicle_type)
            for vehicle_type in {each.vehicle_type for each in inputs.vehicles}
        }

    def metres(self, vehicle: RouteVehicle, name: str, other: str) -> float:
        """Return how far it is."""
        rows = self._matrices[vehicle.vehicle_type].distance_m
        return rows[self._at[name]][self._at[other]]

    def time(self, vehicle: RouteVehicle, name: str, other: str) -> timedelta:
        """Return how long it takes."""
        rows = self._matrices[vehicle.vehicle_type].duration_s
        seconds = rows[self._at[name]][self._at[other]]
        return timedelta(seconds=min(seconds, 1e8))


def cost_dkk(roads: Roads, vehicle: RouteVehicle, visit_ids: Sequence[str]) -> float:
    """Return what a vehicle's route costs."""
    if not visit_ids:
        return 0.0
    stops = [vehicle.start_depot_id, *visit_ids, vehicle.end_depot_id]
    metres = sum(roads.metres(vehicle, name, other) for name, other in pairwise(stops))
    return vehicle.fixed_dkk + metres / 1000 * vehicle.dkk_per_km


def broken_rules(inputs: RouteInputs, travel: Travel, plan: RoutesPlan) -> list[str]:
    """Return each rule that a plan breaks, in words."""
    roads = Roads(inputs, travel)
    visits = {visit.visit_id: visit for visit in inputs.visits}
    vehicles = {vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles}
    broken: list[str] = []
    made = [stop.visit_id for route in plan.routes for stop in route.stops]
    left = [unserved_visit.visit_id for unserved_visit in plan.unserved]
    if sorted(made + left) != sorted(visits):
        broken.append("not every visit comes exactly once")
    if len({route.vehicle_id for route in plan.routes}) != len(plan.routes):
        broken.append("a vehicle has two routes")
    objective = sum(visits[name].unserved_dkk for name in left)
    for route in plan.routes:
        vehicle = vehicles[route.vehicle_id]
        entries = [stop.visit_id for stop in route.stops]
        broken += _broken_on(roads, vehicle, [visits[name] for name in entries], route)
        price = cost_dkk(roads, vehicle, entries)
        if not math.isclose(price, route.cost_dkk, rel_tol=1e-9, abs_tol=1e-6):
            broken.append(f"{route.vehicle_id} costs {price}, not {route.cost_dkk}")
        objective += price
    if not math.isclose(objective, plan.objective_dkk, rel_tol=1e-9, abs_tol=1e-6):
        broken.append(f"the objective is {objective}, not {plan.objective_dkk}")
    if plan.bound_dkk > plan.objective_dkk:
        broken.append("the bound is above the objective")
    return broken


def _broken_on(
    roads: Roads, vehicle: RouteVehicle, visits: Sequence[Visit], route: VehicleRoute
) -> list[str]:
    broken = [] if visits else ["an empty route"]
    if sum(visit.demand for visit in visits) > vehicle.capacity + 1e-9:
        broken.append("too heavy")
    broken += [
        f"{visit.visit_id} needs {visit.competences}"
        for visit in visits
        if not set(visit.competences) <= set(vehicle.competences)
    ]
    at, now = vehicle.start_depot_id, route.departs_at
    if now < vehicle.shift_from - SLACK:
        broken.append("leaves before its shift")
    for visit, stop in zip(visits, route.stops, strict=True):
        arrives = now + roads.time(vehicle, at, visit.visit_id)
        begins = max(arrives, visit.earliest_at)
        if begins > visit.latest_at + SLACK:
            broken.append(f"{visit.visit_id} begins late")
        now = begins + timedelta(seconds=visit.service_s)
        if (
            max(
                abs(stop.arrives_at - arrives),
                abs(stop.begins_at - begins),
                abs(stop.departs_at - now),
            )
            > SLACK
        ):
            broken.append(f"{visit.visit_id} has other times than told")
        at = visit.visit_id
    back = now + roads.time(vehicle, at, vehicle.end_depot_id)
    if abs(back - route.returns_at) > SLACK or back > vehicle.shift_to + SLACK:
        broken.append("returns at another time than told, or after its shift")
    out = back - route.departs_at
    longest_s = vehicle.max_duration_s
    if longest_s is not None and out > timedelta(seconds=longest_s) + SLACK:
        broken.append("out for too long")
    parts_s = route.driving_s + route.service_s + route.waiting_s
    if abs(parts_s - out.total_seconds()) > 1e-2 or abs(route.duration_s - parts_s) > 1e-2:
        broken.append("driving, service and waiting are not the whole")
    return broken


def least_cost_dkk(inputs: RouteInputs, travel: Travel) -> float:
    """Return the cost of the best plan by trying every one. For a handful of visits."""
    roads = Roads(inputs, travel)

    @cache
    def best(number: int, mine: tuple[Visit, ...]) -> float:
        vehicle = inputs.vehicles[number]
        if sum(visit.demand for visit in mine) > vehicle.capacity + 1e-9:
            return math.inf
        if any(not set(visit.competences) <= set(vehicle.competences) for visit in mine):
            return math.inf
        return min(
            (
                cost_dkk(roads, vehicle, [visit.visit_id for visit in order])
                for order in permutations(mine)
                if _can_drive(roads, vehicle, order)
            ),
            default=math.inf,
        )

    choices = range(len(inputs.vehicles) + 1)
    cheapest = math.inf
    for given in product(choices, repeat=len(inputs.visits)):
        cost = 0.0
        for number in choices:
            mine = tuple(
                visit for visit, to in zip(inputs.visits, given, strict=True) if to == number
            )
            if number == len(inputs.vehicles):
                cost += sum(visit.unserved_dkk for visit in mine)
            elif mine:
                cost += best(number, mine)
        cheapest = min(cheapest, cost)
    return cheapest


def _can_drive(roads: Roads, vehicle: RouteVehicle, order: Sequence[Visit]) -> bool:
    """Try to leave at the shift's start, and so that a visit begins at its first or last instant.

    Who leaves later is away for less, until one visit would begin too late.
    """
    leaves = [vehicle.shift_from]
    away, at = timedelta(0), vehicle.start_depot_id
    for visit in order:
        away += roads.time(vehicle, at, visit.visit_id)
        leaves += [visit.earliest_at - away, visit.latest_at - away]
        away += timedelta(seconds=visit.service_s)
        at = visit.visit_id
    return any(
        start >= vehicle.shift_from and _returns(roads, vehicle, order, start) for start in leaves
    )


def _returns(roads: Roads, vehicle: RouteVehicle, order: Sequence[Visit], start: datetime) -> bool:
    now, at = start, vehicle.start_depot_id
    for visit in order:
        now = max(now + roads.time(vehicle, at, visit.visit_id), visit.earliest_at)
        if now > visit.latest_at:
            return False
        now += timedelta(seconds=visit.service_s)
        at = visit.visit_id
    now += roads.time(vehicle, at, vehicle.end_depot_id)
    longest_s = vehicle.max_duration_s
    return now <= vehicle.shift_to and (
        longest_s is None or now - start <= timedelta(seconds=longest_s)
    )
