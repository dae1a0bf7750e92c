"""Segments: maximal intervals of one state that tile a vehicle's timeline (law 1)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from functools import reduce
from itertools import groupby
from operator import add
from typing import NamedTuple

from processors.geodesy import Point
from processors.timeline.legs import Leg


class SegmentState(StrEnum):
    """What a vehicle does for a while."""

    DRIVING = "driving"
    IDLING = "idling"
    PARKED = "parked"
    OFFLINE = "offline"


class Segment(NamedTuple):
    """An interval of one state. `moved` says of an offline one that the vehicle drove meanwhile.

    It is elsewhere then, or its odometer knows of a drive. `distance_m` is what was driven; for an
    offline segment what the odometer says, where it can be believed, else the straight line across
    it. `private` says of an offline one that the driver had the tracker in private mode.
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


class SegmentPiece(NamedTuple):
    """Consecutive legs of one state, a piece of a segment.

    `instants` are where they begin and the end of the last one, `starts` where the vehicle was at
    each beginning and `end` where it was at last. `metres` is how far each leg was driven, or
    what is known of an offline one, which is always alone; where the vehicle stood it is empty.
    """

    state: SegmentState
    instants: Sequence[datetime]
    starts: Sequence[Point]
    end: Point
    metres: Sequence[float] = ()
    moved: bool = False
    private: bool = False

    def after(self, last: Segment | None) -> tuple[Segment, bool]:
        """Return the segment that this belongs to, and whether it is the last one, longer now.

        Two offline ones stay two, as a fix lies between them; but private mode is one whole.
        Metres are added leg by leg, however many legs came in one piece: a sum of floats depends
        on the order.
        """
        longer = (
            last is not None
            and last.state is self.state
            and (self.state is not SegmentState.OFFLINE or (last.private and self.private))
        )
        if last is None or not longer:
            segment = Segment(
                self.state,
                self.instants[0],
                self.instants[-1],
                self.starts[0],
                self.end,
                reduce(add, self.metres) if self.metres else 0.0,
                self.moved,
                self.private,
            )
            return segment, False
        segment = Segment(
            last.state,
            last.started_at,
            self.instants[-1],
            last.start,
            self.end,
            reduce(add, self.metres, last.distance_m),
            last.moved or self.moved,
            last.private,
        )
        return segment, True


def standing(legs: Sequence[Leg]) -> list[SegmentPiece]:
    """Return legs that are no part of a trip's driving: idling with the engine on, else parked."""
    stretches = []
    for state, group in groupby(legs, _standing_state):
        alike = list(group)
        stretches.append(SegmentPiece(state, *_course(alike)))
    return stretches


def driving(legs: Sequence[Leg], metres: Sequence[float]) -> SegmentPiece:
    """Return driven legs, with how far each of them counts."""
    return SegmentPiece(SegmentState.DRIVING, *_course(legs), metres)


def _course(legs: Sequence[Leg]) -> tuple[list[datetime], list[Point], Point]:
    last = legs[-1]
    instants = [leg.started_at for leg in legs]
    instants.append(last.ended_at)
    return instants, [leg.start for leg in legs], last.end


def _standing_state(leg: Leg) -> SegmentState:
    return SegmentState.IDLING if leg.engine else SegmentState.PARKED
