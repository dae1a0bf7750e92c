"""One vehicle's whole fold: fixes in, changes to its derived rows out.

`advance()` takes the state from before and the next fixes in order, and returns the state after
and what to write: for each kind of row the instant from which rows are replaced, and the new
ones. `VehicleFoldState` is the same over portions of fixes. Whatever way a stream of fixes is cut
into batches, the rows end up the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Generic, TypeVar

from processors.depot_index import DepotIndex, index_depots
from processors.timeline.bulk_fold import BulkFold, LegColumns
from processors.timeline.checkpoints import is_due
from processors.timeline.segments import Segment, SegmentPiece
from processors.timeline.state import Timeline, begin, fix_point, provisional
from processors.timeline.trips import Trip
from processors.timeline.validation import NO_POSITION_YET
from processors.usage.hours import UsageHour, UsageHours, hour_of
from processors.usage.round_trips import RoundTrip, RoundTrips
from schemas.events.fix import Fix, Reported
from schemas.fleet.master_data import Depot
from schemas.fleet.rules import Rules

Row = TypeVar("Row")


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
class RowsToReplace(Generic[Row]):
    """Rows that take the place of the vehicle's rows from an instant on, to another one if any."""

    since: datetime
    rows: tuple[Row, ...]
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch of fixes changes in one vehicle's rows. The last segment is the open one."""

    segments: RowsToReplace[Segment]
    trips: RowsToReplace[Trip]
    round_trips: RowsToReplace[RoundTrip]
    hours: RowsToReplace[UsageHour]
    refused: dict[datetime, str]
    """Why which of the fixes are left out, by their instants."""
    checkpoints: tuple[tuple[datetime, VehicleState], ...]
    revised: dict[datetime, str | None] = field(default_factory=dict)
    """The same of fixes that were taken before, told now; None for one that counts. Speaks last."""


def advance(
    before: VehicleState | None,
    fixes: Sequence[Reported],
    depots: Sequence[Depot],
    rules: Rules,
    legs: LegColumns | None = None,
) -> tuple[VehicleState, Changes]:
    """Fold fixes, in order of device time and newer than the state, into a vehicle's rows.

    `legs` are measured from these fixes and rules, if they are: that makes no difference but speed.
    Raises `ValueError` for a fix that is not newer, and when there is neither state nor fix.
    """
    folding = VehicleFoldState(before, depots, rules)
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


class VehicleFoldState:
    """A vehicle's fold under way, over any number of portions of fixes; alive within one call.

    Cut into portions at will: `state()` and `changes()` are those of all that was taken.
    """

    def __init__(self, before: VehicleState | None, depots: Sequence[Depot], rules: Rules) -> None:
        self._rules = rules
        self._places = index_depots(depots)
        self._early: dict[datetime, str] = {}
        self._run: _Run | None = None
        if before is not None and before.timeline is not None:
            self._run = _Run(before, before.timeline, self._places, rules)

    @property
    def undecided(self) -> datetime | None:
        """The instant of a fix that was taken and counts, if the next ones may say otherwise."""
        return None if self._run is None else self._run.undecided

    def take(
        self, fixes: Sequence[Reported], legs: LegColumns | None = None
    ) -> dict[datetime, str]:
        """Take the next fixes, in order; return which of them are left out, and why.

        `legs` as of `advance`. Raises `ValueError` for one that is not newer than the one before.
        """
        early: dict[datetime, str] = {}
        first = 0
        if self._run is None:
            for fix in fixes:
                first += 1
                if fix_point(fix) is None:
                    early[fix.recorded_at] = NO_POSITION_YET
                    continue
                timeline = begin(fix)
                self._run = _Run(VehicleState(timeline), timeline, self._places, self._rules)
                break
        self._early |= early
        return early if self._run is None else early | self._run.take(fixes, first, legs)

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
        since = min(self._early)
        # Of a vehicle that was not seen yet before either, all rows begin later.
        until = max(self._early) if as_before else None
        return state, Changes(
            RowsToReplace(since, (), until),
            RowsToReplace(since, (), until),
            RowsToReplace(since, (), until),
            RowsToReplace(hour_of(since), (), None if until is None else hour_of(until)),
            self._early,
            (),
        )


def _with_early(changes: Changes, early: dict[datetime, str]) -> Changes:
    """Return changes with the fixes before the timeline's beginning left out.

    Rows from there on give way as well: what was a position once may be private now.
    """
    since = min(early)
    return replace(
        changes,
        segments=replace(changes.segments, since=since),
        trips=replace(changes.trips, since=since),
        round_trips=replace(changes.round_trips, since=since),
        hours=replace(changes.hours, since=hour_of(since)),
        refused=early | changes.refused,
    )


