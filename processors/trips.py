"""Trips: from leaving a standstill to the next real stop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from processors.geodesy import Point
from processors.segments import Segment, SegmentState


@dataclass(frozen=True, slots=True)
class Trip:
    """A trip, or as much of one as is known. Standing in traffic is part of it."""

    started_at: datetime
    ended_at: datetime
    start: Point
    end: Point
    distance_m: float = 0.0
    driving: timedelta = timedelta()
    idling: timedelta = timedelta()
    is_open: bool = True

    def extended(self, segment: Segment) -> Trip:
        """Return the trip with one more segment at its end."""
        length = segment.ended_at - segment.started_at
        return replace(
            self,
            ended_at=segment.ended_at,
            end=segment.end,
            distance_m=self.distance_m + segment.distance_m,
            driving=self.driving + length * (segment.state is SegmentState.DRIVING),
            idling=self.idling + length * (segment.state is SegmentState.IDLING),
        )

    def closed(self) -> Trip:
        """Return the trip as ended where it is."""
        return replace(self, is_open=False)
