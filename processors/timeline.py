"""The timeline: a pure fold from a vehicle's fixes, in order of device time, to its segments.

`step()` takes one fix; `provisional()` tells what holds if no further fix comes. What a step
returns is final: no later fix changes it. What may still change is kept in the state, which stays
small however long a vehicle stands or drives.

The rules are those of DOMAIN.md: a trip starts when the vehicle is 200 m from its standstill and is
back-dated to the departure; it ends where no point 200 m away follows for 180 s, and is stamped
at the arrival; an hour without a fix is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from processors.engine import settle
from processors.geodesy import Point, distance_m
from processors.legs import Leg, is_moving
from processors.segments import Segment, SegmentState, at_standstill, joined, on_trip
from processors.trips import Trip
from schemas.fix import Fix
from schemas.rules import Rules

IMPOSSIBLE_LEG: Final = "impossible-leg"


class Phase(StrEnum):
    """Between trips, or on one."""

    STANDING = "standing"
    TRAVELLING = "travelling"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Where the fold stands.

    `building` is the last final segment, which the next piece may still lengthen. `tail` are the
    legs after it whose meaning is open: a departure, an arrival or an ignition that is not yet
    confirmed. While travelling, `tail[candidate].start` is where the vehicle may have arrived.
    """

    at: datetime
    point: Point
    speed_mps: float | None
    ignition: bool | None
    engine: bool | None
    phase: Phase
    anchor: Point
    tail: tuple[Leg, ...] = ()
    candidate: int = 0
    building: Segment | None = None
    trip: Trip | None = None

    @property
    def settled_until(self) -> datetime:
        """Up to here states are final; later ones may still change."""
        return self.tail[0].started_at if self.tail else self.at


@dataclass(frozen=True, slots=True)
class Step:
    """What one fix has brought: the new state and what is now final."""

    timeline: Timeline
    pieces: tuple[Segment, ...] = ()
    """Parts of segments, in order, that continue what was final before."""
    departed_at: datetime | None = None
    trip: Trip | None = None
    """The trip that ended."""
    refused: str | None = None
    """Why the fix is left out; the timeline is then unchanged."""


def begin(fix: Fix) -> Timeline:
    """Return the timeline of a vehicle's first fix: standing there, until it has left."""
    point = Point(fix.lat, fix.lon)
    return Timeline(
        at=fix.recorded_at,
        point=point,
        speed_mps=fix.speed_mps,
        ignition=fix.ignition,
        engine=fix.ignition,
        phase=Phase.STANDING,
        anchor=point,
    )


def step(timeline: Timeline, fix: Fix, rules: Rules) -> Step:
    """Take the next fix.

    Raises `ValueError` for a fix that is not newer than the last one: late fixes are folded again
    from an earlier state, in order.
    """
    point = Point(fix.lat, fix.lon)
    duration_s = (fix.recorded_at - timeline.at).total_seconds()
    if duration_s <= 0:
        raise ValueError(
            f"fix at {fix.recorded_at} is not after the last one at {timeline.at}; remedy: fold "
            "again from a state before it"
        )
    length_m = distance_m(timeline.point, point)
    if length_m > rules.max_speed_mps * duration_s:
        return Step(timeline, refused=IMPOSSIBLE_LEG)
    leg = Leg(
        started_at=timeline.at,
        ended_at=fix.recorded_at,
        start=timeline.point,
        end=point,
        distance_m=length_m,
        moving=is_moving(
            distance_m=length_m,
            duration_s=duration_s,
            start_speed_mps=timeline.speed_mps,
            end_speed_mps=fix.speed_mps,
            rules=rules,
        ),
        engine=timeline.ignition,
    )
    if duration_s > rules.gap_s:
        after = _across_gap(timeline, leg, rules)
    elif timeline.phase is Phase.STANDING:
        after = _while_standing(timeline, leg, rules)
    else:
        after = _while_travelling(timeline, leg, rules)
    arrived = replace(
        after.timeline,
        at=fix.recorded_at,
        point=point,
        speed_mps=fix.speed_mps,
        ignition=timeline.ignition if fix.ignition is None else fix.ignition,
    )
    return replace(after, timeline=arrived)


