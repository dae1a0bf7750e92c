"""A composition in words: what to give up and acquire and why, or what is missing where and when.

What a vehicle saves is calculated anew: its depot's round trips are allotted with and without it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from optimizer.composition.allocation_lp import OWN_CAR, Weights
from optimizer.composition.counts import DepotCounts, DepotFleet
from optimizer.costs import ORE_PER_DKK
from optimizer.work_budget import WorkBudget
from schemas.fleet.vehicle_type import MOTOR
from schemas.plans.composition import (
    CompositionInputs,
    CompositionRoundTrip,
    FleetProposal,
    PresentVehicle,
)

_UNLIMITED: Final = 1e12
_TOLD: Final = 5
_G_PER_KG: Final = 1000


@dataclass(frozen=True, slots=True)
class _Use:
    """What a vehicle of now did."""

    round_trips: int = 0
    km: float = 0.0
    days: int = 0


def proposals(
    inputs: CompositionInputs,
    depots: Sequence[DepotCounts],
    fleets: Sequence[DepotFleet],
    weights: Weights,
) -> tuple[FleetProposal, ...]:
    """Return what leads from the present vehicles to the fleets, the least used given up first."""
    uses = _uses(inputs)
    fleet_proposals: list[FleetProposal] = []
    for depot, fleet in zip(depots, fleets, strict=True):
        name = depot.demand.depot.depot_id
        for column, kind in enumerate(depot.demand.kinds):
            present = [
                vehicle
                for vehicle in inputs.vehicles
                if vehicle.depot_id == name and vehicle.kind_id == kind.kind_id
            ]
            there = _RangeLadder(depot, fleet, column, weights)
            if len(present) > fleet.counts[column]:
                fleet_proposals += _given_up(there, present, uses)
            elif len(present) < fleet.counts[column]:
                fleet_proposals.append(_acquired(inputs, there, len(present)))
    return tuple(fleet_proposals)


class _RangeLadder:
    """A fleet with other counts of one kind."""

    def __init__(
        self, depot: DepotCounts, fleet: DepotFleet, column: int, weights: Weights
    ) -> None:
        self.depot = depot
        self.column = column
        self.kind = depot.demand.kinds[column]
        self.count = fleet.counts[column]
        self._counts = fleet.counts
        self._weights = weights

    def at(self, count: int) -> DepotFleet:
        """Return the fleet with so many of the kind."""
        counts = [*self._counts]
        counts[self.column] = count
        if count > self.count + 1:
            last, before = self.at(count - 1), self.at(count - 2)
            if (last.allotment.drive_ore, last.g) == (before.allotment.drive_ore, before.g):
                # What one more is worth never grows: where the last changed nothing, none does.
                driving = last.allotment
                total = self.depot.demand.fleet_ore(counts) + driving.drive_ore
                return DepotFleet(tuple(counts), driving, total)
        return self.depot.try_counts(counts, self._weights, WorkBudget(_UNLIMITED), close=True)


def _uses(inputs: CompositionInputs) -> dict[str, _Use]:
    zone = ZoneInfo(inputs.timezone)
    trips: defaultdict[str, list[CompositionRoundTrip]] = defaultdict(list)
    for trip in inputs.round_trips:
        if trip.vehicle_id is not None:
            trips[trip.vehicle_id].append(trip)
    return {
        vehicle_id: _Use(
            len(of_one),
            sum(round_trip.distance_m for round_trip in of_one) / 1000,
            len({round_trip.started_at.astimezone(zone).date() for round_trip in of_one}),
        )
        for vehicle_id, of_one in trips.items()
    }


def _given_up(
    there: _RangeLadder, present: Sequence[PresentVehicle], uses: Mapping[str, _Use]
) -> Iterator[FleetProposal]:
    """Yield the least used vehicles of a kind, each with what it saves once those before it go."""
    ordered = sorted(
        present,
        key=lambda present_vehicle: (
            uses.get(present_vehicle.vehicle_id, _Use()).km,
            present_vehicle.vehicle_id,
        ),
    )
    depot = there.depot.demand.depot
    for number, vehicle in enumerate(ordered[: len(present) - there.count]):
        kept = len(present) - number
        more, fewer = there.at(kept), there.at(kept - 1)
        use = uses.get(vehicle.vehicle_id)
        did = (
            "No round trip of it is known."
            if use is None
            else f"It made {use.round_trips} round trips of {use.km:,.0f} km altogether on "
            f"{use.days} days, the least of the {kept} {there.kind.kind_id} left."
        )
        yearly = there.kind.yearly_cost_dkk
        saves = (more.ore - fewer.ore) / ORE_PER_DKK
        spared_kg = (fewer.g - more.g) / _G_PER_KG
        co2e = "spare" if spared_kg >= 0 else "add"
        yield FleetProposal(
            action="give up",
            depot_id=depot.depot_id,
            kind_id=there.kind.kind_id,
            vehicle_id=vehicle.vehicle_id,
            count=1,
            saves_dkk=saves,
            reason=f"{depot.name} has {len(present)} {there.kind.kind_id} and needs {there.count} "
            f"in this fleet. {did} It costs {yearly:,.0f} DKK a year to have; number {kept} would "
            f"save {yearly - saves:,.0f} DKK of chargers, driving and own cars, and "
            f"{co2e} {abs(spared_kg):,.0f} kg CO2e.",
        )


def _acquired(inputs: CompositionInputs, there: _RangeLadder, present: int) -> FleetProposal:
    fleet, without = there.at(there.count), there.at(present)
    depot = there.depot.demand
    taken = np.flatnonzero(fleet.allotment.kind == there.column)
    km = sum(depot.trips[trip].distance_m for trip in taken) / 1000
    count = there.count - present
    saves = (without.ore - fleet.ore) / ORE_PER_DKK
    yearly = count * there.kind.yearly_cost_dkk
    spared_kg = (without.g - fleet.g) / _G_PER_KG
    co2e = "spare" if spared_kg >= 0 else "add"
    money = f"save {saves:,.0f} DKK" if saves >= 0 else f"cost {-saves:,.0f} DKK more"
    verdict = f"{money} a year in all, and {co2e} {abs(spared_kg):,.0f} kg CO2e."
    needed = int((without.allotment.kind == OWN_CAR).sum()) if depot.must_serve else 0
    if needed:
        verdict = f"are needed: without them {needed} of its round trips go unserved."
    return FleetProposal(
        action="acquire",
        depot_id=depot.depot.depot_id,
        kind_id=there.kind.kind_id,
        vehicle_id=None,
        count=count,
        saves_dkk=None if needed else saves,
        reason=f"{depot.depot.name} has {present} {there.kind.kind_id}; {there.count} would take "
        f"{len(taken)} of its {len(depot.trips)} round trips in {inputs.observed_days:.0f} days, "
        f"{km:,.0f} km. {count} more at {yearly:,.0f} DKK a year {verdict}",
    )


def by_own_car(
    inputs: CompositionInputs, chosen: Sequence[DepotFleet], present: Sequence[DepotFleet] | None
) -> str:
    """Return a sentence about what fleets leave to own cars, empty where it is nothing.

    A small fleet beside a large one is read as thrift, and may be staff who drive themselves.
    """
    left = _left_to_own_cars(chosen)
    if not left:
        return ""
    before = "" if present is None else f", {_left_to_own_cars(present)} with the vehicles of now"
    return f" {left} of {len(inputs.round_trips)} round trips go by own car{before}."


def _left_to_own_cars(fleets: Sequence[DepotFleet]) -> int:
    return sum(int((fleet.allotment.kind == OWN_CAR).sum()) for fleet in fleets)


def explanation(
    inputs: CompositionInputs,
    present: tuple[int, int] | None,
    chosen: tuple[int, int],
    counts: str,
) -> str:
    """Say what the chosen point is beside the fleet as it stands: øre and grams of both.

    `present` is None where the fleet as it stands cannot serve all that has to be served.
    """
    days = inputs.observed_days
    text = (
        f"With CO2e at its price the cheapest fleet has {counts}. A year costs "
        f"{chosen[0] / ORE_PER_DKK:,.0f} DKK and {chosen[1] / _G_PER_KG:,.0f} kg CO2e"
    )
    standing = f"the {len(inputs.vehicles)} vehicles as they stand"
    if present is None:
        return (
            f"{text}, with round trips allotted as well as can be, scaled from {days:.0f} days; "
            f"{standing} cannot take all round trips, and own cars may not."
        )
    return (
        f"{text}, against {present[0] / ORE_PER_DKK:,.0f} DKK and {present[1] / _G_PER_KG:,.0f} kg "
        f"of {standing}, both with round trips allotted as well as can be, scaled from "
        f"{days:.0f} days."
    )


def shortage(
    inputs: CompositionInputs, depots: Sequence[DepotCounts], fleets: Sequence[DepotFleet]
) -> str:
    """Say at which depots and local hours round trips find no vehicle, and what stands against."""
    zone = ZoneInfo(inputs.timezone)
    parts: list[str] = []
    for depot, fleet in zip(depots, fleets, strict=True):
        rows = np.flatnonzero(fleet.allotment.kind == OWN_CAR)
        if not len(rows):
            continue
        demand = depot.demand
        hopeless = [demand.trips[row] for row in rows if not demand.able[row].any()]
        short = [demand.trips[row] for row in rows if demand.able[row].any()]
        if hopeless:
            round_trip = hopeless[0]
            parts.append(
                f"{len(hopeless)} round trips of {demand.depot.name} can be taken by no kind, such "
                f"as {round_trip.round_trip_id} "
                f"on {round_trip.started_at.astimezone(zone):%Y-%m-%d %H:%M %Z}: "
                f"{round_trip.distance_m / 1000:,.0f} km, {round_trip.seats} seats, "
                f"cargo {round_trip.cargo.value}."
            )
        if short:
            hour, missing = _worst_hour(short, zone)
            motor = sum(
                count
                for kind, count in zip(demand.kinds, fleet.counts, strict=True)
                if kind.vehicle_type in MOTOR
            )
            parts.append(
                f"{demand.depot.name} lacks a vehicle for {len(short)} round trips; most at once, "
                f"{missing}, in the hour from {hour:%Y-%m-%d %H:%M %Z}: {motor} of its "
                f"{demand.depot.capacity} parking places are taken."
            )
    if len(parts) > _TOLD:
        parts[_TOLD:] = [f"{len(parts) - _TOLD} more such shortages are left out."]
    return " ".join(
        [
            "Not all round trips can be served.",
            *parts,
            "Remedy: allow own cars, enter more places, or kinds that can take them.",
        ]
    )


def _worst_hour(trips: Sequence[CompositionRoundTrip], zone: ZoneInfo) -> tuple[datetime, int]:
    """Return the local hour in which most round trips are out at once, and how many."""
    starts = sorted(trips, key=lambda trip: trip.started_at)
    out = [
        (sum(1 for other in trips if other.started_at <= start.started_at < other.ended_at), start)
        for start in starts
    ]
    missing, worst = max(out, key=lambda shortage: shortage[0])
    local = worst.started_at.astimezone(zone)
    return local.replace(minute=0, second=0, microsecond=0), missing
