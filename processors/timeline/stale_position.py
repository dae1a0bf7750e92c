"""Stale positions: one repeated after a silence is left out if the next two fixes contradict it.

A tracker that is back in coverage may say its last position once more before the true ones. Seen
from there these are impossible, though they are not from where the position was said first. A
parked vehicle that reports now and then looks the same until it moves, and one wrong position
after such a report is no reason to doubt that; so two fixes in a row have to agree.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from processors.geodesy import Point, distance_m
from schemas.events.fix import Reported

STALE_POSITION: Final = "stale-position"


class FixSnapshot(NamedTuple):
    """What the fold reads of a fix with a position: it can be taken later, as `Reported`."""

    recorded_at: datetime
    lat: float
    lon: float
    speed_mps: float | None
    ignition: bool | None
    odometer_m: float | None


class Repeat(NamedTuple):
    """A fix that says the position before a silence again; the timeline is not at it yet.

    `rival` is the fix that came last, if it is impossible after the repeat but not without it. Once
    the next one is so, too, and possible after the rival, the repeat is stale.
    """

    suspect: FixSnapshot
    rival: FixSnapshot | None = None


def snapshot(fix: Reported) -> FixSnapshot:
    """Return what is to be kept of a fix.

    Raises `ValueError` for a fix without a position: none of those is a repeat or a rival.
    """
    if fix.lat is None or fix.lon is None:
        raise ValueError(f"fix at {fix.recorded_at} has no position; keep one that has")
    return FixSnapshot(
        fix.recorded_at, fix.lat, fix.lon, fix.speed_mps, fix.ignition, fix.odometer_m
    )


def is_reachable(at: datetime, place: Point, fix: FixSnapshot, max_mps: float) -> bool:
    """Return whether a vehicle may have come from where it was at an instant to a later fix."""
    duration_s = (fix.recorded_at - at).total_seconds()
    return distance_m(place, Point(fix.lat, fix.lon)) <= max_mps * duration_s