class _Run:
    """A fold that has a timeline."""

    def __init__(
        self, before: VehicleState, timeline: Timeline, places: DepotIndex, rules: Rules
    ) -> None:
        self._rules = rules
        self._fold = BulkFold(timeline, rules)
        self._strung = RoundTrips(before.round_trip, before.parts, places, rules)
        self._usage = UsageHours(before.hours, places)
        self._since = _open(timeline, self._strung.since)
        self._trips: list[Trip] = []
        self._refused: dict[datetime, str] = {}
        self._revised: dict[datetime, str | None] = {}
        self._checkpoints: list[tuple[datetime, VehicleState]] = []
        self._last_s = timeline.last_at.timestamp()

    @property
    def undecided(self) -> datetime | None:
        repeat = self._fold.repeat
        return None if repeat is None else repeat.suspect.recorded_at

    def take(
        self, fixes: Sequence[Reported], first: int, legs: LegColumns | None
    ) -> dict[datetime, str]:
        refused: dict[datetime, str] = {}
        fold, last_s = self._fold, self._last_s
        index, end = first, len(fixes)
        run_to = 0 if legs is None else legs.before_due(first)
        while index < end:
            if index < run_to and legs is not None:
                at, index = index, fold.run(fixes, legs, index, run_to)
                if index > at:
                    last_s = fixes[index - 1].recorded_at.timestamp()
                    self._use()
                    continue
            fix = fixes[index]
            index += 1
            reason = fold.take(fix)
            if reason is not None:
                refused[fix.recorded_at] = reason
                continue
            self._use()
            before_s, last_s = last_s, fix.recorded_at.timestamp()
            if is_due(before_s, last_s):
                self._checkpoints.append((fix.recorded_at, self.state()))
            if index > run_to and legs is not None:
                run_to = legs.before_due(index)
        self._last_s = last_s
        if fold.verdicts:
            self._revise(refused, fixes[0].recorded_at)
        self._refused |= refused
        return refused

    def _revise(self, refused: dict[datetime, str], since: datetime) -> None:
        """Heed what has been told of repeats, and of fixes that were refused on their account."""
        for at, reason in self._fold.verdicts.items():
            if at < since:
                self._revised[at] = reason
            elif reason is None:
                refused.pop(at, None)
            else:
                refused[at] = reason
        self._fold.verdicts.clear()

    def _use(self) -> None:
        """Share out what is final to the hours, and note what has ended."""
        fold, usage = self._fold, self._usage
        for piece in fold.pieces:
            usage.add(piece)
        fold.pieces.clear()
        if fold.departed_at is not None:
            usage.depart(fold.departed_at)
        if fold.ended is not None:
            self._trips.append(fold.ended)
            self._strung.add(fold.ended)

    def state(self) -> VehicleState:
        timeline = self._fold.timeline()
        hours = self._usage.since(timeline.settled_until)
        return VehicleState(timeline, hours, self._strung.underway, self._strung.parts)

    def changes(self, state: VehicleState, *, as_before: bool) -> Changes:
        fold, strung, since = self._fold, self._strung, self._since
        timeline = state.timeline
        if timeline is None:
            raise AssertionError("a fold that has a timeline keeps it")
        refused, checkpoints = self._refused, tuple(self._checkpoints)
        if as_before:
            until = _open_after(timeline, state)
            return Changes(
                RowsToReplace(since.segments, tuple(fold.closed), until.segments),
                RowsToReplace(since.trips, tuple(self._trips), until.trips),
                RowsToReplace(since.round_trips, tuple(strung.ended), until.round_trips),
                RowsToReplace(
                    since.hours, self._usage.between(since.hours, until.hours), until.hours
                ),
                refused,
                checkpoints,
                self._revised,
            )
        if fold.repeat is not None:
            fold.release()
            self._use()
            self._revised |= fold.verdicts
            timeline = fold.timeline()
        pieces, open_trip = provisional(timeline, self._rules)
        for piece in pieces:
            self._usage.add(piece)
        trips = self._trips if open_trip is None else [*self._trips, open_trip]
        still = strung.not_ended()
        ended = strung.ended if still is None else [*strung.ended, still]
        return Changes(
            RowsToReplace(since.segments, (*fold.closed, *_tiled(fold.building, pieces))),
            RowsToReplace(since.trips, tuple(trips)),
            RowsToReplace(since.round_trips, tuple(ended)),
            RowsToReplace(since.hours, self._usage.since(since.hours)),
            refused,
            checkpoints,
            self._revised,
        )


def settled(
    changes: Changes, state: VehicleState
) -> tuple[tuple[Trip, ...], tuple[RoundTrip, ...]]:
    """Return trips and round trips of changes that no fix after the state changes any more."""
    if state.timeline is None:
        return (), ()
    until = _open_after(state.timeline, state)
    return (
        tuple(row for row in changes.trips.rows if row.started_at < until.trips),
        tuple(row for row in changes.round_trips.rows if row.started_at < until.round_trips),
    )


def _open_after(timeline: Timeline, state: VehicleState) -> _Open:
    return _open(timeline, state.parts[0].started_at if state.parts else None)


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


def _tiled(building: Segment | None, pieces: Iterable[SegmentPiece]) -> list[Segment]:
    """Return segments from the last final one on, lengthened by pieces."""
    tiles = [] if building is None else [building]
    for piece in pieces:
        segment, longer = piece.after(tiles[-1] if tiles else None)
        if longer:
            tiles[-1] = segment
        else:
            tiles.append(segment)
    return tiles
