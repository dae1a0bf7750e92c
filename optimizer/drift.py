"""Drift: how far demand, and apart from it the fleet, have moved since the last plan: 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.plans.demand import (
    DemandProfile,
    DepotPlaces,
    FleetProfile,
    PlacementInputs,
    VehicleTraits,
)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far, and why in words."""

    value: float
    reason: str


def no_plan_yet() -> Drift:
    """Return the drift of a municipality that has never had a plan: as far as can be."""
    return Drift(1.0, "no plan yet")


def shape_drift(before: DemandProfile, now: DemandProfile) -> Drift:
    """Return the share of vehicle-hours that are out at another place, class or time of the week.

    It is the total variation distance between the two profiles: half the sum of the absolute
    differences of their shares.
    """
    buckets = sorted(before.share_of_hours.keys() | now.share_of_hours.keys())
    changes = {
        bucket: now.share_of_hours.get(bucket, 0.0) - before.share_of_hours.get(bucket, 0.0)
        for bucket in buckets
    }
    value = min(1.0, sum(abs(change) for change in changes.values()) / 2)
    if not changes:
        return Drift(0.0, "no vehicle-hours then or now")
    most = max(buckets, key=lambda bucket: abs(changes[bucket]))
    depot_id, vehicle_class, kind, hour = most.split("|")
    return Drift(
        value,
        f"{value:.0%} of vehicle-hours out have moved in place or time; most at {depot_id}, "
        f"{vehicle_class}, {kind} from {hour}:00: {changes[most]:+.1%} of all hours",
    )


def volume_drift(before: DemandProfile, now: DemandProfile) -> Drift:
    """Return the change of vehicle-hours a day, relative to the larger of the two."""
    larger = max(before.vehicle_hours_per_day, now.vehicle_hours_per_day)
    change = now.vehicle_hours_per_day - before.vehicle_hours_per_day
    return Drift(
        abs(change) / larger if larger > 0 else 0.0,
        f"vehicle-hours out a day went from {before.vehicle_hours_per_day:.1f} "
        f"to {now.vehicle_hours_per_day:.1f}",
    )


def drift(before: DemandProfile, now: DemandProfile) -> Drift:
    """Return the larger of the drifts of demand's shape and its volume."""
    return max(shape_drift(before, now), volume_drift(before, now), key=lambda drift: drift.value)


def fleet_profile(inputs: PlacementInputs) -> FleetProfile:
    """Return which vehicles and places the inputs have."""
    return FleetProfile(
        vehicles={
            vehicle.vehicle_id: VehicleTraits(
                vehicle_type=vehicle.vehicle_type, energy_source=vehicle.energy_source
            )
            for vehicle in inputs.vehicles
        },
        depots={
            depot.depot_id: DepotPlaces(capacity=depot.capacity, charger_count=depot.charger_count)
            for depot in inputs.depots
        },
    )


def vehicle_change(before: FleetProfile, now: FleetProfile) -> Drift:
    """Return the share of vehicles, of then and now together, that came, went or changed.

    A vehicle has changed when its class or what it runs on has.
    """
    then, present = before.vehicles, now.vehicles
    came, gone = present.keys() - then.keys(), then.keys() - present.keys()
    changed = [
        vehicle_id
        for vehicle_id in present.keys() & then.keys()
        if present[vehicle_id] != then[vehicle_id]
    ]
    either = len(then.keys() | present.keys())
    return Drift(
        (len(came) + len(gone) + len(changed)) / either if either else 0.0,
        f"of {either} vehicles {len(came)} came, {len(gone)} went and {len(changed)} changed "
        "class or what they run on",
    )


def place_change(before: FleetProfile, now: FleetProfile) -> Drift:
    """Return the share of parking places and chargers, each depot's, that came or went.

    It is the sum of the absolute differences over the sum of the larger ones, depot by depot.
    """
    gained = lost = larger = 0
    most = (0, "")
    for depot_id in sorted(before.depots.keys() | now.depots.keys()):
        pairs = list(zip(_places(before, depot_id), _places(now, depot_id), strict=True))
        gained += sum(max(0, present - then) for then, present in pairs)
        lost += sum(max(0, then - present) for then, present in pairs)
        larger += sum(map(max, pairs))
        change = sum(present - then for then, present in pairs)
        most = max(most, (change, depot_id), key=lambda vehicle_id: abs(vehicle_id[0]))
    return Drift(
        (gained + lost) / larger if larger else 0.0,
        f"of {larger} parking places and chargers {gained} came and {lost} went"
        + (f"; most at {most[1]}: {most[0]:+d}" if most[1] else ""),
    )


def _places(fleet: FleetProfile, depot_id: str) -> tuple[int, int]:
    depot = fleet.depots.get(depot_id)
    return (0, 0) if depot is None else (depot.capacity, depot.charger_count)


def fleet_change(before: FleetProfile | None, now: FleetProfile) -> Drift:
    """Return the larger of the changes of vehicles and of places; all, if then is not known."""
    if before is None:
        return Drift(1.0, "the newest plan does not say for which fleet it was made")
    return max(
        vehicle_change(before, now), place_change(before, now), key=lambda drift: drift.value
    )
