"""The pure fold from a vehicle's fixes, in order of device time, to the segments of its timeline.

`step()` takes one fix. What it returns is final: no later fix changes it. `Fold` is the same for
many fixes: a state that is moved along in place, alive within one call.

The rules are those of docs/domain.md: a trip starts when the vehicle is 200 m from its standstill
and is back-dated to the departure; it ends where no point 200 m away follows for 180 s, and is
stamped at the arrival; an hour without a fix is a gap. Departure and arrival are where the vehicle
left its place and came to its place: a red light within the 200 m is part of the trip. Where a
vehicle stands with its engine off, one position far away is no departure, as long as no other one
confirms it. A fix that says the last position again after a silence as long as a stop waits for the
next ones, which may tell that it is stale. What lies next to a fix in private mode is private:
where the vehicle was and what it did stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from processors.geodesy import Point, distance_m, is_within
from processors.timeline import pending_legs
from processors.timeline.ignition_debounce import debounce
from processors.timeline.legs import Leg, is_moving, unseen_m
from processors.timeline.segments import Segment, SegmentPiece, SegmentState, standing
from processors.timeline.stale_position import STALE_POSITION, Repeat, is_reachable, snapshot
from processors.timeline.state import Timeline, fix_point
from processors.timeline.trips import Trip
from schemas.events.fix import Reported
from schemas.fleet.rules import Rules

IMPOSSIBLE_LEG: Final = "impossible-leg"


@dataclass(frozen=True, slots=True)
class FoldStep:
    """What one fix has brought: the new state and what is now final."""

    timeline: Timeline
    pieces: tuple[SegmentPiece, ...] = ()
    """Parts of segments, in order, that continue what was final before."""
    departed_at: datetime | None = None
    trip: Trip | None = None
    """The trip that ended."""
    refused: str | None = None
    """Why the fix is left out."""
    verdicts: dict[datetime, str | None] = field(default_factory=dict)
    """Why fixes from before are left out after all, or None: they count."""


def step(timeline: Timeline, fix: Reported, rules: Rules) -> FoldStep:
    """Take the next fix.

    Raises `ValueError` for a fix that is not newer than the last one: late fixes are folded again
    from an earlier state, in order.
    """
    fold = Fold(timeline, rules)
    refused = fold.take(fix)
    return FoldStep(
        fold.timeline(),
        tuple(fold.pieces),
        fold.departed_at,
        fold.ended,
        refused,
        fold.verdicts,
    )


class Fold:
    """A timeline that moves along. After each `take`, read and clear what it has brought."""

    def __init__(self, timeline: Timeline, rules: Rules) -> None:
        self.pieces: list[SegmentPiece] = []
        """As `FoldStep.pieces`: whoever reads them clears them."""
        self.closed: list[Segment] = []
        """Segments that no further piece lengthens, since the fold began."""
        self.departed_at: datetime | None = None
        """As `FoldStep.departed_at`, of the last fix that was taken."""
        self.ended: Trip | None = None
        """As `FoldStep.trip`, of the last fix that was taken."""
        self.verdicts: dict[datetime, str | None] = {}
        """As `FoldStep.verdicts`, since they were read: whoever reads them clears them."""
        self.at = timeline.at
        self.building = timeline.building
        self._rules = rules
        self._noise_s = rules.ignition_noise_s
        self._far_m = rules.trip_start_m
        self._rest_m = rules.rest_radius_m
        self._stop_s = rules.stop_after_s
        self._max_mps = rules.max_speed_mps
        self._point = timeline.point
        self._speed_mps = timeline.speed_mps
        self._ignition = timeline.ignition
        self._engine = timeline.engine
        self._anchor = timeline.anchor
        self._tail = list(timeline.tail)
        self._candidate = timeline.candidate
        self._trip = timeline.trip
        self._odometer_m = timeline.odometer_m
        self._seen_at = timeline.seen_at
        self._doubted = timeline.doubted
        self.repeat = timeline.repeat
        """The last fix that counts, if the next ones may tell that it is stale."""

    def timeline(self) -> Timeline:
        """Return where the fold stands."""
        return Timeline(
            self.at,
            self._point,
            self._speed_mps,
            self._ignition,
            self._engine,
            self._anchor,
            tuple(self._tail),
            self._candidate,
            self.building,
            self._trip,
            self._odometer_m,
            self._seen_at,
            self._doubted,
            self.repeat,
        )

    def take(self, fix: Reported, *, waits: bool = True) -> str | None:
        """Take the next fix; return why it is left out, or None.

        One that repeats the last position `waits` for the next ones. Raises `ValueError` as `step`
        does.
        """
        if self.repeat is not None:
            return self._take_after(self.repeat, fix)
        at = fix.recorded_at
        duration_s = (at - self.at).total_seconds()
        if duration_s <= 0:
            raise ValueError(_not_after(fix, self.at))
        if fix.lat is None or fix.lon is None or self._seen_at is not None:
            return self._take_private(fix)
        point = Point(fix.lat, fix.lon)
        length_m = distance_m(self._point, point)
        if length_m > self._max_mps * duration_s:
            return IMPOSSIBLE_LEG
        if not length_m and duration_s >= self._stop_s and waits and point == self._point:
            self.departed_at = self.ended = None
            self.repeat = Repeat(snapshot(fix))
            return None
        moving = is_moving(
            distance_m=length_m,
            duration_s=duration_s,
            start_speed_mps=self._speed_mps,
            end_speed_mps=fix.speed_mps,
            rules=self._rules,
        )
        leg = Leg(
            self.at,
            at,
            self._point,
            point,
            length_m,
            moving,
            self._ignition,
            self._odometer_m,
            fix.odometer_m,
        )
        self.departed_at = self.ended = None
        if duration_s > self._rules.gap_s:
            self._across(leg, private=False)
        elif self._trip is None:
            self._while_standing(leg, fix)
        else:
            self._while_travelling(leg)
        self.at = at
        self._point = point
        self._speed_mps = fix.speed_mps
        self._odometer_m = fix.odometer_m
        if fix.ignition is not None:
            self._ignition = fix.ignition
        return None

    def _take_after(self, repeat: Repeat, fix: Reported) -> str | None:
        """Take the fix after a repeat: it may tell what that is, or have to wait for another."""
        suspect, rival = repeat
        if fix.recorded_at <= suspect.recorded_at:
            raise ValueError(_not_after(fix, suspect.recorded_at))
        if fix.lat is None or fix.lon is None:
            return self._take_after_release(fix)
        report, max_mps = snapshot(fix), self._max_mps
        if is_reachable(suspect.recorded_at, self._point, report, max_mps):
            return self._take_after_release(fix)
        if rival is not None and is_reachable(
            rival.recorded_at, Point(rival.lat, rival.lon), report, max_mps
        ):
            self.repeat = None
            self.verdicts |= {suspect.recorded_at: STALE_POSITION, rival.recorded_at: None}
            self.take(rival)
            return self._take_besides(fix)
        is_rival = is_reachable(self.at, self._point, report, max_mps)
        self.repeat = Repeat(suspect, report if is_rival else None)
        return IMPOSSIBLE_LEG

    def _take_after_release(self, fix: Reported) -> str | None:
        self.release()
        return self._take_besides(fix)

    def _take_besides(self, fix: Reported) -> str | None:
        """Take a fix that is possible, and let what the one before has brought stand."""
        departed_at, ended = self.departed_at, self.ended
        refused = self.take(fix)
        self.departed_at = self.departed_at or departed_at
        self.ended = self.ended or ended
        return refused

    def release(self) -> None:
        """Let a repeat count that waits, if one does."""
        repeat = self.repeat
        if repeat is None:
            return
        self.repeat = None
        self.verdicts[repeat.suspect.recorded_at] = None
        if repeat.rival is not None:
            self.verdicts[repeat.rival.recorded_at] = IMPOSSIBLE_LEG
        self.take(repeat.suspect, waits=False)

    def _take_private(self, fix: Reported) -> str | None:
        """Take a fix in private mode, or the first one after it: what lies before it is unknown."""
        at, point = fix.recorded_at, fix_point(fix)
        length_m = 0.0 if point is None else distance_m(self._point, point)
        seen_at = self.at if self._seen_at is None else self._seen_at
        if length_m > self._max_mps * (at - seen_at).total_seconds():
            return IMPOSSIBLE_LEG
        self.departed_at = self.ended = None
        end = self._point if point is None else point
        self._across(
            Leg(self.at, at, self._point, end, length_m, moving=False, engine=self._ignition),
            private=True,
        )
        self.at = at
        self._point = end
        self._speed_mps = fix.speed_mps
        self._odometer_m = fix.odometer_m
        self._seen_at = seen_at if point is None else None
        if fix.ignition is not None:
            self._ignition = fix.ignition
        return None

    def _while_standing(self, leg: Leg, fix: Reported) -> None:
        """Stand on, or depart once the vehicle is far enough from where it stood."""
        tail = self._tail
        tail.append(leg)
        if self._near(self._anchor, leg.end):
            self._doubted = False
            self._settle_standstill()
            return
        self._doubted = not self._doubted and self._is_at_rest(leg, fix)
        if self._doubted:
            return
        departure = pending_legs.departure(tail, self._anchor, self._rest_m, first=self._candidate)
        legs, _ = self._settled()
        self._emit(standing(legs[:departure]))
        if departure:
            self._engine = legs[departure - 1].engine
        left = tail[departure]
        self._tail = tail[departure:]
        # The place that the vehicle has just left cannot be where it arrives.
        self._candidate = pending_legs.possible_arrival(self._tail, self._far_m, first=1)
        self._trip = Trip(left.started_at, left.started_at, left.start, left.start)
        self.departed_at = left.started_at
        self._settle_trip(self._trip)

    def _is_at_rest(self, leg: Leg, fix: Reported) -> bool:
        """Return whether all but the position says that the vehicle stands: engine and speed."""
        moves = fix.speed_mps is not None and fix.speed_mps >= self._rules.standstill_below_mps
        return leg.engine is False and fix.ignition is not True and not moves

    def _while_travelling(self, leg: Leg) -> None:
        """Travel on, or stop once nothing far away has followed the arrival for long enough."""
        tail = self._tail
        tail.append(leg)
        candidate = self._candidate
        if candidate >= len(tail) or not self._near(tail[candidate].start, leg.end):
            candidate = pending_legs.possible_arrival(tail, self._far_m, first=candidate + 1)
            self._candidate = candidate
        if candidate < len(tail):
            waited_s = (leg.ended_at - tail[candidate].started_at).total_seconds()
            driving_on = leg.moving and not self._creeps(leg)
            over = not driving_on or waited_s >= self._rules.open_at_most_s
            if waited_s >= self._rules.stop_after_s and over:
                self._arrive(candidate)
                return
        if self._trip is None:
            raise AssertionError("a vehicle that travels is on a trip")
        self._settle_trip(self._trip)

    def _across(self, leg: Leg, *, private: bool) -> None:
        """End what was going on, and cross a gap or a private leg, parked or offline.

        Parked: no private leg, the engine was off, the vehicle is where it was, and its odometer
        knows of no drive. Otherwise nobody knows.
        """
        if self._trip is not None:
            self._arrive(len(self._tail))
        legs, _ = self._settled()
        self._emit(standing(legs))
        self._tail = []
        self._candidate = 0
        self._doubted = False
        by_odometer_m = None if private else unseen_m(leg, self._rules)
        moved = by_odometer_m is not None or leg.distance_m > self._far_m
        if leg.engine is False and not moved and not private:
            self._emit(standing([leg]))
        else:
            instants, starts = (leg.started_at, leg.ended_at), (leg.start,)
            metres = (leg.distance_m if by_odometer_m is None else by_odometer_m,)
            self._emit(
                [
                    SegmentPiece(
                        SegmentState.OFFLINE, instants, starts, leg.end, metres, moved, private
                    )
                ]
            )
        self._engine = leg.engine
        if not self._near(self._anchor, leg.end):
            self._anchor = leg.end

    def _arrive(self, otherwise: int) -> None:
        """End the trip where the vehicle came to its place, or else at the start of a leg."""
        arrival = pending_legs.arrival(
            self._tail, self._rest_m, first=self._candidate, otherwise=otherwise
        )
        trip = self._trip
        if trip is None:
            raise AssertionError("a vehicle that travels is on a trip")
        legs, _ = self._settled()
        trip, pieces = trip.travelled(legs[:arrival], self._rules)
        self._emit(pieces)
        if arrival:
            self._engine = legs[arrival - 1].engine
        self._anchor = trip.end
        self._tail = self._tail[arrival:]
        self._candidate = 0
        self._trip = None
        self.ended = trip.closed()
        self._settle_standstill()

    def _settle_standstill(self) -> None:
        """Make final what no departure and no ignition can change any more.

        All of it when the vehicle rests at its place, or has rested at another one nearby for as
        long as a stop takes: that is its place from then on. Else what came before it left.
        """
        tail = self._tail
        if not tail:
            return
        last = tail[-1]
        away = not is_within(self._anchor, last.end, self._rest_m)
        if not last.moving and (not away or self._has_stopped()):
            if away:
                self._anchor = last.end
            self._candidate = len(tail)
        else:
            left = pending_legs.departure(tail, self._anchor, self._rest_m, first=self._candidate)
            oldest = pending_legs.oldest_younger_than(tail, self._rules.open_at_most_s)
            self._candidate = max(left, oldest)
        legs, for_good = self._settled()
        final = min(self._candidate, for_good)
        if final:
            self._emit(standing(legs[:final]))
            self._engine = legs[final - 1].engine
            self._tail = tail[final:]
            self._candidate -= final

    def _has_stopped(self) -> bool:
        rested_s = pending_legs.rested_s(self._tail, first=self._candidate)
        return rested_s >= self._rules.stop_after_s

    def _settle_trip(self, trip: Trip) -> None:
        """Make final what lies before a possible arrival and before an ignition in doubt."""
        legs, for_good = self._settled()
        final = min(self._candidate, for_good)
        if final:
            self._trip, pieces = trip.travelled(legs[:final], self._rules)
            self._emit(pieces)
            self._engine = legs[final - 1].engine
            self._tail = self._tail[final:]
            self._candidate -= final

    def _settled(self) -> tuple[Sequence[Leg], int]:
        return debounce(self._tail, before=self._engine, noise_s=self._noise_s)

    def _creeps(self, leg: Leg) -> bool:
        """Return whether a leg is no more than drift at its place, or queueing there."""
        duration_s = (leg.ended_at - leg.started_at).total_seconds()
        slow = leg.distance_m < self._rules.noise_speed_mps * duration_s
        return slow and leg.distance_m <= self._rest_m

    def _near(self, point: Point, other: Point) -> bool:
        return is_within(point, other, self._far_m)

    def _emit(self, pieces: Iterable[SegmentPiece]) -> None:
        """Append pieces to what is final: the last segment is longer, or another one begins."""
        for piece in pieces:
            self.pieces.append(piece)
            segment, longer = piece.after(self.building)
            if self.building is not None and not longer:
                self.closed.append(self.building)
            self.building = segment


def _not_after(fix: Reported, last_at: datetime) -> str:
    return (
        f"fix at {fix.recorded_at} is not after the last one at {last_at}; remedy: fold again from "
        "a state before it"
    )
