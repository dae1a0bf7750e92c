"""Trips: from leaving a standstill to the next real stop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from processors.geodesy import Point
from processors.timeline.legs import Leg
from processors.timeline.mileage import Mileage
from processors.timeline.segments import SegmentPiece, SegmentState, driving, standing
from schemas.fleet.rules import Rules

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

    def travelled(self, legs: Sequence[Leg], rules: Rules) -> tuple[Trip, list[SegmentPiece]]:
        """Return the trip with more legs at its end, and the pieces that they are.

        Standing in traffic is idling with the engine on and parked with it off. A vehicle that
        never reports ignition is driving all through its trip: nothing says that it was not.
        """
        driven, idled, mileage = self.driving, self.idling, self.mileage
        pieces: list[SegmentPiece] = []
        for drives, group in groupby(legs, _drives):
            alike = list(group)
            if not drives:
                stood = standing(alike)
                pieces += stood
                for piece in stood:
                    if piece.state is SegmentState.IDLING:
                        idled += piece.instants[-1] - piece.instants[0]
                continue
            mileage, metres = mileage.driven(
                [leg.distance_m for leg in alike],
                alike[0].start_odometer_m,
                [leg.end_odometer_m for leg in alike],
                rules,
            )
            pieces.append(driving(alike, metres))
            driven += alike[-1].ended_at - alike[0].started_at
        if not legs:
            return self, pieces
        trip = Trip(
            self.started_at,
            legs[-1].ended_at,
            self.start,
            legs[-1].end,
            driven,
            idled,
            self.is_open,
            self.motion_only and all(leg.engine is None for leg in legs),
            mileage,
        )
        return trip, pieces

    def closed(self) -> Trip:
        """Return the trip as ended where it is."""
        return self._replace(is_open=False)


def _drives(leg: Leg) -> bool:
    return leg.moving or leg.engine is None
