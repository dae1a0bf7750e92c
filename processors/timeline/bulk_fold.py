"""Bulk fold: many fixes in one go where nothing changes, with the same result as one by one.

Nearly all the time a vehicle stands or drives, and each further fix only says so again. What lies
between consecutive fixes is measured for all vehicles at once, in columns; and a `BulkFold` takes
as many fixes as say the same thing without looking at each of them. What is out of the ordinary is
left to `Fold.take`, which alone decides what a fix means (`tests/property/test_bulk_fold.py` holds
both against each other).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import timedelta
from itertools import repeat
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from processors.geodesy import Point, is_within, lengths_m
from processors.timeline import pending_legs
from processors.timeline.checkpoints import are_due
from processors.timeline.fold import Fold
from processors.timeline.legs import Leg
from processors.timeline.segments import SegmentPiece, SegmentState
from processors.timeline.trips import Trip
from schemas.events.fix import Reported
from schemas.fleet.rules import Rules

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_recorded_at, _odometer_m = attrgetter("recorded_at"), attrgetter("odometer_m")
_lat, _lon, _speed_mps = attrgetter("lat"), attrgetter("lon"), attrgetter("speed_mps")
_IGNITION: Final = {None: -1, False: 0, True: 1}


class LegColumns(NamedTuple):
    """What lies before each of consecutive fixes of a vehicle: the leg from the one before it.

    `plain` says that the leg is possible and no gap, `moving` whether the vehicle moved on it. Of
    those plain legs with the same ignition at both ends, on which it moved from its place are in
    `drives`, and on which it did not move in `stands`. The first fix of a vehicle has no leg. After
    those in `due` a state is to be kept.
    """

    length_m: list[float]
    plain: list[bool]
    moving: list[bool]
    drives: list[bool]
    stands: list[bool]
    due: list[bool]

    def before_due(self, first: int) -> int:
        """Return the first fix from one on after which a state is to be kept; past all if none."""
        try:
            return self.due.index(True, first)
        except ValueError:
            return len(self.due)

    def part(self, which: slice) -> LegColumns:
        """Return it for some of the fixes."""
        return LegColumns(
            self.length_m[which],
            self.plain[which],
            self.moving[which],
            self.drives[which],
            self.stands[which],
            self.due[which],
        )


def measure(  # noqa: PLR0913 - the columns
    *,
    lat: Floats,
    lon: Floats,
    recorded_us: NDArray[np.int64],
    speed_mps: Floats,
    ignition: NDArray[np.int8],
    begins: Mask,
    rules: Rules,
) -> LegColumns:
    """Return what lies before each fix, given in order of vehicle and time, all with a position.

    Instants are microseconds since 1970.
    `begins` marks the first fix of each vehicle. NaN stands for a speed that was not reported;
    `ignition` is compared only.
    """
    metres = lengths_m(lat, lon)
    duration_s = np.diff(recorded_us, prepend=recorded_us[:1]) / 1e6
    before_mps = np.concatenate((speed_mps[:1], speed_mps[:-1]))
    starts = np.where(np.isnan(before_mps), speed_mps, before_mps)
    ends = np.where(np.isnan(speed_mps), before_mps, speed_mps)
    limit_mps = rules.standstill_below_mps
    is_certain = ~np.isnan(starts) & ((starts >= limit_mps) == (ends >= limit_mps))
    # As `legs.is_moving`.
    quick = metres >= rules.noise_speed_mps * duration_s
    moving = np.where(
        metres > rules.position_noise_m,
        metres >= limit_mps * duration_s,
        np.where(is_certain, starts >= limit_mps, quick),
    )
    plain = (
        ~begins
        & (duration_s > 0)
        & (duration_s <= rules.gap_s)
        & ~(metres > rules.max_speed_mps * duration_s)
    )
    creeps = ~quick & (metres <= rules.rest_radius_m)
    alike = plain & (np.diff(ignition, prepend=ignition[:1]) == 0)
    return LegColumns(
        metres.tolist(),
        plain.tolist(),
        moving.tolist(),
        (alike & moving & ~creeps).tolist(),
        (alike & ~moving).tolist(),
        are_due(recorded_us).tolist(),
    )


def measure_legs(fixes: Sequence[Reported], rules: Rules) -> LegColumns | None:
    """Return what lies before each of consecutive fixes of a vehicle; before the first no leg.

    None where there is none, or one in private mode is among them: those are taken one by one.
    """
    lat = np.array(list(map(_lat, fixes)), np.float64)
    if not len(lat) or np.isnan(lat).any():
        return None
    seconds = [fix.recorded_at.timestamp() for fix in fixes]
    begins = np.zeros(len(fixes), bool)
    begins[0] = True
    return measure(
        lat=lat,
        lon=np.array(list(map(_lon, fixes)), np.float64),
        recorded_us=np.rint(np.array(seconds) * 1e6).astype(np.int64),
        speed_mps=np.array(list(map(_speed_mps, fixes)), np.float64),
        ignition=np.array([_IGNITION[fix.ignition] for fix in fixes], np.int8),
        begins=begins,
        rules=rules,
    )


class BulkFold(Fold):
    """A fold that takes stretches of fixes."""

    def run(self, fixes: Sequence[Reported], legs: LegColumns, first: int, end: int) -> int:
        """Take `fixes[first:end]` as far as they say the same; return the first not taken.

        `legs` are measured from `fixes`; none is taken where the fold is not at `fixes[first - 1]`.
        """
        if self.repeat is not None:
            self._release_at(fixes[first - 1], is_possible=legs.plain[first])
        if (
            not legs.plain[first]
            or self.repeat is not None
            or self._candidate
            or self._seen_at is not None
            or self.at != fixes[first - 1].recorded_at
        ):
            return first
        trip, tail, engine = self._trip, self._tail, self._engine
        settled = self._ignition is engine
        if trip is None:
            if tail or not settled or not legs.stands[first]:
                return first
            return self._stand(fixes, first, _index(legs.stands, first, end))
        if settled and legs.drives[first] and all(leg.engine is engine for leg in tail):
            index = self._drive(trip, fixes, legs, first, _index(legs.drives, first, end))
            if index > first:
                return index
        return self._wait(fixes, legs, first, end) if tail else first

    def _release_at(self, last: Reported, *, is_possible: bool) -> None:
        """Let a repeat count that is the last fix, if the next one is possible after it.

        And if it brings neither a trip nor the end of one, which are for `take` to tell.
        """
        repeat = self.repeat
        if (
            is_possible
            and repeat is not None
            and repeat.suspect.recorded_at == last.recorded_at
            and self._trip is None
            and self._near(self._anchor, self._point)
        ):
            self.release()

    def _stand(self, fixes: Sequence[Reported], first: int, end: int) -> int:
        """Stand on at the place, with nothing in doubt."""
        anchor, limit_m = self._anchor, min(self._rest_m, self._far_m)
        instants, starts, point = [self.at], [], self._point
        index = first
        while index < end:
            fix = fixes[index]
            there = _point(fix)
            if there != anchor and not is_within(anchor, there, limit_m):
                break
            instants.append(fix.recorded_at)
            starts.append(point)
            point = there
            index += 1
        if index > first and starts[-1] == point:
            lasts_s = (instants[-1] - instants[-2]).total_seconds()
            if lasts_s >= self._stop_s:  # a repeat: what follows may tell otherwise
                point = starts.pop()
                instants.pop()
                index -= 1
        if index > first:
            state = SegmentState.IDLING if self._engine else SegmentState.PARKED
            self._emit([SegmentPiece(state, instants, starts, point)])
            self._follow(fixes[index - 1], point)
        return index

    def _drive(
        self, trip: Trip, fixes: Sequence[Reported], legs: LegColumns, first: int, end: int
    ) -> int:
        """Travel on: nothing is an arrival while each leg drives on, for as long as one is open."""
        tail = self._tail
        opened_at = tail[0].started_at if tail else self.at
        last_at = opened_at + timedelta(seconds=self._rules.open_at_most_s)
        if fixes[end - 1].recorded_at >= last_at:
            end = bisect_left(fixes, last_at, first, end, key=_recorded_at)
            if end == first:
                return first
        driven = fixes[first:end]
        points = [self._point, *map(Point, map(_lat, driven), map(_lon, driven))]
        instants = [self.at, *map(_recorded_at, driven)]
        readings = [self._odometer_m, *map(_odometer_m, driven)]
        legs_on = zip(
            instants[:-1],
            instants[1:],
            points[:-1],
            points[1:],
            legs.length_m[first:end],
            repeat(True, len(driven)),
            repeat(self._engine, len(driven)),
            readings[:-1],
            readings[1:],
            strict=True,
        )
        tail += map(Leg._make, legs_on)
        arrival = pending_legs.possible_arrival(self._tail, self._far_m, first=0)
        self._trip, pieces = trip.travelled(tail[:arrival], self._rules)
        self._emit(pieces)
        self._tail = tail[arrival:]
        self._follow(driven[-1], points[-1])
        return end

    def _wait(self, fixes: Sequence[Reported], legs: LegColumns, first: int, end: int) -> int:
        """Stay near the place of a possible arrival, before it can be one: nothing is final."""
        tail, rules = self._tail, self._rules
        place, since = tail[0].start, tail[0].started_at
        at, point, ignition, odometer_m = self.at, self._point, self._ignition, self._odometer_m
        index = first
        while index < end and legs.plain[index]:
            fix = fixes[index]
            there, now = _point(fix), fix.recorded_at
            if (now - since).total_seconds() >= rules.stop_after_s or not self._near(place, there):
                break
            reading_m = fix.odometer_m
            length_m, moving = legs.length_m[index], legs.moving[index]
            tail.append(
                Leg(at, now, point, there, length_m, moving, ignition, odometer_m, reading_m)
            )
            at, point, odometer_m = now, there, reading_m
            if fix.ignition is not None:
                ignition = fix.ignition
            index += 1
        if index > first:
            self._ignition = ignition
            self._follow(fixes[index - 1], point)
        return index

    def _follow(self, fix: Reported, point: Point) -> None:
        """Be at the last fix of a stretch."""
        self.departed_at = self.ended = None
        self.at = fix.recorded_at
        self._point = point
        self._speed_mps = fix.speed_mps
        self._odometer_m = fix.odometer_m


def _point(fix: Reported) -> Point:
    if fix.lat is None or fix.lon is None:
        raise ValueError(f"fix at {fix.recorded_at} has no position, and was measured")
    return Point(fix.lat, fix.lon)


def _index(flags: list[bool], first: int, end: int) -> int:
    """Return the first index from `first` on that is False; `end` if none."""
    try:
        return flags.index(False, first, end)
    except ValueError:
        return end
