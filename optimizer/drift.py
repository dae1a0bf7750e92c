"""Drift: how far demand and fleet have moved since the last plan, as a number from 0 to 1."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from schemas.demand import DemandProfile


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


def fleet_drift(before: Collection[str], now: Collection[str]) -> Drift:
    """Return the share of vehicle ids, of then and now together, that came or went."""
    came, gone = set(now) - set(before), set(before) - set(now)
    either = len(set(before) | set(now))
    return Drift(
        (len(came) + len(gone)) / either if either else 0.0,
        f"{len(came)} vehicles came and {len(gone)} went, of {either}",
    )


def drift(
    before: DemandProfile,
    vehicles_before: Collection[str],
    now: DemandProfile,
    vehicles_now: Collection[str],
) -> Drift:
    """Return the largest of the drifts of demand's shape, its volume, and the fleet."""
    return max(
        shape_drift(before, now),
        volume_drift(before, now),
        fleet_drift(vehicles_before, vehicles_now),
        key=lambda one: one.value,
    )
