"""Segments: maximal intervals of one state that tile a vehicle's timeline (law 1)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from processors.geodesy import Point
from processors.legs import Leg


class SegmentState(StrEnum):
    """What a vehicle does for a while."""

    DRIVING = "driving"
    IDLING = "idling"
    PARKED = "parked"
    OFFLINE = "offline"


class Segment(NamedTuple):
    """An interval of one state. `moved` says of an offline one that the vehicle was elsewhere.

    `distance_m` is what was driven; for an offline segment the straight line across it. `private`
    says of an offline one that the driver had the tracker in private mode.
    """

    state: SegmentState
    started_at: datetime
    ended_at: datetime
    start: Point
    end: Point
    distance_m: float
    moved: bool = False
    private: bool = False

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return (self.ended_at - self.started_at).total_seconds()


class Stretch(NamedTuple):
    """Pieces of one state that follow each other: driving, or standing at one place.

    `instants` are where they begin and the end of the last one, `starts` where the vehicle was at
    the beginning of each; `metres` is how far each was driven, and empty where it stood.
    """

    state: SegmentState
    instants: list[datetime]
    starts: list[Point]
    metres: list[float]


def at_standstill(leg: Leg) -> Segment:
    """Return the segment of a leg between two trips: idling with the engine on, else parked."""
    state = SegmentState.IDLING if leg.engine else SegmentState.PARKED
    return Segment(state, leg.started_at, leg.ended_at, leg.start, leg.end, 0.0)


def merged(last: Segment, following: Segment) -> Segment | None:
    """Return both as one segment where they are alike, else None.

    Two offline segments stay two, as a fix lies between them; but private mode is one whole.
    """
    if last.state is not following.state:
        return None
    if last.state is SegmentState.OFFLINE and not (last.private and following.private):
        return None
    return Segment(
        last.state,
        last.started_at,
        following.ended_at,
        last.start,
        following.end,
        last.distance_m + following.distance_m,
        last.moved or following.moved,
        last.private,
    )
