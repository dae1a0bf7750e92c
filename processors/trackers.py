"""Which vehicle a tracker reports for: a step function of device time, and changes of it.

A vendor sends the id of the tracker. Until its first assignment that id means the vehicle of the
same id, so that nobody who never swaps a tracker has to assign one, and so that a swap that is told
late leaves what was before it as it is. From then on it means what the assignments say, and
nothing where they say nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import UserError
from schemas.events.dead_letters import DeadLetterReason
from schemas.fleet.master_data import Assignment
from schemas.ids import municipality_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class TrackerRefusedError(UserError):
    """What is told of a tracker cannot be; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ReassignedSpan:
    """A stretch of device time in which a tracker turns out to have been elsewhere.

    `until` is None where it has no end, a vehicle is None where the tracker is in none.
    """

    since: datetime
    until: datetime | None
    before: str | None
    after: str | None

    def holds(self, at: datetime) -> bool:
        """Return whether an instant lies within."""
        return self.since <= at and (self.until is None or at < self.until)


class Tracker:
    """A tracker with all its assignments, which do not overlap and are in order of time."""

    def __init__(self, tracker_id: str, assignments: Sequence[Assignment] = ()) -> None:
        self.tracker_id = tracker_id
        bounds: list[datetime] = []
        vehicles: list[str | None] = [tracker_id]
        for assignment in assignments:
            if bounds and bounds[-1] == assignment.since:
                vehicles[-1] = assignment.vehicle_id
            else:
                bounds.append(assignment.since)
                vehicles.append(assignment.vehicle_id)
            if assignment.until is not None:
                bounds.append(assignment.until)
                vehicles.append(None)
        self.bounds = tuple(bounds)
        self.vehicles = tuple(vehicles)
        """Before the first bound, between each two, and from the last one on."""
        self._bounds_us = np.array([(at - _EPOCH) // _MICROSECOND for at in bounds], np.int64)

    def vehicle_at(self, at: datetime) -> str | None:
        """Return the vehicle that the tracker was in at an instant; None where in none."""
        return self.vehicles[bisect_right(self.bounds, at)]

    def places_at(self, recorded_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where in `vehicles` that of each instant is; instants are us since 1970."""
        return np.searchsorted(self._bounds_us, recorded_us, side="right").astype(np.int64)

    def unassigned(self, at: datetime) -> tuple[DeadLetterReason, str]:
        """Return the reason and a sentence for a fix of an instant at which it is in no vehicle."""
        place = bisect_right(self.bounds, at)
        return DeadLetterReason.UNASSIGNED_TRACKER, (
            f"tracker {self.tracker_id} is in no vehicle at {at.isoformat()}: it left "
            f"{self.vehicles[place - 1]} at {self.bounds[place - 1].isoformat()}; say where it was "
            "with `fleetpulse tracker assign`, which takes this letter up"
        )


def changes(before: Tracker, after: Tracker) -> tuple[ReassignedSpan, ...]:
    """Return in which stretches of time a tracker is elsewhere than it was said to be, in order."""
    bounds = sorted({*before.bounds, *after.bounds})
    spans: list[ReassignedSpan] = []
    for since, until in zip(bounds, [*bounds[1:], None], strict=True):
        was, now = before.vehicle_at(since), after.vehicle_at(since)
        if was != now:
            spans.append(ReassignedSpan(since, until, was, now))
    return tuple(spans)


def assigned(
    tracker_id: str, assignments: Sequence[Assignment], vehicle_id: str, since: datetime
) -> tuple[Assignment, ...]:
    """Return a tracker's assignments once it is in a vehicle from an instant on.

    The one that is open ends there; one that began at that very instant gives way. Raises
    `TrackerRefusedError` for a vehicle of another municipality, and for an instant that earlier
    assignments already speak of.
    """
    if municipality_of(tracker_id) != municipality_of(vehicle_id):
        raise TrackerRefusedError(
            f"tracker {tracker_id} and vehicle {vehicle_id} are of different municipalities; a "
            "tracker goes from one vehicle to another of its own"
        )
    new = Assignment(vehicle_id, since, None)
    if not assignments:
        return (new,)
    *earlier, last = assignments
    spoken_of = last.since if last.until is None else last.until
    if since < spoken_of:
        raise TrackerRefusedError(
            f"tracker {tracker_id} cannot be in {vehicle_id} since {since.isoformat()}: it is in "
            f"{last.vehicle_id} {_during(last)}, which overlaps; give an instant from "
            f"{spoken_of.isoformat()} on, or release it first until an earlier one"
        )
    if last.until is None and last.vehicle_id == vehicle_id:
        raise TrackerRefusedError(
            f"tracker {tracker_id} is in {vehicle_id} {_during(last)} already; nothing to do"
        )
    if last.until is not None:
        return (*assignments, new)
    return (*earlier, new) if since == last.since else (*earlier, last._replace(until=since), new)


def released(
    tracker_id: str, assignments: Sequence[Assignment], until: datetime
) -> tuple[Assignment, ...]:
    """Return a tracker's assignments once its last one ends at an instant.

    One that ends where it began was never made. Raises `TrackerRefusedError` where there is none
    that lasts until then.
    """
    if not assignments:
        raise TrackerRefusedError(
            f"tracker {tracker_id} was never assigned: its id means the vehicle of that id; see "
            "`fleetpulse tracker list`"
        )
    *earlier, last = assignments
    if until < last.since or (last.until is not None and until >= last.until):
        limit = "" if last.until is None else f" and before {last.until.isoformat()}"
        raise TrackerRefusedError(
            f"tracker {tracker_id} cannot be released until {until.isoformat()}: it is in "
            f"{last.vehicle_id} {_during(last)}; give an instant from {last.since.isoformat()} "
            f"on{limit}"
        )
    if until == last.since:
        return tuple(earlier)
    return (*earlier, last._replace(until=until))


def _during(assignment: Assignment) -> str:
    until = "" if assignment.until is None else f" until {assignment.until.isoformat()}"
    return f"since {assignment.since.isoformat()}{until}"
