"""Routes in words: why a visit is not made, and what the plan comes to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from optimizer.routes.problem import NO_WAY, TOLERANCE_S, RouteProblem, feasible
from optimizer.routes.set_partitioning import Routes
from schemas.local_time import local_minute
from schemas.plans.routes import RouteInputs, RouteVehicle, Visit


def unserved_reason(inputs: RouteInputs, problem: RouteProblem, routes: Routes, visit: int) -> str:
    """Say why nobody makes a visit: the first rule that leaves no vehicle, with value and limit."""
    asked = inputs.visits[visit]
    if not inputs.vehicles:
        return "There is no vehicle; enter one with its shift."
    able = [index for index in range(problem.vehicles) if problem.allowed[visit, index]]
    if not able:
        return _no_competence(asked, inputs.vehicles)
    roomy = [vehicle for vehicle in able if asked.demand <= problem.capacity[vehicle]]
    if not roomy:
        largest = max(inputs.vehicles[vehicle].capacity for vehicle in able)
        return (
            f"It needs {asked.demand:g} of capacity; the largest vehicle with its competences "
            f"has {largest:g}. Split the visit or enter a larger vehicle."
        )
    alone = [vehicle for vehicle in roomy if feasible(problem, vehicle, (visit,))]
    if not alone:
        return _never_in_time(inputs, problem, visit, roomy)
    return _crowded_out(inputs, problem, routes, visit, alone)


def _no_competence(asked: Visit, vehicles: Sequence[RouteVehicle]) -> str:
    competences = {word for vehicle in vehicles for word in vehicle.competences}
    unknown = [word for word in asked.competences if word not in competences]
    if unknown:
        return (
            f"No vehicle has the competence {', '.join(unknown)}, "
            f"{len(vehicles)} were looked at. Enter it on one, or drop it from the visit."
        )
    return (
        f"No single vehicle has all of {', '.join(asked.competences)}; each is there on some "
        f"of {len(vehicles)}. Split the visit, or enter them together on one vehicle."
    )


def _never_in_time(
    inputs: RouteInputs, problem: RouteProblem, visit: int, vehicles: Sequence[int]
) -> str:
    """Say which of window, shift and longest duration is in the way of even a route of its own."""
    asked = inputs.visits[visit]

    def there_s(vehicle: int) -> float:
        return problem.shift_from_s[vehicle] + _way_s(
            problem, vehicle, problem.start[vehicle], visit
        )

    if all(
        _way_s(problem, vehicle, problem.start[vehicle], visit) >= NO_WAY for vehicle in vehicles
    ):
        return "There is no way to it from any depot; check its position."
    soonest = min(vehicles, key=there_s)
    if there_s(soonest) > problem.latest_s[visit] + TOLERANCE_S:
        return (
            f"Its window closes at {_clock(inputs, asked.latest_at)} before it can be reached "
            f"from any depot: {inputs.vehicles[soonest].vehicle_id} is there first, at "
            f"{_clock(inputs, problem.at(there_s(soonest)))}. Open the window or begin the shift "
            "earlier."
        )

    def back_s(vehicle: int) -> float:
        begins_s = max(there_s(vehicle), problem.earliest_s[visit])
        return (
            begins_s
            + problem.service_s[visit]
            + _way_s(problem, vehicle, visit, problem.end[vehicle])
            - problem.shift_to_s[vehicle]
        )

    timely = [
        vehicle for vehicle in vehicles if there_s(vehicle) <= problem.latest_s[visit] + TOLERANCE_S
    ]
    least = min(timely, key=back_s)
    if back_s(least) > TOLERANCE_S:
        vehicle = inputs.vehicles[least]
        back_at = problem.at(problem.shift_to_s[least] + back_s(least))
        return (
            f"No vehicle is back before its shift ends: {vehicle.vehicle_id} would return at "
            f"{_clock(inputs, back_at)}, its shift ends at {_clock(inputs, vehicle.shift_to)}. "
            "Open the window earlier or lengthen the shift."
        )

    def lasts_s(vehicle: int) -> float:
        way_s = _way_s(problem, vehicle, problem.start[vehicle], visit)
        return (
            way_s + problem.service_s[visit] + _way_s(problem, vehicle, visit, problem.end[vehicle])
        )

    shortest = min(timely, key=lambda vehicle: lasts_s(vehicle) - problem.max_duration_s[vehicle])
    return (
        f"The way there and back and {asked.service_s / 60:.0f} min of service take "
        f"{lasts_s(shortest) / 60:.0f} min on {inputs.vehicles[shortest].vehicle_id}, which may "
        f"be out for {problem.max_duration_s[shortest] / 60:.0f} min. Allow longer routes or "
        "start nearer."
    )


def _crowded_out(
    inputs: RouteInputs,
    problem: RouteProblem,
    routes: Routes,
    visit: int,
    alone: Sequence[int],
) -> str:
    """Say that vehicles could make it, and why it was not worth it or found no gap."""
    asked = inputs.visits[visit]
    busy = [vehicle for vehicle in alone if routes[vehicle]]
    places = sum(
        1
        for vehicle in alone
        for before in range(len(routes[vehicle]) + 1)
        if feasible(problem, vehicle, (*routes[vehicle][:before], visit, *routes[vehicle][before:]))
    )
    if places:
        return (
            f"Making it costs more than its price of {asked.unserved_dkk:,.0f} DKK for an unserved "
            f"visit, at all {places} places where it fits. Raise the price if it must be made."
        )
    names = ", ".join(inputs.vehicles[vehicle].vehicle_id for vehicle in alone[:3])
    more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""  # noqa: PLR2004
    return (
        f"{len(alone)} of {problem.vehicles} vehicles could make it alone ({names}{more}), but "
        f"{len(busy)} of them are full with other visits: it fits between "
        f"{_clock(inputs, asked.earliest_at)} and {_clock(inputs, asked.latest_at)} on none. "
        "Add a vehicle, open the window or lengthen a shift."
    )


def routes_explanation(inputs: RouteInputs, problem: RouteProblem, routes: Routes) -> str:
    """Say what the routes come to."""
    used = sum(1 for visits in routes if visits)
    made = sum(len(visits) for visits in routes)
    km = sum(
        problem.distance_of_m(vehicle, visits) for vehicle, visits in enumerate(routes) if visits
    )
    return (
        f"{made} of {len(inputs.visits)} visits are made by {used} of {len(inputs.vehicles)} "
        f"vehicles over {km / 1000:,.1f} km."
    )


def _way_s(problem: RouteProblem, vehicle: int, column: int, other: int) -> float:
    return float(problem.duration_s[problem.profile[vehicle], column, other])


def _clock(inputs: RouteInputs, at: datetime) -> str:
    return local_minute(at, inputs.timezone)