def provisional(timeline: Timeline, rules: Rules) -> tuple[tuple[Segment, ...], Trip | None]:
    """Return the pieces after the final ones, and the open trip, if no further fix comes."""
    legs, _ = settle(timeline.tail, before=timeline.engine, noise_s=rules.ignition_noise_s)
    if timeline.trip is None:
        return tuple(at_standstill(leg) for leg in legs), None
    pieces = tuple(on_trip(leg) for leg in legs)
    trip = timeline.trip
    for piece in pieces:
        trip = trip.extended(piece)
    return pieces, trip


def _while_standing(timeline: Timeline, leg: Leg, rules: Rules) -> Step:
    """Stand on, or depart once the vehicle is far enough from where it stood."""
    tail = (*timeline.tail, leg)
    if distance_m(timeline.anchor, leg.end) <= rules.trip_start_m:
        return _settle_standstill(replace(timeline, tail=tail), rules)
    departure = len(tail) - 1
    while departure and tail[departure].moving and tail[departure - 1].moving:
        departure -= 1
    legs, _ = settle(tail, before=timeline.engine, noise_s=rules.ignition_noise_s)
    stood = legs[:departure]
    travelled = tail[departure:]
    left = tail[departure]
    started = replace(
        timeline,
        phase=Phase.TRAVELLING,
        engine=stood[-1].engine if stood else timeline.engine,
        tail=travelled,
        # The place that the vehicle has just left cannot be where it arrives.
        candidate=_next_candidate(travelled, 1, rules),
        trip=Trip(left.started_at, left.started_at, left.start, left.start),
    )
    after = _settle_trip(_finalise(started, tuple(at_standstill(leg) for leg in stood)), rules)
    return replace(after, departed_at=left.started_at)


def _while_travelling(timeline: Timeline, leg: Leg, rules: Rules) -> Step:
    """Travel on, or stop once nothing far away has followed the arrival for long enough."""
    tail = (*timeline.tail, leg)
    candidate = _arrival_candidate(tail, timeline.candidate, rules)
    onward = replace(timeline, tail=tail, candidate=candidate)
    if candidate < len(tail):
        waited_s = (leg.ended_at - tail[candidate].started_at).total_seconds()
        if waited_s >= rules.stop_after_s:
            return _arrive(onward, _arrival(tail, candidate, otherwise=candidate), rules)
    return _settle_trip(Step(onward), rules)


def _across_gap(timeline: Timeline, leg: Leg, rules: Rules) -> Step:
    """End what was going on, and cross the gap parked or offline.

    Parked: the engine was off and the vehicle is where it was. Otherwise nobody knows.
    """
    before = Step(timeline)
    if timeline.phase is Phase.TRAVELLING:
        end = _arrival(timeline.tail, timeline.candidate, otherwise=len(timeline.tail))
        before = _arrive(timeline, end, rules)
    legs, _ = settle(
        before.timeline.tail, before=before.timeline.engine, noise_s=rules.ignition_noise_s
    )
    stood = _finalise(before.timeline, tuple(at_standstill(part) for part in legs))
    moved = leg.distance_m > rules.trip_start_m
    if leg.engine is False and not moved:
        across = at_standstill(replace(leg, engine=False))
    else:
        across = Segment(
            SegmentState.OFFLINE,
            leg.started_at,
            leg.ended_at,
            leg.start,
            leg.end,
            leg.distance_m,
            moved,
        )
    done = _finalise(replace(stood.timeline, tail=(), engine=leg.engine), (across,))
    stays = distance_m(done.timeline.anchor, leg.end) <= rules.trip_start_m
    return Step(
        replace(done.timeline, anchor=done.timeline.anchor if stays else leg.end),
        pieces=before.pieces + stood.pieces + done.pieces,
        trip=before.trip,
    )


