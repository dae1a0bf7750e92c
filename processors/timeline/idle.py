"""Idle intervals: standing with the engine on for longer than 200 s (Geotab's rule)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from processors.geodesy import Point
from processors.timeline.segments import Segment, SegmentState
from processors.usage.energy import Consumption, consumption
from schemas.fleet.master_data import Vehicle
from schemas.fleet.rules import Rules


@dataclass(frozen=True, slots=True)
class IdleInterval:
    """An idling segment long enough to report, and what it cost."""

    started_at: datetime
    ended_at: datetime
    at: Point
    cost: Consumption


def idle_intervals(
    segments: Iterable[Segment], vehicle: Vehicle, rules: Rules
) -> tuple[IdleInterval, ...]:
    """Return the idling segments that last longer than `rules.idle_reported_after_s`."""
    return tuple(
        IdleInterval(
            segment.started_at,
            segment.ended_at,
            segment.start,
            consumption(vehicle, distance_m=0.0, idling=segment.ended_at - segment.started_at),
        )
        for segment in segments
        if segment.state is SegmentState.IDLING and segment.duration_s > rules.idle_reported_after_s
    )
