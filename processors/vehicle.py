"""One vehicle's whole fold: fixes in, changes to its derived rows out.

`advance()` takes the state from before and the next fixes in order, and returns the state after
and what to write: for each kind of row the instant from which rows are replaced, and the new
ones. `Folding` is the same over portions of fixes. Whatever way a stream of fixes is cut into
batches, the rows end up the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Final, Generic, TypeVar

from processors.arrivals import NO_POSITION_YET
from processors.places import Places, places_of
from processors.round_trips import RoundTrip, RoundTrips
from processors.segments import Segment, Stretch
from processors.stretches import Measured, Runner
from processors.timeline import Timeline, begin, fix_point, provisional
from processors.trips import Trip
from processors.usage import UsageHour, UsageHours, hour_of
from schemas.fix import Fix, Reported
from schemas.fleet import Depot
from schemas.rules import Rules

Row = TypeVar("Row")

CHECKPOINT_EVERY: Final = timedelta(hours=6)
"""A state is kept for every so much of device time, so that late fixes fold again from there."""


@dataclass(frozen=True, slots=True)
class VehicleState:
    """Everything that the next fix of a vehicle needs to know.

    There is no timeline as long as all its fixes were in private mode.
    """

    timeline: Timeline | None
    hours: tuple[UsageHour, ...] = ()
    """Final usage of the hours that may still gain some."""
    round_trip: RoundTrip | None = None
    """The round trip underway, of ended trips."""
    parts: tuple[RoundTrip, ...] = ()
    """What it is split into once it is over-long; of one that is, the last part only."""


@dataclass(frozen=True, slots=True)
class Replaced(Generic[Row]):
    """Rows that take the place of the vehicle's rows from an instant on, to another one if any."""

    since: datetime
    rows: tuple[Row, ...]
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch of fixes changes in one vehicle's rows. The last segment is the open one."""

    segments: Replaced[Segment]
    trips: Replaced[Trip]
    round_trips: Replaced[RoundTrip]
    hours: Replaced[UsageHour]
    refused: tuple[tuple[Reported, str], ...]
    checkpoints: tuple[tuple[datetime, VehicleState], ...]


def advance(
    before: VehicleState | None,
    fixes: Sequence[Reported],
    depots: Sequence[Depot],
    rules: Rules,
    legs: Measured | None = None,
) -> tuple[VehicleState, Changes]:
    """Fold fixes, in order of device time and newer than the state, into a vehicle's rows.

    `legs` are measured from these fixes and rules, if they are: that makes no difference but speed.
    Raises `ValueError` for a fix that is not newer, and when there is neither state nor fix.
    """
    folding = Folding(before, depots, rules)
    folding.take(fixes, legs)
    return folding.result()


def silent(
    state: VehicleState, vehicle_id: str, until: datetime, depots: Sequence[Depot], rules: Rules
) -> Changes:
    """Return what holds of a vehicle that is not heard of until an instant, a gap or more later.

    It is as if it reported then from where it was, with the engine as it was: its trip has ended,
    and it is parked if the engine was off, else offline. The state is not moved, so that whatever
    it sends later counts as if this had never been said. Checkpoints are none of its. Raises
    `ValueError` for a vehicle that has no timeline yet.
    """
    timeline = state.timeline
    if timeline is None:
        raise ValueError(f"{vehicle_id} was never seen anywhere: it has no timeline to go on")
    at = timeline.point
    report = Fix(vehicle_id=vehicle_id, recorded_at=until, lat=at.lat, lon=at.lon)
    _, changes = advance(state, (report,), depots, rules)
    return replace(changes, checkpoints=())


@dataclass(frozen=True, slots=True)
class _Open:
    """From where on the rows of a state are not final: what follows it may still change them."""

    segments: datetime
    trips: datetime
    round_trips: datetime
    hours: datetime


