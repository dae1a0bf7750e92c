"""An assignment in words: which locks contradict, and what is missing at which depot and hour."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

import numpy as np

from optimizer.assignment.flow import overlaps
from optimizer.assignment.subproblem import Subproblem, drive_ore, microseconds
from optimizer.costs import ORE_PER_DKK
from schemas.local_time import local_minute
from schemas.plans.assignment import (
    AssignableVehicle,
    AssignmentInputs,
    DepotUse,
    WantedRoundTrip,
)

_TOLD = 5
"""Depots and classes that an explanation goes into."""


def lock_conflicts(inputs: AssignmentInputs) -> list[str]:
    """Return a sentence for each lock that its vehicle cannot keep; empty when all can be kept."""
    trips = {round_trip.round_trip_id: round_trip for round_trip in inputs.round_trips}
    vehicles = {vehicle.vehicle_id: vehicle for vehicle in inputs.vehicles}
    changeover = timedelta(seconds=inputs.changeover_s)
    locked: defaultdict[str, list[WantedRoundTrip]] = defaultdict(list)
    sentences: list[str] = []
    for lock in inputs.locks:
        trip, vehicle = trips[lock.round_trip_id], vehicles[lock.vehicle_id]
        locked[vehicle.vehicle_id].append(trip)
        sentences += [
            f"Round trip {trip.round_trip_id} is locked to {vehicle.vehicle_id}, {why}; remedy: "
            "drop the lock."
            for why in _misfits(trip, vehicle)
        ]
    for vehicle_id, of_one in sorted(locked.items()):
        ordered = sorted(of_one, key=lambda wanted: (wanted.started_at, wanted.round_trip_id))
        earlier = ordered[0]
        for later in ordered[1:]:
            if later.started_at < earlier.ended_at + changeover:
                sentences.append(
                    f"Round trips {earlier.round_trip_id} (until {earlier.ended_at.isoformat()}) "
                    f"and {later.round_trip_id} (from {later.started_at.isoformat()}) are both "
                    f"locked to {vehicle_id}, which needs {inputs.changeover_s:.0f} s between "
                    "them; remedy: drop one of the locks."
                )
            earlier = max(earlier, later, key=lambda wanted: wanted.ended_at)
    return sentences


def _misfits(trip: WantedRoundTrip, vehicle: AssignableVehicle) -> list[str]:
    """Return why a vehicle cannot take a round trip, apart from what else it does."""
    sentences: list[str] = []
    if trip.depot_id != vehicle.depot_id:
        sentences.append(f"which stands at {vehicle.depot_id}, not at {trip.depot_id}")
    if trip.vehicle_class != vehicle.vehicle_class:
        sentences.append(f"a {vehicle.vehicle_class.value}, and needs a {trip.vehicle_class.value}")
    if trip.seats > vehicle.seats:
        sentences.append(f"which has {vehicle.seats} seats, and needs {trip.seats}")
    sentences += [
        f"which cannot be had from {away.started_at.isoformat()} to {away.ended_at.isoformat()}"
        for away in vehicle.unavailable
        if away.started_at < trip.ended_at and trip.started_at < away.ended_at
    ]
    return sentences


def reason(
    inputs: AssignmentInputs,
    trip: WantedRoundTrip,
    vehicles: Sequence[AssignableVehicle],
    subproblem: Subproblem,
    number: int,
) -> str:
    """Say why a round trip has no vehicle; `vehicles` are those of its class at its depot."""
    kind = trip.vehicle_class.value.replace("_", "-")
    if not vehicles:
        return f"{trip.depot_id} has no {kind}."
    most = max(vehicle.seats for vehicle in vehicles)
    if most < trip.seats:
        return f"It needs {trip.seats} seats; the largest {kind} at {trip.depot_id} has {most}."
    price_ore = int(subproblem.prices_ore[number])
    price_dkk = price_ore / ORE_PER_DKK
    if all(
        drive_ore(trip, vehicle) >= price_ore for vehicle in vehicles if vehicle.seats >= trip.seats
    ):
        return f"An own car costs {price_dkk:,.2f} DKK, no more than driving a {kind} of the depot."
    fitting = sum(1 for vehicle in vehicles if vehicle.seats >= trip.seats)
    when = local_minute(trip.started_at, inputs.timezone)
    return (
        f"Every {kind} with {trip.seats} seats at {trip.depot_id} ({fitting}) is out or cannot be "
        f"had at {when}, or one more costs more than the {price_dkk:,.2f} DKK of an own car."
    )


def explanation(
    inputs: AssignmentInputs, depots: Sequence[DepotUse], assignment: Mapping[str, str]
) -> str:
    """Say how many are served, and where and when vehicles lack most."""
    total = len(inputs.round_trips)
    used = sum(depot.used for depot in depots)
    parts = [
        (
            f"{len(assignment)} of {total} round trips have a vehicle; {used} of "
            f"{len(inputs.vehicles)} vehicles are used."
        )
    ]
    short = sorted(
        (depot for depot in depots if depot.unserved),
        key=lambda depot: (-depot.unserved, depot.depot_id, depot.vehicle_class),
    )
    parts += [_shortage(inputs, wanted, assignment) for wanted in short[:_TOLD]]
    if len(short) > _TOLD:
        rest = sum(wanted.unserved for wanted in short[_TOLD:])
        parts.append(f"{rest} more are unserved at {len(short) - _TOLD} other depots and classes.")
    return " ".join(parts)


def _shortage(inputs: AssignmentInputs, use: DepotUse, assignment: Mapping[str, str]) -> str:
    """Say at which local hour most round trips of a depot and class go without a vehicle."""
    of_cell = [
        round_trip
        for round_trip in inputs.round_trips
        if (round_trip.depot_id, round_trip.vehicle_class) == (use.depot_id, use.vehicle_class)
    ]
    missing = [wanted for wanted in of_cell if wanted.round_trip_id not in assignment]
    starts = np.array([microseconds(wanted.started_at) for wanted in missing])
    together = overlaps(starts, np.array([microseconds(wanted.ended_at) for wanted in missing]))
    worst = int(together.argmax())
    trip = missing[int(starts.argsort(kind="stable")[worst])]
    at, lacking = trip.started_at, int(together[worst])
    out = sum(1 for wanted in of_cell if wanted.started_at <= at < wanted.ended_at)
    vehicles = [
        vehicle
        for vehicle in inputs.vehicles
        if (vehicle.depot_id, vehicle.vehicle_class) == (use.depot_id, use.vehicle_class)
    ]
    had = sum(
        1
        for vehicle in vehicles
        if not any(away.started_at <= at < away.ended_at for away in vehicle.unavailable)
    )
    kind = use.vehicle_class.value.replace("_", "-")
    left = (
        f"{use.depot_id} leaves {use.unserved} round trips without a {kind}; worst at "
        f"{local_minute(at, inputs.timezone)}: "
    )
    free = _free_for(inputs, trip, vehicles, of_cell, assignment)
    if free:
        return (
            f"{left}{lacking} of {out} at once, while {free} of its {use.vehicles} "
            f"{'is' if free == 1 else 'are'} free for {'it' if lacking == 1 else 'one'}: using one "
            "more was not found to cost less than the own cars that it saves."
        )
    if had > out - lacking:
        return (
            f"{left}{lacking} of {out} simultaneous trips {_has(lacking)} no {kind}: none of its "
            f"{use.vehicles} that are big enough is free for so long, each is booked shortly "
            "before or after."
        )
    return (
        f"{left}{out} simultaneous trips, {had} of its {use.vehicles} available, {lacking} missing."
    )


def _has(count: int) -> str:
    return "has" if count == 1 else "have"


def _free_for(
    inputs: AssignmentInputs,
    trip: WantedRoundTrip,
    vehicles: Sequence[AssignableVehicle],
    of_cell: Sequence[WantedRoundTrip],
    assignment: Mapping[str, str],
) -> int:
    """Return how many vehicles could take a round trip beside what they were given."""
    changeover = timedelta(seconds=inputs.changeover_s)
    busy = {
        assignment[wanted.round_trip_id]
        for wanted in of_cell
        if wanted.round_trip_id in assignment
        and wanted.started_at < trip.ended_at + changeover
        and trip.started_at < wanted.ended_at + changeover
    }
    return sum(
        1
        for vehicle in vehicles
        if vehicle.vehicle_id not in busy
        and vehicle.seats >= trip.seats
        and not any(
            away.started_at < trip.ended_at and trip.started_at < away.ended_at
            for away in vehicle.unavailable
        )
    )
