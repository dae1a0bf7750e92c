"""Vehicles of one class at one depot over the horizon, and the round trips that want them.

Whole øre and microseconds. A round trip occupies a vehicle until its changeover is over. A locked
round trip is a time when its vehicle cannot be had.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from optimizer.assignment.flow import Demand, Supply, supply_of
from optimizer.costs import ORE_PER_DKK, ore, unserved_ore
from optimizer.work_budget import Ints
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.assignment import (
    AssignableVehicle,
    AssignmentInputs,
    Unavailable,
    WantedRoundTrip,
)

SubproblemKey = tuple[str, VehicleType]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Return an instant as whole microseconds."""
    return (at - _EPOCH) // _MICROSECOND


@dataclass(slots=True)
class Machine:
    """A vehicle: when it can be had, and what it has been given so far, by start."""

    vehicle: AssignableVehicle
    windows: tuple[tuple[int, int], ...]
    price_ore: int
    """Of using it at all; 0 where a lock already does."""
    always_there: bool
    """Whether it can be had from the first round trip to the last."""
    starts: list[int] = field(default_factory=list)
    trips: list[int] = field(default_factory=list)

    @property
    def had_us(self) -> int:
        """How long it can be had altogether."""
        return sum(end - start for start, end in self.windows)

    def window(self, start_us: int, free_us: int) -> bool:
        """Return whether it can be had for so long."""
        number = bisect_left(self.windows, (start_us + 1,)) - 1
        return number >= 0 and free_us <= self.windows[number][1]

    def give(self, trip: int, start_us: int) -> None:
        """Put a round trip into its schedule."""
        place = bisect_left(self.starts, start_us)
        self.starts.insert(place, start_us)
        self.trips.insert(place, trip)

    def take(self, trip: int) -> None:
        """Remove a round trip from its schedule."""
        place = self.trips.index(trip)
        del self.starts[place], self.trips[place]

    def clashes(self, start_us: int, free_us: int, frees_us: Ints) -> list[int]:
        """Return its round trips that overlap a time."""
        place = bisect_left(self.starts, start_us)
        free_trips = self.trips[place : bisect_left(self.starts, free_us)]
        if place and frees_us[self.trips[place - 1]] > start_us:
            free_trips = [self.trips[place - 1], *free_trips]
        return free_trips


@dataclass(frozen=True, slots=True)
class VehiclePool:
    """Vehicles that serve the same round trips at the same price a kilometre, cheapest first."""

    machines: tuple[Machine, ...]
    values_ore: Ints
    """What each round trip saves when one of them takes it; 0 where it cannot."""

    @property
    def always_there(self) -> bool:
        """Whether each can be had all the time, so that the flow is exact."""
        return all(machine.always_there for machine in self.machines)

    @property
    def prices_ore(self) -> Ints:
        """What using each vehicle at all costs, ascending."""
        return np.array([machine.price_ore for machine in self.machines], dtype=np.int64)

    def supply(self, machines: Iterable[Machine]) -> Supply:
        """Return when how many of some vehicles can be had."""
        return supply_of([window for machine in machines for window in machine.windows])


def pooled(machines: Iterable[Machine], values_ore: Ints) -> VehiclePool:
    """Return a pool of machines: of those at one price the ones that can be had longest first."""
    return VehiclePool(
        tuple(
            sorted(
                machines,
                key=lambda machine: (
                    machine.price_ore,
                    -machine.had_us,
                    machine.vehicle.vehicle_id,
                ),
            )
        ),
        values_ore,
    )


@dataclass(frozen=True, slots=True)
class Subproblem:
    """A depot and class: its round trips without a lock, by start, and its pools."""

    key: SubproblemKey
    trips: tuple[WantedRoundTrip, ...]
    demand: Demand
    prices_ore: Ints
    """What an own car costs for each."""
    pools: tuple[VehiclePool, ...]
    locked_ore: int
    """Cost of the locked round trips and of using their vehicles."""
    locks: Mapping[str, str]
    peak: int
    """Most round trips at once, locked ones included."""


def drive_ore(trip: WantedRoundTrip, vehicle: AssignableVehicle) -> int:
    """Return what driving a round trip costs."""
    return round(trip.distance_m / 1000 * vehicle.cost_dkk_per_km * ORE_PER_DKK)


