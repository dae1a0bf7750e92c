"""Round trips and hours once more, slow and plain: from the whole list that the reference gives.

Written apart from `processors`, as `batch_reference` is. Where the fold strings one trip after the
other and looks depots up in cells, this groups all trips and asks every depot about every point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from pyproj import Geod

from schemas.events.fix import Fix
from tests.scenario.batch_reference import (
    TRIP_START_M,
    Place,
    Reference,
    ReferenceTrip,
    metres_between,
    place_of,
)

MIN_M: Final = 100.0
LONGEST: Final = timedelta(hours=10)
SPLIT_STOP: Final = timedelta(minutes=45)
HOUR: Final = timedelta(hours=1)
LONGEST_BY_HOUR: Final = timedelta(days=31)

_WGS84: Final = Geod(ellps="WGS84")


@dataclass(frozen=True)
class ReferenceDepot:
    """A circle, or what a polygon of (lat, lon) encloses."""

    depot_id: str
    lat: float
    lon: float
    radius_m: float = 200.0
    polygon: tuple[Place, ...] | None = None

    def away_m(self, place: Place) -> float:
        """Return how far its point is."""
        if place == (self.lat, self.lon):
            return 0.0
        return float(_WGS84.inv(self.lon, self.lat, place[1], place[0])[2])

    def holds(self, place: Place) -> bool:
        """Return whether a place lies in it. A polygon: by counting the sides to the east."""
        if self.polygon is None:
            return self.away_m(place) <= self.radius_m
        lat, lon = place
        sides = zip(self.polygon, (*self.polygon[1:], self.polygon[0]), strict=True)
        crossed = sum(
            lon < lon0 + (lat - lat0) / (lat1 - lat0) * (lon1 - lon0)
            for (lat0, lon0), (lat1, lon1) in sides
            if (lat0 > lat) is not (lat1 > lat)
        )
        return crossed % 2 == 1


@dataclass(frozen=True)
class ReferenceRoundTrip:
    """As a row of `round_trip`, without its distance: that is compared on its own."""

    started_at: datetime
    ended_at: datetime
    kind: str
    start_depot_id: str | None
    end_depot_id: str | None
    trip_count: int
    is_open: bool
    part: int
    distance_m: float = field(compare=False)


@dataclass
class ReferenceHour:
    """What a vehicle did in an hour."""

    lengths: dict[str, timedelta]
    away: timedelta = timedelta()
    trip_count: int = 0


def where(place: Place, depots: Iterable[ReferenceDepot]) -> str | None:
    """Return the depot that holds a place: drawn ones first, then the nearest, then the id."""
    holding = [
        (0 if depot.polygon else 1, depot.away_m(place), depot.depot_id)
        for depot in depots
        if depot.holds(place)
    ]
    return min(holding)[2] if holding else None


def round_trips(
    reference: Reference,
    fixes: Iterable[Fix],
    depots: Sequence[ReferenceDepot],
    *,
    longest: timedelta = LONGEST,
    split_stop: timedelta = SPLIT_STOP,
) -> list[ReferenceRoundTrip]:
    """Return all round trips of a vehicle, in order."""
    seen = [(fix.recorded_at, place_of(fix)) for fix in fixes]
    at = {instant: where(place, depots) for instant, place in seen if place is not None}
    groups: list[list[ReferenceTrip]] = []
    for trip in reference.trips:
        if trip.is_open:
            continue
        here = at[trip.started_at] is not None
        if not groups or here or at[groups[-1][-1].ended_at] is not None:
            groups.append([])
        groups[-1].append(trip)
    reference_round_trips = []
    for number, group in enumerate(groups):
        came_to = at[group[-1].ended_at]
        is_last = number == len(groups) - 1
        if came_to is None and not is_last:
            came_to = at[groups[number + 1][0].started_at]
        reference_round_trips += _told(group, at[group[0].started_at], came_to, longest, split_stop)
    return [
        reference_round_trip
        for reference_round_trip in reference_round_trips
        if reference_round_trip.is_open or reference_round_trip.distance_m >= MIN_M
    ]


def _told(
    group: Sequence[ReferenceTrip],
    left: str | None,
    came_to: str | None,
    longest: timedelta,
    split_stop: timedelta,
) -> list[ReferenceRoundTrip]:
    is_open = came_to is None
    if group[-1].ended_at - group[0].started_at <= longest:
        kind = "complete" if left == came_to else "one-way"
        if is_open or left is None:
            kind = "open"
        return [_row(group, kind, left, came_to, is_open=is_open)]
    parts = _split(group, longest, split_stop)
    rows = []
    for number, part in enumerate(parts, start=1):
        is_last = number == len(parts)
        rows.append(
            _row(
                part,
                "open" if is_last and is_open else "over-long",
                left if number == 1 else None,
                came_to if is_last else None,
                is_open=is_last and is_open,
                part=0 if len(parts) == 1 and not is_open else number,
            )
        )
    return rows


def _split(
    group: Sequence[ReferenceTrip], longest: timedelta, split_stop: timedelta
) -> list[list[ReferenceTrip]]:
    """Return the parts: trips that are joined by short stops, each as long as it may be."""
    joined: list[list[ReferenceTrip]] = [[group[0]]]
    for before, trip in pairwise(group):
        if trip.started_at - before.ended_at > split_stop:
            joined.append([])
        joined[-1].append(trip)
    parts = []
    for run in joined:
        rest = list(run)
        while rest:
            fitting = [
                count
                for count in range(1, len(rest) + 1)
                if rest[count - 1].ended_at - rest[0].started_at <= longest
            ]
            count = max(fitting, default=1)
            parts.append(rest[:count])
            rest = rest[count:]
    return parts


def _row(  # noqa: PLR0913 - what a round trip is told by
    trips: Sequence[ReferenceTrip],
    kind: str,
    left: str | None,
    came_to: str | None,
    *,
    is_open: bool,
    part: int = 0,
) -> ReferenceRoundTrip:
    return ReferenceRoundTrip(
        trips[0].started_at,
        trips[-1].ended_at,
        kind,
        left,
        came_to,
        len(trips),
        is_open,
        part,
        sum(trip.distance_m for trip in trips),
    )


def hours(
    reference: Reference, fixes: Iterable[Fix], depots: Sequence[ReferenceDepot]
) -> dict[datetime, ReferenceHour]:
    """Return what a vehicle did hour by hour, and for how long it was away from every depot."""
    kept = sorted(
        {fix.recorded_at: fix for fix in fixes if fix.recorded_at not in reference.refused}.items()
    )
    result: dict[datetime, ReferenceHour] = {}
    segments = iter(reference.segments)
    segment = next(segments, None)
    place: Place = (0.0, 0.0)
    for (begun, before), (end, after) in pairwise(kept):
        start = begun
        while segment is not None and segment.ended_at <= start:
            segment = next(segments)
        if segment is None:
            raise AssertionError("segments end before the fixes do")
        place = place_of(before) or place  # in private mode: where it was seen last
        end_place = place_of(after) or place
        here, there = where(place, depots), where(end_place, depots)
        if segment.state == "driving":
            away = True
        elif segment.state == "offline":
            away = here is None or here != there or metres_between(place, end_place) > TRIP_START_M
        else:
            away = here is None
        is_silence = end - begun > LONGEST_BY_HOUR and segment.state != "driving"
        while start < end:
            until = min(end, _hour(start) + HOUR)
            if is_silence and until - start == HOUR:  # the segment alone tells
                start = until
                continue
            hour = result.setdefault(_hour(start), ReferenceHour({}))
            spent = hour.lengths.get(segment.state, timedelta())
            hour.lengths[segment.state] = spent + (until - start)
            hour.away += until - start if away else timedelta()
            start = until
    for trip in reference.trips:
        result[_hour(trip.started_at)].trip_count += 1
    return result


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