class Folding:
    """A vehicle's fold under way, over any number of portions of fixes; alive within one call.

    Cut into portions at will: `state()` and `changes()` are those of all that was taken.
    """

    def __init__(self, before: VehicleState | None, depots: Sequence[Depot], rules: Rules) -> None:
        self._rules = rules
        self._places = places_of(depots)
        self._early: list[tuple[Reported, str]] = []
        self._run: _Run | None = None
        if before is not None and before.timeline is not None:
            self._run = _Run(before, before.timeline, self._places, rules)

    def take(
        self, fixes: Sequence[Reported], legs: Measured | None = None
    ) -> list[tuple[Reported, str]]:
        """Take the next fixes, in order; return which of them are left out, and why.

        `legs` as of `advance`. Raises `ValueError` for one that is not newer than the one before.
        """
        early: list[tuple[Reported, str]] = []
        first = 0
        if self._run is None:
            for fix in fixes:
                first += 1
                if fix_point(fix) is None:
                    early.append((fix, NO_POSITION_YET))
                    continue
                timeline = begin(fix)
                self._run = _Run(VehicleState(timeline), timeline, self._places, self._rules)
                break
        self._early += early
        return early if self._run is None else early + self._run.take(fixes, first, legs)

    def state(self) -> VehicleState:
        """Return the state after what was taken.

        Raises `ValueError` when there was neither a state nor a fix.
        """
        if self._run is not None:
            return self._run.state()
        if not self._early:
            raise ValueError("no fix: a vehicle begins with its first one")
        return VehicleState(None)

    def result(self, *, as_before: bool = False) -> tuple[VehicleState, Changes]:
        """Return the state after what was taken, and what to write if no further fix comes.

        `as_before` says that the state is what it once was after the same fix, and that the same
        fixes follow: rows that rest on it are there already, and stay. Raises as `state` does.
        """
        state = self.state()
        if self._run is not None:
            changes = self._run.changes(state, as_before=as_before)
            return state, _with_early(changes, self._early) if self._early else changes
        since = self._early[0][0].recorded_at
        return state, Changes(
            Replaced(since, ()),
            Replaced(since, ()),
            Replaced(since, ()),
            Replaced(hour_of(since), ()),
            tuple(self._early),
            (),
        )


def _with_early(changes: Changes, early: Sequence[tuple[Reported, str]]) -> Changes:
    """Return changes with the fixes before the timeline's beginning left out.

    Rows from there on give way as well: what was a position once may be private now.
    """
    since = early[0][0].recorded_at
    return replace(
        changes,
        segments=replace(changes.segments, since=since),
        trips=replace(changes.trips, since=since),
        round_trips=replace(changes.round_trips, since=since),
        hours=replace(changes.hours, since=hour_of(since)),
        refused=(*early, *changes.refused),
    )