def subproblems_of(inputs: AssignmentInputs) -> tuple[Subproblem, ...]:
    """Return the cells that have round trips; each can be solved without the others."""
    trips: defaultdict[SubproblemKey, list[WantedRoundTrip]] = defaultdict(list)
    vehicles: defaultdict[SubproblemKey, list[AssignableVehicle]] = defaultdict(list)
    for trip in inputs.round_trips:
        trips[trip.depot_id, trip.vehicle_class].append(trip)
    for vehicle in inputs.vehicles:
        vehicles[vehicle.depot_id, vehicle.vehicle_class].append(vehicle)
    locks = {lock.round_trip_id: lock.vehicle_id for lock in inputs.locks}
    return tuple(
        _subproblem(key, trips[key], vehicles.get(key, []), locks, inputs) for key in sorted(trips)
    )


def _subproblem(
    key: SubproblemKey,
    trips: Sequence[WantedRoundTrip],
    vehicles: Sequence[AssignableVehicle],
    locks: Mapping[str, str],
    inputs: AssignmentInputs,
) -> Subproblem:
    changeover_us = round(inputs.changeover_s * 1_000_000)
    starts = np.array([microseconds(trip.started_at) for trip in trips])
    frees = np.array([microseconds(trip.ended_at) for trip in trips]) + changeover_us
    hull = int(starts.min()), int(frees.max())
    locked = {
        trip.round_trip_id: locks[trip.round_trip_id]
        for trip in trips
        if trip.round_trip_id in locks
    }
    busy: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    by_id = {vehicle.vehicle_id: vehicle for vehicle in vehicles}
    locked_ore = sum(ore(by_id[vehicle_id].cost_dkk) for vehicle_id in set(locked.values()))
    for number, trip in enumerate(trips):
        if trip.round_trip_id in locked:
            vehicle_id = locked[trip.round_trip_id]
            busy[vehicle_id].append((int(starts[number]), int(frees[number])))
            locked_ore += drive_ore(trip, by_id[vehicle_id])
    open_ = np.array([trip.round_trip_id not in locked for trip in trips])
    peak = Demand(starts, frees).peak()
    free = tuple(trip for trip in trips if trip.round_trip_id not in locked)
    prices = np.array(
        [unserved_ore(trip.distance_m, inputs.costs) for trip in free], dtype=np.int64
    )
    machines: list[Machine] = []
    for vehicle in vehicles:
        held = busy[vehicle.vehicle_id]
        windows = _windows(hull, held, vehicle.unavailable, changeover_us)
        price_ore = 0 if held else ore(vehicle.cost_dkk)
        machines.append(Machine(vehicle, windows, price_ore, windows == (hull,)))
    pools = _pools(machines, free, prices)
    demand = Demand(starts[open_], frees[open_])
    return Subproblem(key, free, demand, prices, pools, locked_ore, locked, peak)


def _windows(
    hull: tuple[int, int],
    busy: Sequence[tuple[int, int]],
    unavailable: Iterable[Unavailable],
    changeover_us: int,
) -> tuple[tuple[int, int], ...]:
    """Return when a vehicle can be had; a changeover may reach into a time when it cannot.

    Such a time lasts a changeover at least.
    """
    locked = sorted(busy)
    blocked = [(start, start, end) for start, end in locked]
    for absence in unavailable:
        start, end = microseconds(absence.started_at), microseconds(absence.ended_at)
        reach = start + changeover_us
        following = bisect_left(locked, (start,))
        closes = min(reach, locked[following][0]) if following < len(locked) else reach
        blocked.append((start, closes, max(end, reach)))
    free_trips: list[tuple[int, int]] = []
    at = hull[0]
    for _, closes, opens in sorted(blocked):
        if at < min(closes, hull[1]):
            free_trips.append((at, min(closes, hull[1])))
        at = max(at, opens)
    if at < hull[1]:
        free_trips.append((at, hull[1]))
    return tuple(free_trips)


def _pools(
    machines: Iterable[Machine], trips: Sequence[WantedRoundTrip], prices: Ints
) -> tuple[VehiclePool, ...]:
    seats = np.array([trip.seats for trip in trips], dtype=np.int64)
    wanted = np.unique(seats)
    km = np.array([trip.distance_m / 1000 for trip in trips])
    alike: defaultdict[tuple[int, float], list[Machine]] = defaultdict(list)
    for machine in machines:
        # Seats that nobody asks for make no difference.
        served = int(np.searchsorted(wanted, machine.vehicle.seats, side="right"))
        if served and machine.windows:
            alike[served, machine.vehicle.cost_dkk_per_km].append(machine)
    pools: list[VehiclePool] = []
    for (served, cost_dkk_per_km), members in sorted(alike.items()):
        drive = np.rint(km * cost_dkk_per_km * ORE_PER_DKK).astype(np.int64)
        values = np.where(seats <= wanted[served - 1], np.maximum(prices - drive, 0), 0)
        pools.append(pooled(members, values))
    return tuple(pools)
