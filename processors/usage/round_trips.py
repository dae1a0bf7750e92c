"""Round trips, the unit of demand: from leaving a depot until back at one.

One that lasts longer than `round_trip_max_s` is no unit of demand: a vehicle that takes a night at
somebody's home is not needed at night. It is split as OS2fleetoptimiser does
(`roundtripaggregator.split_roundtrip`): after a trip that is followed by a stop longer than
`round_trip_split_stop_s`, and before a trip that would make the part too long itself. Its parts are
of kind over-long and numbered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from processors.depot_index import DepotIndex
from processors.timeline.trips import Trip
from schemas.fleet.master_data import Home
from schemas.fleet.rules import Rules


class RoundTripKind(StrEnum):
    """How a round trip ended."""

    COMPLETE = "complete"
    ONE_WAY = "one-way"
    OPEN = "open"
    OVER_LONG = "over-long"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Trips from a depot until a depot. Open: not back yet, or begun nowhere near a depot.

    Where one was split, `part` counts its parts from 1; 0 is one that is whole. The first part
    begins at the depot that was left, the last one ends at the depot that was reached.
    """

    started_at: datetime
    ended_at: datetime
    kind: RoundTripKind
    start_depot_id: str | None
    end_depot_id: str | None
    distance_m: float
    trip_count: int
    is_open: bool
    part: int = 0


def home_at(homes: Iterable[Home], at: datetime) -> str | None:
    """Return the depot that was a vehicle's home at an instant; None where nobody knows."""
    for home in homes:
        if (home.since is None or home.since <= at) and (home.until is None or at < home.until):
            return home.depot_id
    return None


class RoundTrips:
    """Strings ended trips, in order, to round trips; small, alive within one call.

    `underway` is the round trip that has not ended, and `parts` what it would be split into, the
    last of them still growing. Once it is over-long, finished parts are final and leave; as long
    as it is not, there are few: all but the last are followed by a stop longer than the limit.
    """

    def __init__(
        self,
        underway: RoundTrip | None,
        parts: tuple[RoundTrip, ...],
        places: DepotIndex,
        rules: Rules,
    ) -> None:
        self.underway = underway
        self.parts = parts
        self.ended: list[RoundTrip] = []
        """What has ended for good, since the beginning."""
        self.since: datetime | None = None
        """From here on round trips were not final at the beginning; None: nothing was underway."""
        self._places = places
        self._rules = rules
        self._longest = timedelta(seconds=rules.round_trip_max_s)
        self._rest = timedelta(seconds=rules.round_trip_split_stop_s)
        if underway is None:
            return
        if not parts:  # a state from before round trips were split
            self.parts = (replace(underway, part=1),)
        self.since = self.parts[0].started_at
        self._let_go(underway)  # the rules may be others than when the state was kept

    def add(self, trip: Trip) -> None:
        """Take the next ended trip.

        A vehicle that leaves a depot which it was not seen to reach had come back unseen: what was
        underway ends there, at its last trip's end.
        """
        left = self._places.at(trip.start)
        if self.underway is not None and left is not None:
            self._end(self.underway, left)
        underway = self.underway
        if underway is None:
            underway = _begun(trip, left, part=0)
        self.underway = underway = _extended(underway, trip)
        *finished, last = self.parts or (_begun(trip, left, part=1),)
        if last.trip_count and self._is_cut(last, trip):
            finished.append(last)
            last = _begun(trip, left, part=last.part + 1)
        self.parts = (*finished, _extended(last, trip))
        self._let_go(underway)
        reached = self._places.at(trip.end)
        if reached is not None:
            self._end(underway, reached)

    def not_ended(self) -> RoundTrip | None:
        """Return what is underway; of an over-long one its last part."""
        if self.underway is None or not self._is_over_long(self.underway):
            return self.underway
        return self.parts[-1]

    def _let_go(self, underway: RoundTrip) -> None:
        """Let the finished parts of an over-long round trip go."""
        if self._is_over_long(underway):
            for part in self.parts[:-1]:
                self._put(replace(part, kind=RoundTripKind.OVER_LONG, is_open=False))
            self.parts = self.parts[-1:]

    def _end(self, underway: RoundTrip, depot_id: str) -> None:
        kind = RoundTripKind.COMPLETE
        if self._is_over_long(underway):
            underway = self.parts[-1]
            if underway.part == 1:  # a single trip that is too long, or several without a cut
                underway = replace(underway, part=0)
            kind = RoundTripKind.OVER_LONG
        elif underway.start_depot_id is None:
            kind = RoundTripKind.OPEN
        elif underway.start_depot_id != depot_id:
            kind = RoundTripKind.ONE_WAY
        self._put(replace(underway, kind=kind, end_depot_id=depot_id, is_open=False))
        self.underway, self.parts = None, ()

    def _put(self, round_trip: RoundTrip) -> None:
        """Note one that has ended; one shorter than `round_trip_min_m` does not count."""
        if round_trip.distance_m >= self._rules.round_trip_min_m:
            self.ended.append(round_trip)

    def _is_over_long(self, underway: RoundTrip) -> bool:
        """Return whether it lasts too long; once a part has left it is split for good."""
        if self.parts and self.parts[0].part > 1:
            return True
        return underway.ended_at - underway.started_at > self._longest

    def _is_cut(self, part: RoundTrip, trip: Trip) -> bool:
        """Return whether a part ends before a trip."""
        return (
            trip.started_at - part.ended_at > self._rest
            or trip.ended_at - part.started_at > self._longest
        )


def _begun(trip: Trip, depot_id: str | None, *, part: int) -> RoundTrip:
    return RoundTrip(
        trip.started_at,
        trip.started_at,
        RoundTripKind.OPEN,
        depot_id,
        None,
        0.0,
        0,
        is_open=True,
        part=part,
    )


def _extended(round_trip: RoundTrip, trip: Trip) -> RoundTrip:
    return replace(
        round_trip,
        ended_at=trip.ended_at,
        distance_m=round_trip.distance_m + trip.distance_m,
        trip_count=round_trip.trip_count + 1,
    )
