"""Routes as numbers: visits and vehicles by index, ways as arrays, instants as seconds.

Locations are the visits in order, then the depots. Costs are DKK, distances metres, times seconds
since `epoch`. A way that is not there is `NO_WAY`, longer than any shift.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.routes import RouteInputs, RouteVehicle
from schemas.plans.travel import Place, Travel, TravelMatrix

NO_WAY: Final = 1e9
TOLERANCE_S: Final = 1e-6
"""Far below a clock's tick, far above the error of a sum of floats."""


@dataclass(frozen=True, slots=True)
class RouteProblem:
    """Visits `0 … n-1` and vehicles `0 … k-1`; the arrays are `(profile, from, to)`."""

    epoch: datetime
    distance_m: NDArray[np.float64]
    duration_s: NDArray[np.float64]
    profile: tuple[int, ...]
    start: tuple[int, ...]
    end: tuple[int, ...]
    shift_from_s: tuple[float, ...]
    shift_to_s: tuple[float, ...]
    max_duration_s: tuple[float, ...]
    capacity: tuple[float, ...]
    fixed_dkk: tuple[float, ...]
    dkk_per_m: tuple[float, ...]
    kind: tuple[int, ...]
    """Vehicles of one kind are alike in all but their name."""
    earliest_s: tuple[float, ...]
    latest_s: tuple[float, ...]
    service_s: tuple[float, ...]
    demand: tuple[float, ...]
    unserved_dkk: tuple[float, ...]
    allowed: NDArray[np.bool_]
    """Whether a vehicle (column) has the competences that a visit (row) needs."""
    timed: bool
    """Whether time can bind at all."""
    limited: bool
    """Whether a vehicle's longest duration is shorter than its shift."""

    @property
    def visits(self) -> int:
        """How many visits."""
        return len(self.service_s)

    @property
    def vehicles(self) -> int:
        """How many vehicles."""
        return len(self.profile)

    def at(self, second: float) -> datetime:
        """Return the instant of a second since the epoch."""
        return self.epoch + timedelta(seconds=second)

    def distance_of_m(self, vehicle: int, visits: Sequence[int]) -> float:
        """Return how long a route is."""
        way = self.distance_m[self.profile[vehicle]]
        locations = (self.start[vehicle], *visits, self.end[vehicle])
        return float(sum(way[place, other] for place, other in pairwise(locations)))

    def cost_dkk(self, vehicle: int, visits: Sequence[int]) -> float:
        """Return what a route costs; nothing when the vehicle stays at its depot."""
        if not visits:
            return 0.0
        driven_dkk = self.dkk_per_m[vehicle] * self.distance_of_m(vehicle, visits)
        return self.fixed_dkk[vehicle] + driven_dkk


class Times(NamedTuple):
    """When a route leaves, arrives at and begins each visit, and is back; seconds."""

    departs_s: float
    arrives_s: tuple[float, ...]
    begins_s: tuple[float, ...]
    returns_s: float


def times_of(problem: RouteProblem, vehicle: int, visits: Sequence[int]) -> Times | None:
    """Return the times of the shortest route in this order; None when windows or shift forbid it.

    It returns as early as it can, and leaves as late as it may for that. Neither capacity,
    competences nor the longest duration are looked at here.
    """
    way = problem.duration_s[problem.profile[vehicle]]
    locations = (problem.start[vehicle], *visits, problem.end[vehicle])
    travel_s = [float(way[place, other]) for place, other in pairwise(locations)]
    latest_s = problem.shift_to_s[vehicle] - travel_s[-1]
    now = _drive(problem, problem.shift_from_s[vehicle], visits, travel_s)
    if now is None or now.returns_s > latest_s + travel_s[-1] + TOLERANCE_S:
        return None
    departs_s = now.returns_s - travel_s[-1]
    for visit, before_s in zip(reversed(visits), reversed(travel_s[:-1]), strict=True):
        begins_s = min(departs_s - problem.service_s[visit], problem.latest_s[visit])
        departs_s = begins_s - before_s
    return _drive(problem, max(departs_s, problem.shift_from_s[vehicle]), visits, travel_s)


def _drive(
    problem: RouteProblem, departs_s: float, visits: Sequence[int], travel_s: Sequence[float]
) -> Times | None:
    arrives_s: list[float] = []
    begins_s: list[float] = []
    now_s = departs_s
    for visit, before_s in zip(visits, travel_s, strict=False):
        now_s += before_s
        arrives_s.append(now_s)
        now_s = max(now_s, problem.earliest_s[visit])
        if now_s > problem.latest_s[visit] + TOLERANCE_S:
            return None
        begins_s.append(now_s)
        now_s += problem.service_s[visit]
    return Times(departs_s, tuple(arrives_s), tuple(begins_s), now_s + travel_s[-1])


def feasible(problem: RouteProblem, vehicle: int, visits: Sequence[int]) -> bool:
    """Return whether a vehicle can make these visits in this order."""
    if not all(problem.allowed[visit, vehicle] for visit in visits):
        return False
    if sum(problem.demand[visit] for visit in visits) > problem.capacity[vehicle]:
        return False
    times = times_of(problem, vehicle, visits)
    return (
        times is not None
        and times.returns_s - times.departs_s <= problem.max_duration_s[vehicle] + TOLERANCE_S
    )