class _Run:
    """A fold that has a timeline."""

    def __init__(
        self, before: VehicleState, timeline: Timeline, places: Places, rules: Rules
    ) -> None:
        self._rules = rules
        self._fold = Runner(timeline, rules)
        self._strung = RoundTrips(before.round_trip, before.parts, places, rules)
        self._usage = UsageHours(before.hours, places)
        self._since = _open(timeline, self._strung.since)
        self._trips: list[Trip] = []
        self._refused: list[tuple[Reported, str]] = []
        self._checkpoints: list[tuple[datetime, VehicleState]] = []
        self._period_ends = checkpoint_due(timeline.at)

    def take(
        self, fixes: Sequence[Reported], first: int, legs: Measured | None
    ) -> list[tuple[Reported, str]]:
        refused: list[tuple[Reported, str]] = []
        fold, usage, strung = self._fold, self._usage, self._strung
        period_ends = self._period_ends
        index, end = first, len(fixes)
        run_to = 0 if legs is None else self._before_checkpoint(fixes, first)
        while index < end:
            if index < run_to and legs is not None:
                at, index = index, fold.run(fixes, legs, index, run_to)
                if index > at:
                    self._use_pieces()
                    continue
            fix = fixes[index]
            index += 1
            reason = fold.take(fix)
            if reason is not None:
                refused.append((fix, reason))
                continue
            self._use_pieces()
            if fold.departed_at is not None:
                usage.depart(fold.departed_at)
            if fold.ended is not None:
                self._trips.append(fold.ended)
                strung.add(fold.ended)
            if fix.recorded_at >= period_ends:
                period_ends = checkpoint_due(fix.recorded_at)
                self._period_ends = period_ends
                self._checkpoints.append((fix.recorded_at, self.state()))
                if legs is not None:
                    run_to = self._before_checkpoint(fixes, index)
        self._refused += refused
        return refused

    def _before_checkpoint(self, fixes: Sequence[Reported], first: int) -> int:
        """Return the first fix that a checkpoint is due at; past all if none."""
        if first == len(fixes) or fixes[-1].recorded_at < self._period_ends:
            return len(fixes)
        return bisect_left(fixes, self._period_ends, first, key=attrgetter("recorded_at"))

    def _use_pieces(self) -> None:
        """Share out what is final to the hours."""
        fold, usage = self._fold, self._usage
        for piece in fold.pieces:
            usage.add(piece)
        fold.pieces.clear()

    def state(self) -> VehicleState:
        timeline = self._fold.timeline()
        hours = self._usage.since(timeline.settled_until)
        return VehicleState(timeline, hours, self._strung.underway, self._strung.parts)

    def changes(self, state: VehicleState, *, as_before: bool) -> Changes:
        fold, strung, since = self._fold, self._strung, self._since
        timeline = state.timeline
        if timeline is None:
            raise AssertionError("a fold that has a timeline keeps it")
        refused, checkpoints = tuple(self._refused), tuple(self._checkpoints)
        if as_before:
            until = _open(timeline, state.parts[0].started_at if state.parts else None)
            return Changes(
                Replaced(since.segments, tuple(fold.closed), until.segments),
                Replaced(since.trips, tuple(self._trips), until.trips),
                Replaced(since.round_trips, tuple(strung.ended), until.round_trips),
                Replaced(since.hours, self._usage.between(since.hours, until.hours), until.hours),
                refused,
                checkpoints,
            )
        pieces, open_trip = provisional(timeline, self._rules)
        for piece in pieces:
            self._usage.add(piece)
        trips = self._trips if open_trip is None else [*self._trips, open_trip]
        still = strung.not_ended()
        ended = strung.ended if still is None else [*strung.ended, still]
        return Changes(
            Replaced(since.segments, (*fold.closed, *_tiled(fold.building, pieces))),
            Replaced(since.trips, tuple(trips)),
            Replaced(since.round_trips, tuple(ended)),
            Replaced(since.hours, self._usage.since(since.hours)),
            refused,
            checkpoints,
        )


def _open(timeline: Timeline, strung_since: datetime | None) -> _Open:
    """Return from where on rows may still change, given where the round trip underway began."""
    building, settled_until = timeline.building, timeline.settled_until
    trips = settled_until if timeline.trip is None else timeline.trip.started_at
    return _Open(
        settled_until if building is None else building.started_at,
        trips,
        strung_since or trips,
        hour_of(settled_until),
    )


def _tiled(building: Segment | None, pieces: Iterable[Stretch]) -> list[Segment]:
    """Return segments from the last final one on, lengthened by pieces."""
    tiles = [] if building is None else [building]
    for piece in pieces:
        segment, longer = piece.after(tiles[-1] if tiles else None)
        if longer:
            tiles[-1] = segment
        else:
            tiles.append(segment)
    return tiles


def checkpoint_due(at: datetime) -> datetime:
    """Return the instant from which on the next fix after `at` makes a checkpoint."""
    length_s = CHECKPOINT_EVERY.total_seconds()
    return datetime.fromtimestamp((at.timestamp() // length_s + 1) * length_s, UTC)
