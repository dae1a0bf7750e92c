"""One vehicle's whole fold: fixes in, changes to its derived rows out.

`advance()` takes the state from before and the next fixes in order, and returns the state after
and what to write: for each kind of row the instant from which rows are replaced, and the new
ones. Whatever way a stream of fixes is cut into batches, the rows end up the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

from processors.round_trips import RoundTrip, continued
from processors.segments import Segment, joined
from processors.timeline import Timeline, begin, provisional, step
from processors.trips import Trip
from processors.usage import UsageHour, UsageHours, hour_of
from schemas.fix import Fix
from schemas.fleet import Depot
from schemas.rules import Rules

Row = TypeVar("Row")

CHECKPOINT_EVERY: Final = timedelta(hours=6)
"""A state is kept for every so much of device time, so that late fixes fold again from there."""


@dataclass(frozen=True, slots=True)
class VehicleState:
    """Everything that the next fix of a vehicle needs to know."""

    timeline: Timeline
    hours: tuple[UsageHour, ...] = ()
    """Final usage of the hours that may still gain some."""
    round_trip: RoundTrip | None = None
    """The round trip underway, of ended trips."""


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
    refused: tuple[tuple[Fix, str], ...]
    checkpoints: tuple[tuple[datetime, VehicleState], ...]


def advance(
    before: VehicleState | None, fixes: Iterable[Fix], depots: Sequence[Depot], rules: Rules
) -> tuple[VehicleState, Changes]:
    """Fold fixes, in order of device time and newer than the state, into a vehicle's rows.

    Raises `ValueError` for a fix that is not newer, and when there is neither state nor fix.
    """
    remaining = iter(fixes)
    if before is None:
        first = next(remaining, None)
        if first is None:
            raise ValueError("no state and no fix: a vehicle begins with its first fix")
        before = VehicleState(begin(first))
    return _fold(before, remaining, depots, rules)


def _fold(
    before: VehicleState, fixes: Iterable[Fix], depots: Sequence[Depot], rules: Rules
) -> tuple[VehicleState, Changes]:
    timeline = before.timeline
    building = timeline.building
    settled_until = timeline.settled_until
    trips_since = settled_until if timeline.trip is None else timeline.trip.started_at
    segments: tuple[Segment, ...] = () if building is None else (building,)
    closed: list[Segment] = []
    trips: list[Trip] = []
    round_trips: list[RoundTrip] = []
    underway = before.round_trip
    usage = UsageHours(before.hours)
    refused: list[tuple[Fix, str]] = []
    checkpoints: list[tuple[datetime, VehicleState]] = []
    for fix in fixes:
        done = step(timeline, fix, rules)
        if done.refused is not None:
            refused.append((fix, done.refused))
            continue
        for piece in done.pieces:
            usage.add(piece)
            *ended, last = joined(segments, piece)
            closed += ended
            segments = (last,)
        if done.departed_at is not None:
            usage.depart(done.departed_at)
        if done.trip is not None:
            trips.append(done.trip)
            underway, back = continued(underway, done.trip, depots, rules)
            round_trips += back
        if _period(fix.recorded_at) != _period(timeline.at):
            hours = usage.since(done.timeline.settled_until)
            checkpoints.append((fix.recorded_at, VehicleState(done.timeline, hours, underway)))
        timeline = done.timeline
    after = VehicleState(timeline, usage.since(timeline.settled_until), underway)
    pieces, open_trip = provisional(timeline, rules)
    for piece in pieces:
        usage.add(piece)
        *ended, last = joined(segments, piece)
        closed += ended
        segments = (last,)
    if open_trip is not None:
        trips.append(open_trip)
    if underway is not None:
        round_trips.append(underway)
    return after, Changes(
        segments=Replaced(
            settled_until if building is None else building.started_at, (*closed, *segments)
        ),
        trips=Replaced(trips_since, tuple(trips)),
        round_trips=Replaced(
            trips_since if before.round_trip is None else before.round_trip.started_at,
            tuple(round_trips),
        ),
        hours=Replaced(hour_of(settled_until), usage.since(settled_until)),
        refused=tuple(refused),
        checkpoints=tuple(checkpoints),
    )


def _period(at: datetime) -> int:
    return int(at.timestamp() // CHECKPOINT_EVERY.total_seconds())
