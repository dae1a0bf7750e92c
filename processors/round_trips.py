"""Round trips, the unit of demand: from leaving a depot until back at one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from processors.geodesy import Point, distance_m
from processors.trips import Trip
from schemas.fleet import Depot
from schemas.rules import Rules


class RoundTripKind(StrEnum):
    """How a round trip ended."""

    COMPLETE = "complete"
    ONE_WAY = "one-way"
    OPEN = "open"
    OVER_LONG = "over-long"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Trips from a depot until a depot. Open: not back yet, or begun nowhere near a depot."""

    started_at: datetime
    ended_at: datetime
    kind: RoundTripKind
    start_depot_id: str | None
    end_depot_id: str | None
    distance_m: float
    trip_count: int
    is_open: bool


def depot_at(point: Point, depots: Sequence[Depot]) -> str | None:
    """Return the nearest depot whose radius holds the point; of equally near ones the first id."""
    within = [
        (away_m, depot.depot_id)
        for depot in depots
        # A degree of latitude is 111 km: most depots need no geodesic to be ruled out.
        if abs(depot.lat - point.lat) * 110_000 <= depot.radius_m
        and (away_m := distance_m(Point(depot.lat, depot.lon), point)) <= depot.radius_m
    ]
    return min(within)[1] if within else None


def continued(
    underway: RoundTrip | None, trip: Trip, depots: Sequence[Depot], rules: Rules
) -> tuple[RoundTrip | None, tuple[RoundTrip, ...]]:
    """Take the next ended trip; return the round trip underway and those that have ended.

    A vehicle that leaves a depot which it was not seen to reach had come back unseen: what was
    underway ends there, at its last trip's end. Round trips shorter than `round_trip_min_m` do
    not count.
    """
    ended: list[RoundTrip] = []
    left = depot_at(trip.start, depots)
    if underway is not None and left is not None:
        ended.append(_ended(underway, left, rules))
        underway = None
    if underway is None:
        underway = RoundTrip(
            trip.started_at, trip.ended_at, RoundTripKind.OPEN, left, None, 0.0, 0, is_open=True
        )
    underway = replace(
        underway,
        ended_at=trip.ended_at,
        distance_m=underway.distance_m + trip.distance_m,
        trip_count=underway.trip_count + 1,
    )
    reached = depot_at(trip.end, depots)
    if reached is not None:
        ended.append(_ended(underway, reached, rules))
        underway = None
    return underway, tuple(
        round_trip for round_trip in ended if round_trip.distance_m >= rules.round_trip_min_m
    )


def _ended(underway: RoundTrip, depot_id: str, rules: Rules) -> RoundTrip:
    lasted_s = (underway.ended_at - underway.started_at).total_seconds()
    if lasted_s > rules.round_trip_max_s:
        kind = RoundTripKind.OVER_LONG
    elif underway.start_depot_id is None:
        kind = RoundTripKind.OPEN
    elif underway.start_depot_id == depot_id:
        kind = RoundTripKind.COMPLETE
    else:
        kind = RoundTripKind.ONE_WAY
    return replace(underway, kind=kind, end_depot_id=depot_id, is_open=False)
