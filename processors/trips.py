"""Trips: from leaving a standstill to the next real stop."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from processors.geodesy import Point
from processors.legs import Leg
from processors.mileage import Mileage
from processors.segments import Segment, SegmentState, at_standstill
from schemas.rules import Rules

_NONE = timedelta()


class Trip(NamedTuple):
    """A trip, or as much of one as is known. Standing in traffic is part of it.

    `motion_only` says that no ignition was ever reported on it: then nothing tells idling from
    driving, and all of it is driving.
    """

    started_at: datetime
    ended_at: datetime
    start: Point
    end: Point
    driving: timedelta = _NONE
    idling: timedelta = _NONE
    is_open: bool = True
    motion_only: bool = True
    mileage: Mileage = Mileage()

    @property
    def distance_m(self) -> float:
        """Metres driven."""
        return self.mileage.counted_m

    def travelled(self, leg: Leg, rules: Rules) -> tuple[Trip, Segment]:
        """Return the trip with one more leg at its end, and the piece that the leg is.

        Standing in traffic is idling with the engine on and parked with it off. A vehicle that
        never reports ignition is driving all through its trip: nothing says that it was not.
        """
        driving, idling, mileage = self.driving, self.idling, self.mileage
        if leg.moving or leg.engine is None:
            mileage = mileage.driven(leg, rules)
            piece = Segment(
                SegmentState.DRIVING,
                leg.started_at,
                leg.ended_at,
                leg.start,
                leg.end,
                mileage.counted_m - self.mileage.counted_m,
            )
            driving += leg.ended_at - leg.started_at
        else:
            piece = at_standstill(leg)
            if leg.engine:
                idling += leg.ended_at - leg.started_at
        trip = Trip(
            self.started_at,
            leg.ended_at,
            self.start,
            leg.end,
            driving,
            idling,
            self.is_open,
            self.motion_only and leg.engine is None,
            mileage,
        )
        return trip, piece

    def closed(self) -> Trip:
        """Return the trip as ended where it is."""
        return self._replace(is_open=False)
