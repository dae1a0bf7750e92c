"""Trips: from leaving a standstill to the next real stop."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from processors.geodesy import Point
from processors.segments import Segment, SegmentState

_NONE = timedelta()


class Trip(NamedTuple):
    """A trip, or as much of one as is known. Standing in traffic is part of it."""

    started_at: datetime
    ended_at: datetime
    start: Point
    end: Point
    distance_m: float = 0.0
    driving: timedelta = _NONE
    idling: timedelta = _NONE
    is_open: bool = True

    def extended(self, segment: Segment) -> Trip:
        """Return the trip with one more segment at its end."""
        length = segment.ended_at - segment.started_at
        driving, idling = self.driving, self.idling
        if segment.state is SegmentState.DRIVING:
            driving += length
        elif segment.state is SegmentState.IDLING:
            idling += length
        return Trip(
            self.started_at,
            segment.ended_at,
            self.start,
            segment.end,
            self.distance_m + segment.distance_m,
            driving,
            idling,
            self.is_open,
        )

    def closed(self) -> Trip:
        """Return the trip as ended where it is."""
        return self._replace(is_open=False)
