"""How others tell trips and idling: a speed threshold, and Traccar's rule as we know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

from pyproj import Geod

from schemas.events.fix import Fix

_WGS84: Final = Geod(ellps="WGS84")
_MOVES_MPS: Final = 5 / 3.6
_STANDS_S: Final = 180.0
_GAP_S: Final = 3600.0
_MIN_DISTANCE_M: Final = 200.0


@dataclass(frozen=True, slots=True)
class Found:
    """An interval that a rule found: a trip, or idling of length 0."""

    started_at: datetime
    ended_at: datetime
    distance_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule makes of one vehicle's fixes. To the rivals a whole trip is driving."""

    trips: list[Found]
    idling: list[Found]
    driving: list[Found]


def metres(fix: Fix, other: Fix) -> float:
    """Return the geodesic between two fixes."""
    if (fix.lat, fix.lon) == (other.lat, other.lon):
        return 0.0
    return float(_WGS84.inv(fix.lon, fix.lat, other.lon, other.lat)[2])


def _speed_mps(before: Fix, now: Fix) -> float:
    """Return the reported speed, or where there is none that of the displacement."""
    if now.speed_mps is not None:
        return now.speed_mps
    return metres(before, now) / max((now.recorded_at - before.recorded_at).total_seconds(), 1.0)


def speed_threshold(fixes: Sequence[Fix]) -> Verdict:
    """Take above 5 km/h for moving, a trip to last until 180 s without, the key for idling."""
    trips: list[Found] = []
    idling: list[Found] = []
    key: bool | None = None
    began: Fix | None = None
    last = fixes[0]
    length_m = pending_m = 0.0
    for before, now in pairwise(fixes):
        step_m = metres(before, now)
        moving = _speed_mps(before, now) >= _MOVES_MPS
        if before.ignition is not None:
            key = before.ignition
        if not moving and key:
            idling.append(Found(before.recorded_at, now.recorded_at))
        if began is not None:
            pending_m += step_m
            if (now.recorded_at - last.recorded_at).total_seconds() >= _STANDS_S and not moving:
                trips.append(Found(began.recorded_at, last.recorded_at, length_m))
                began = None
        if moving:
            if began is None:
                began, length_m, pending_m = now, 0.0, 0.0
            length_m += pending_m
            pending_m = 0.0
            last = now
    if began is not None:
        trips.append(Found(began.recorded_at, last.recorded_at, length_m))
    return Verdict(trips, idling, trips)


def traccar(fixes: Sequence[Fix]) -> Verdict:
    """Traccar's newer motion rule; it computes no idle time.

    A trip starts 200 m from the last standstill, back-dated to the fix there; it ends when no fix
    was 200 m away for 180 s, stamped at the fix that confirms it. An hour without a fix ends it.
    """
    trips: list[Found] = []
    anchor = candidate = fixes[0]
    began: Fix | None = None
    length_m = 0.0
    for before, now in pairwise(fixes):
        length_m += metres(before, now)
        if (now.recorded_at - before.recorded_at).total_seconds() > _GAP_S:
            if began is not None:
                trips.append(Found(began.recorded_at, before.recorded_at, length_m))
            began, anchor, candidate, length_m = None, now, now, 0.0
            continue
        if began is None:
            if metres(anchor, now) > _MIN_DISTANCE_M:
                began, candidate = anchor, now
            elif _speed_mps(before, now) < _MOVES_MPS:
                anchor, length_m = now, 0.0
            continue
        if metres(candidate, now) > _MIN_DISTANCE_M:
            candidate = now
        elif (now.recorded_at - candidate.recorded_at).total_seconds() >= _STANDS_S:
            trips.append(Found(began.recorded_at, now.recorded_at, length_m))
            began, anchor, candidate, length_m = None, now, now, 0.0
    if began is not None:
        trips.append(Found(began.recorded_at, fixes[-1].recorded_at, length_m))
    return Verdict(trips, [], trips)


RIVALS: Final = {"baseline": speed_threshold, "traccar": traccar}