def ways_of(inputs: RouteInputs, travel: Travel) -> dict[VehicleType, TravelMatrix]:
    """Ask for the ways between all visits, then all depots, once for each type of vehicle.

    Raises `schemas.plans.travel.TravelError` when the source cannot tell, and `ValueError` when it
    answers with another number of places.
    """
    places = [Place(visit.lat, visit.lon) for visit in inputs.visits]
    places += [Place(depot.lat, depot.lon) for depot in inputs.depots]
    ways: dict[VehicleType, TravelMatrix] = {}
    for vehicle_type in sorted({vehicle.vehicle_type for vehicle in inputs.vehicles}):
        ways[vehicle_type] = travel.matrix(places, vehicle_type)
        answered = len(ways[vehicle_type].distance_m)
        if answered != len(places):
            raise ValueError(
                f"the travel matrix for {vehicle_type} has {answered} places, {len(places)} were "
                "asked for; it must answer in the order of the places"
            )
    return ways


def routes_hash(inputs: RouteInputs, ways: Mapping[VehicleType, TravelMatrix]) -> str:
    """Return the SHA-256, in hexadecimal, of the inputs as JSON and the ways as doubles."""
    digest = hashlib.sha256(inputs.model_dump_json().encode())
    for vehicle_type, matrix in sorted(ways.items()):
        digest.update(vehicle_type.encode())
        digest.update(np.asarray(matrix.distance_m, dtype="<f8").tobytes())
        digest.update(np.asarray(matrix.duration_s, dtype="<f8").tobytes())
    return digest.hexdigest()


def route_problem_of(inputs: RouteInputs, ways: Mapping[VehicleType, TravelMatrix]) -> RouteProblem:
    """Return the inputs as numbers."""
    visits, vehicles = inputs.visits, inputs.vehicles
    epoch = min(
        (*(vehicle.shift_from for vehicle in vehicles), *(visit.earliest_at for visit in visits)),
        default=datetime.fromisoformat("1970-01-01T00:00:00+00:00"),
    )
    types = sorted(ways)
    depot = {base.depot_id: len(visits) + at for at, base in enumerate(inputs.depots)}
    size = len(visits) + len(depot)
    shape = (len(types), size, size)
    distance_m = np.array(
        [ways[vehicle_type].distance_m for vehicle_type in types], dtype=float
    ).reshape(shape)
    duration_s = np.array(
        [ways[vehicle_type].duration_s for vehicle_type in types], dtype=float
    ).reshape(shape)
    kinds: dict[object, int] = {}
    allowed = np.zeros((len(visits), len(vehicles)), dtype=bool)
    for column, vehicle in enumerate(vehicles):
        has = set(vehicle.competences)
        allowed[:, column] = [has.issuperset(visit.competences) for visit in visits]
    shift_from_s = tuple((vehicle.shift_from - epoch).total_seconds() for vehicle in vehicles)
    shift_to_s = tuple((vehicle.shift_to - epoch).total_seconds() for vehicle in vehicles)
    max_duration_s = tuple(
        (vehicle.shift_to - vehicle.shift_from).total_seconds()
        if vehicle.max_duration_s is None
        else min(vehicle.max_duration_s, (vehicle.shift_to - vehicle.shift_from).total_seconds())
        for vehicle in vehicles
    )
    earliest_s = tuple((visit.earliest_at - epoch).total_seconds() for visit in visits)
    latest_s = tuple((visit.latest_at - epoch).total_seconds() for visit in visits)
    service_s = tuple(visit.service_s for visit in visits)
    worst_s = float(duration_s.max(axis=(0, 1)).sum() + sum(service_s)) if size and types else 0.0
    distance_m, duration_s = np.minimum(distance_m, NO_WAY), np.minimum(duration_s, NO_WAY)
    for array in (distance_m, duration_s, allowed):
        array.setflags(write=False)
    return RouteProblem(
        epoch=epoch,
        distance_m=distance_m,
        duration_s=duration_s,
        profile=tuple(types.index(vehicle.vehicle_type) for vehicle in vehicles),
        start=tuple(depot[vehicle.start_depot_id] for vehicle in vehicles),
        end=tuple(depot[vehicle.end_depot_id] for vehicle in vehicles),
        shift_from_s=shift_from_s,
        shift_to_s=shift_to_s,
        max_duration_s=max_duration_s,
        # A sum of tenths may be a hair above the tenth that it means.
        capacity=tuple(vehicle.capacity * (1 + 1e-12) for vehicle in vehicles),
        fixed_dkk=tuple(vehicle.fixed_dkk for vehicle in vehicles),
        dkk_per_m=tuple(vehicle.dkk_per_km / 1000 for vehicle in vehicles),
        kind=tuple(kinds.setdefault(_alike(vehicle), len(kinds)) for vehicle in vehicles),
        earliest_s=earliest_s,
        latest_s=latest_s,
        service_s=service_s,
        demand=tuple(visit.demand for visit in visits),
        unserved_dkk=tuple(visit.unserved_dkk for visit in visits),
        allowed=allowed,
        timed=bool(visits and vehicles)
        and (
            worst_s > min(max_duration_s)
            or max(earliest_s) > min(shift_from_s)
            or min(latest_s) < max(shift_from_s) + worst_s
        ),
        limited=any(
            longest_s < until_s - from_s
            for longest_s, from_s, until_s in zip(
                max_duration_s, shift_from_s, shift_to_s, strict=True
            )
        ),
    )


def _alike(vehicle: RouteVehicle) -> object:
    return tuple(
        getattr(vehicle, name) for name in RouteVehicle.model_fields if name != "vehicle_id"
    )
