"""What truly happened on a day, to hold against what the stream finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from stream.simulator.drive import Motion

_STOP_S: Final = 180.0
"""A standstill this long ends a trip (the domain's rule for a real stop)."""


@dataclass(frozen=True, slots=True)
class TrueTrip:
    """From leaving a standstill until the next stop of at least 180 s."""

    vehicle_id: str
    started_at: datetime
    ended_at: datetime
    distance_m: float


@dataclass(frozen=True, slots=True)
class TrueIdle:
    """Standing with the engine on: at a light, on a visit, warming up."""

    vehicle_id: str
    started_at: datetime
    ended_at: datetime

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class DayTruth:
    """All trips, idling and seconds in motion of a day; vehicles by their scoped ids.

    Bikes and vehicles that report no ignition have their idling here as well, if they have any.
    """

    trips: tuple[TrueTrip, ...]
    idles: tuple[TrueIdle, ...]
    driving_s: Mapping[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return the truth as plain values, instants in ISO 8601."""
        return {
            "trips": [
                {
                    "vehicle_id": trip.vehicle_id,
                    "started_at": trip.started_at.isoformat(),
                    "ended_at": trip.ended_at.isoformat(),
                    "distance_m": round(trip.distance_m, 1),
                }
                for trip in self.trips
            ],
            "idles": [
                {
                    "vehicle_id": idle.vehicle_id,
                    "started_at": idle.started_at.isoformat(),
                    "ended_at": idle.ended_at.isoformat(),
                }
                for idle in self.idles
            ],
            "driving_s": {
                vehicle_id: round(seconds, 1) for vehicle_id, seconds in self.driving_s.items()
            },
        }


def trips_of(motion: Motion, vehicle_id: str, began: datetime) -> tuple[TrueTrip, ...]:
    """Return the trips of a day that began at an instant; shorter halts are part of a trip."""
    joined: list[tuple[float, float, float]] = []
    for departed_s, arrived_s, length_m in motion.drives:
        if joined and departed_s - joined[-1][1] < _STOP_S:
            first_s, _, before_m = joined.pop()
            joined.append((first_s, arrived_s, before_m + length_m))
        else:
            joined.append((departed_s, arrived_s, length_m))
    return tuple(
        TrueTrip(vehicle_id, began + timedelta(seconds=from_s), began + timedelta(seconds=to_s), m)
        for from_s, to_s, m in joined
    )


def idles_of(motion: Motion, vehicle_id: str, began: datetime) -> tuple[TrueIdle, ...]:
    """Return when the engine ran on a standing vehicle: engine time less time in motion."""
    moving = _moving(motion)
    true_idles: list[TrueIdle] = []
    switches = motion.engine_s.tolist()
    for on_s, off_s in zip(switches[::2], switches[1::2], strict=True):
        edges = [
            on_s,
            *(edge for span in moving if on_s <= span[0] < off_s for edge in span),
            off_s,
        ]
        true_idles += [
            TrueIdle(vehicle_id, began + timedelta(seconds=from_s), began + timedelta(seconds=to_s))
            for from_s, to_s in zip(edges[::2], edges[1::2], strict=True)
            if to_s > from_s
        ]
    return tuple(true_idles)


def driving_s(motion: Motion) -> float:
    """Return the seconds in motion."""
    return sum(to_s - from_s for from_s, to_s in _moving(motion))


def _moving(motion: Motion) -> list[tuple[float, float]]:
    """Return the intervals in motion, seconds since the day began: drives less their lights."""
    spans: list[tuple[float, float]] = []
    for departed_s, arrived_s, _ in motion.drives:
        edges = [departed_s]
        for light in motion.lights:
            if departed_s <= light[0] < arrived_s:
                edges += light
        edges.append(arrived_s)
        spans += list(pairwise(edges))[::2]
    return spans
