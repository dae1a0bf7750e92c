"""One vehicle's whole fold: fixes in, changes to its derived rows out.

`advance()` takes the state from before and the next fixes in order, and returns the state after
and what to write: for each kind of row the instant from which rows are replaced, and the new
ones. Whatever way a stream of fixes is cut into batches, the rows end up the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from processors.arrivals import NO_POSITION_YET
from processors.places import places_of
from processors.round_trips import RoundTrip, RoundTrips
from processors.segments import Segment, merged
from processors.timeline import Fold, Timeline, begin, fix_point, provisional
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
    """Rows that take the place of all rows of the vehicle from an instant on."""

    since: datetime
    rows: tuple[Row, ...]


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
    before: VehicleState | None, fixes: Iterable[Reported], depots: Sequence[Depot], rules: Rules
) -> tuple[VehicleState, Changes]:
    """Fold fixes, in order of device time and newer than the state, into a vehicle's rows.

    Raises `ValueError` for a fix that is not newer, and when there is neither state nor fix.
    """
    if before is not None and before.timeline is not None:
        return _fold(before, before.timeline, fixes, depots, rules)
    early: list[tuple[Reported, str]] = []
    remaining = iter(fixes)
    for fix in remaining:
        if fix_point(fix) is None:
            early.append((fix, NO_POSITION_YET))
            continue
        timeline = begin(fix)
        state, changes = _fold(VehicleState(timeline), timeline, remaining, depots, rules)
        return state, _with_early(changes, early) if early else changes
    if not early:
        raise ValueError("no fix: a vehicle begins with its first one")
    nothing: Replaced[Any] = Replaced(early[0][0].recorded_at, ())
    return VehicleState(None), _with_early(
        Changes(nothing, nothing, nothing, nothing, (), ()), early
    )


def _with_early(changes: Changes, early: Sequence[tuple[Reported, str]]) -> Changes:
    """Return changes with the fixes before the timeline's beginning left out.

    Rows from there on give way as well: what was a position once may be private now.
    """
    since = early[0][0].recorded_at
    return Changes(
        segments=Replaced(since, changes.segments.rows),
        trips=Replaced(since, changes.trips.rows),
        round_trips=Replaced(since, changes.round_trips.rows),
        hours=Replaced(hour_of(since), changes.hours.rows),
        refused=(*early, *changes.refused),
        checkpoints=changes.checkpoints,
    )


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
    _, changes = _fold(state, timeline, (report,), depots, rules)
    return replace(changes, checkpoints=())


def _fold(
    before: VehicleState,
    timeline: Timeline,
    fixes: Iterable[Reported],
    depots: Sequence[Depot],
    rules: Rules,
) -> tuple[VehicleState, Changes]:
    places = places_of(depots)
    building = timeline.building
    settled_until = timeline.settled_until
    trips_since = settled_until if timeline.trip is None else timeline.trip.started_at
    trips: list[Trip] = []
    strung = RoundTrips(before.round_trip, before.parts, places, rules)
    round_trips_since = strung.since or trips_since
    usage = UsageHours(before.hours, places)
    refused: list[tuple[Reported, str]] = []
    checkpoints: list[tuple[datetime, VehicleState]] = []
    fold = Fold(timeline, rules)
    period_ends = _period_end(timeline.at)
    for fix in fixes:
        reason = fold.take(fix)
        if reason is not None:
            refused.append((fix, reason))
            continue
        for piece in fold.pieces:
            usage.add(piece)
        fold.pieces.clear()
        if fold.departed_at is not None:
            usage.depart(fold.departed_at)
        if fold.ended is not None:
            trips.append(fold.ended)
            strung.add(fold.ended)
        if fix.recorded_at >= period_ends:
            period_ends = _period_end(fix.recorded_at)
            timeline = fold.timeline()
            hours = usage.since(timeline.settled_until)
            state = VehicleState(timeline, hours, strung.underway, strung.parts)
            checkpoints.append((fix.recorded_at, state))
    timeline = fold.timeline()
    hours = usage.since(timeline.settled_until)
    after = VehicleState(timeline, hours, strung.underway, strung.parts)
    pieces, open_trip = provisional(timeline, rules)
    for piece in pieces:
        usage.add(piece)
    if open_trip is not None:
        trips.append(open_trip)
    still = strung.not_ended()
    return after, Changes(
        segments=Replaced(
            settled_until if building is None else building.started_at,
            (*fold.closed, *_tiled(fold.building, pieces)),
        ),
        trips=Replaced(trips_since, tuple(trips)),
        round_trips=Replaced(
            round_trips_since,
            tuple(strung.ended) if still is None else (*strung.ended, still),
        ),
        hours=Replaced(hour_of(settled_until), usage.since(settled_until)),
        refused=tuple(refused),
        checkpoints=tuple(checkpoints),
    )


def _tiled(building: Segment | None, pieces: Iterable[Segment]) -> list[Segment]:
    """Return segments from the last final one on, like pieces merged."""
    tiles = [] if building is None else [building]
    for piece in pieces:
        longer = merged(tiles[-1], piece) if tiles else None
        if longer is None:
            tiles.append(piece)
        else:
            tiles[-1] = longer
    return tiles


def _period_end(at: datetime) -> datetime:
    """Return the end of the checkpoint's period that an instant lies in."""
    length_s = CHECKPOINT_EVERY.total_seconds()
    return datetime.fromtimestamp((at.timestamp() // length_s + 1) * length_s, UTC)