def _arrive(timeline: Timeline, arrival: int, rules: Rules) -> Step:
    """End the trip at the start of `tail[arrival]`, or at the last fix if that is past the tail."""
    legs, _ = settle(timeline.tail, before=timeline.engine, noise_s=rules.ignition_noise_s)
    travelled = tuple(on_trip(leg) for leg in legs[:arrival])
    trip = timeline.trip
    if trip is None:
        raise AssertionError("a vehicle that travels is on a trip")
    for piece in travelled:
        trip = trip.extended(piece)
    stopped = replace(
        timeline,
        phase=Phase.STANDING,
        engine=legs[arrival - 1].engine if arrival else timeline.engine,
        anchor=trip.end,
        tail=timeline.tail[arrival:],
        candidate=0,
        trip=None,
    )
    ended = _finalise(stopped, travelled)
    stood = _settle_standstill(ended.timeline, rules)
    return Step(stood.timeline, pieces=ended.pieces + stood.pieces, trip=trip.closed())


def _arrival_candidate(tail: tuple[Leg, ...], candidate: int, rules: Rules) -> int:
    """Return the first leg from whose start no later point is 200 m away; past the end if none."""
    if candidate < len(tail) and _near(tail[candidate].start, tail[-1].end, rules):
        return candidate
    return _next_candidate(tail, candidate + 1, rules)


def _next_candidate(tail: tuple[Leg, ...], first: int, rules: Rules) -> int:
    for later in range(first, len(tail)):
        if all(_near(tail[later].start, leg.end, rules) for leg in reversed(tail[later:])):
            return later
    return len(tail)


def _arrival(tail: tuple[Leg, ...], candidate: int, *, otherwise: int) -> int:
    """Return the leg from the candidate on at whose start the vehicle had come to rest."""
    resting = (index for index in range(candidate, len(tail)) if not tail[index].moving)
    return next(resting, otherwise)


def _near(one: Point, other: Point, rules: Rules) -> bool:
    return distance_m(one, other) <= rules.trip_start_m


def _settle_standstill(timeline: Timeline, rules: Rules) -> Step:
    """Make final what no departure and no ignition can change any more.

    A last run of moving legs may turn out to be a departure. Earlier ones, from which the
    vehicle came back to rest, were manoeuvres or jitter.
    """
    tail = timeline.tail
    leaving = len(tail)
    while leaving and tail[leaving - 1].moving:
        leaving -= 1
    legs, for_good = settle(tail, before=timeline.engine, noise_s=rules.ignition_noise_s)
    final = min(leaving, for_good)
    kept = replace(
        timeline, engine=legs[final - 1].engine if final else timeline.engine, tail=tail[final:]
    )
    return _finalise(kept, tuple(at_standstill(leg) for leg in legs[:final]))


def _settle_trip(before: Step, rules: Rules) -> Step:
    """Make final what lies before a possible arrival and before an ignition in doubt."""
    timeline = before.timeline
    if timeline.trip is None:
        raise AssertionError("a vehicle that travels is on a trip")
    legs, for_good = settle(timeline.tail, before=timeline.engine, noise_s=rules.ignition_noise_s)
    final = min(timeline.candidate, for_good)
    pieces = tuple(on_trip(leg) for leg in legs[:final])
    trip = timeline.trip
    for piece in pieces:
        trip = trip.extended(piece)
    kept = replace(
        timeline,
        engine=legs[final - 1].engine if final else timeline.engine,
        tail=timeline.tail[final:],
        candidate=timeline.candidate - final,
        trip=trip,
    )
    after = _finalise(kept, pieces)
    return Step(after.timeline, pieces=before.pieces + after.pieces)


def _finalise(timeline: Timeline, pieces: tuple[Segment, ...]) -> Step:
    """Append pieces to what is final."""
    building: tuple[Segment, ...] = () if timeline.building is None else (timeline.building,)
    for piece in pieces:
        building = joined(building, piece)[-1:]
    return Step(replace(timeline, building=building[-1] if building else None), pieces=pieces)
