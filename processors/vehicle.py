"""One vehicle's whole fold: fixes in, changes to its derived rows out.

`advance()` takes the state from before and the next fixes in order, and returns the state after
and what to write: for each kind of row the instant from which rows are replaced, and the new
ones. Whatever way a stream of fixes is cut into batches, the rows end up the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, TypeVar

from processors.round_trips import RoundTrip, continued
from processors.segments import Segment, merged
from processors.timeline import Fold, Timeline, begin, provisional
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
    refused: tuple[tuple[Reported, str], ...]
    checkpoints: tuple[tuple[datetime, VehicleState], ...]


def advance(
    before: VehicleState | None, fixes: Iterable[Reported], depots: Sequence[Depot], rules: Rules
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


def silent(
    state: VehicleState, vehicle_id: str, until: datetime, depots: Sequence[Depot], rules: Rules
) -> Changes:
    """Return what holds of a vehicle that is not heard of until an instant, a gap or more later.

    It is as if it reported then from where it was, with the engine as it was: its trip has ended,
    and it is parked if the engine was off, else offline. The state is not moved, so that whatever
    it sends later counts as if this had never been said. Checkpoints are none of its.
    """
    at = state.timeline.point
    report = Fix(vehicle_id=vehicle_id, recorded_at=until, lat=at.lat, lon=at.lon)
    _, changes = _fold(state, (report,), depots, rules)
    return replace(changes, checkpoints=())


def _fold(
    before: VehicleState, fixes: Iterable[Reported], depots: Sequence[Depot], rules: Rules
) -> tuple[VehicleState, Changes]:
    timeline = before.timeline
    building = timeline.building
    settled_until = timeline.settled_until
    trips_since = settled_until if timeline.trip is None else timeline.trip.started_at
    trips: list[Trip] = []
    round_trips: list[RoundTrip] = []
    underway = before.round_trip
    usage = UsageHours(before.hours)
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
            underway, back = continued(underway, fold.ended, depots, rules)
            round_trips += back
        if fix.recorded_at >= period_ends:
            period_ends = _period_end(fix.recorded_at)
            timeline = fold.timeline()
            hours = usage.since(timeline.settled_until)
            checkpoints.append((fix.recorded_at, VehicleState(timeline, hours, underway)))
    timeline = fold.timeline()
    after = VehicleState(timeline, usage.since(timeline.settled_until), underway)
    pieces, open_trip = provisional(timeline, rules)
    for piece in pieces:
        usage.add(piece)
    if open_trip is not None:
        trips.append(open_trip)
    if underway is not None:
        round_trips.append(underway)
    return after, Changes(
        segments=Replaced(
            settled_until if building is None else building.started_at,
            (*fold.closed, *_tiled(fold.building, pieces)),
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
