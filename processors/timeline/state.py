"""The state of a vehicle's fold, and the timeline it gives if no further fix comes.

What may still change is kept in the state, which stays small however long a vehicle stands or
drives.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from processors.geodesy import Point
from processors.timeline.ignition_debounce import debounce
from processors.timeline.legs import Leg
from processors.timeline.segments import Segment, SegmentPiece, standing
from processors.timeline.stale_position import Repeat
from processors.timeline.trips import Trip
from schemas.events.fix import Reported
from schemas.fleet.rules import Rules


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where the fold stands: between trips, or on one when `trip` is there.

    `building` is the last final segment, which the next piece may still lengthen. `tail` are the
    legs after it whose meaning is open: a departure, an arrival or an ignition that is not yet
    confirmed. While travelling, `tail[candidate].start` is where the vehicle may have arrived;
    while standing, a departure lies from `tail[candidate]` on. `anchor` is where it last stood.
    In private mode, `point` is where it was seen last, at `seen_at`; else that is None. `doubted`
    says that the last fix was far from the anchor, and is believed once another one is. `repeat` is
    a fix after all this: the next ones tell whether it counts, and until then it does.
    """

    at: datetime
    point: Point
    speed_mps: float | None
    ignition: bool | None
    engine: bool | None
    anchor: Point
    tail: tuple[Leg, ...] = ()
    candidate: int = 0
    building: Segment | None = None
    trip: Trip | None = None
    odometer_m: float | None = None
    seen_at: datetime | None = None
    doubted: bool = False
    repeat: Repeat | None = None

    @property
    def last_at(self) -> datetime:
        """When the last fix was that counts, as far as is known."""
        return self.at if self.repeat is None else self.repeat.suspect.recorded_at

    @property
    def settled_until(self) -> datetime:
        """Up to here states are final; later ones may still change."""
        return self.tail[0].started_at if self.tail else self.at


def begin(fix: Reported) -> Timeline:
    """Return the timeline of a vehicle's first fix: standing there, until it has left.

    Raises `ValueError` for a fix without a position: a timeline begins at a place.
    """
    point = fix_point(fix)
    if point is None:
        raise ValueError(f"fix at {fix.recorded_at} has no position; begin with one that has")
    return Timeline(
        at=fix.recorded_at,
        point=point,
        speed_mps=fix.speed_mps,
        ignition=fix.ignition,
        engine=fix.ignition,
        anchor=point,
        odometer_m=fix.odometer_m,
    )


def fix_point(fix: Reported) -> Point | None:
    """Return where a fix was, None in private mode."""
    if fix.lat is None or fix.lon is None:
        return None
    return Point(fix.lat, fix.lon)


def provisional(timeline: Timeline, rules: Rules) -> tuple[list[SegmentPiece], Trip | None]:
    """Return the pieces after the final ones, and the open trip, if no further fix comes.

    A `repeat` is left out: let the fold take it first.
    """
    legs, _ = debounce(timeline.tail, before=timeline.engine, noise_s=rules.ignition_noise_s)
    if timeline.trip is None:
        return standing(legs), None
    trip, pieces = timeline.trip.travelled(legs, rules)
    return pieces, trip
