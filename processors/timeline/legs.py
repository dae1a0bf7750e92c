"""Legs: what lies between two consecutive fixes, and whether the vehicle moved on it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from processors.geodesy import Point
from schemas.fleet.rules import Rules


class Leg(NamedTuple):
    """What lies between two consecutive fixes.

    `distance_m` is the geodesic, `engine` the ignition in force on the leg: the last one reported
    at or before its start; None where the vehicle has never reported one. The odometer's readings
    are those of the two fixes, where they have one.
    """

    started_at: datetime
    ended_at: datetime
    start: Point
    end: Point
    distance_m: float
    moving: bool
    engine: bool | None
    start_odometer_m: float | None = None
    end_odometer_m: float | None = None


def unseen_m(leg: Leg, rules: Rules) -> float | None:
    """Return how many metres a vehicle drove in a gap by its odometer, if that can be believed.

    It says enough for a drive, not less than the straight line, and no more than is possible. None
    where it does not, or where a reading is missing.
    """
    if leg.start_odometer_m is None or leg.end_odometer_m is None:
        return None
    said_m = leg.end_odometer_m - leg.start_odometer_m
    most_m = rules.max_speed_mps * (leg.ended_at - leg.started_at).total_seconds()
    least_m = max(rules.odometer_unseen_least_m, leg.distance_m)
    return said_m if least_m <= said_m <= most_m else None


def is_moving(
    *,
    distance_m: float,
    duration_s: float,
    start_speed_mps: float | None,
    end_speed_mps: float | None,
    rules: Rules,
) -> bool:
    """Return whether a vehicle moved between two fixes.

    Beyond the noise of positions the displacement decides, since devices report speed 0 at both
    ends of a leg that crosses a town. Within the noise the reported speeds decide where they agree;
    where they do not, the vehicle has stopped or started on the way. Then, as where there are none,
    only a displacement too fast for drift counts: it moved for most of the leg.
    """
    limit_mps = rules.standstill_below_mps
    if distance_m > rules.position_noise_m:
        return distance_m >= limit_mps * duration_s
    starts, ends = start_speed_mps, end_speed_mps
    if starts is None:
        starts = ends
    if ends is None:
        ends = starts
    if starts is not None and ends is not None and (starts >= limit_mps) is (ends >= limit_mps):
        return starts >= limit_mps
    return distance_m >= rules.noise_speed_mps * duration_s
