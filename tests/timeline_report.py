"""Short stories of one vehicle in seconds and metres, and what the fold makes of them.

A story is a list of what the vehicle reported: seconds from the start, metres north of it, and
where known ignition and speed. `fold_report` folds it, and says it again in seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final, NamedTuple

from pyproj import Geod

from processors.timeline.idle import idle_intervals
from processors.timeline.vehicle_fold import Changes, VehicleState, advance
from schemas.events.fix import Fix
from schemas.fleet.master_data import Vehicle
from schemas.fleet.rules import Rules

START: Final = datetime(2026, 3, 2, 8, tzinfo=UTC)
VEHICLE: Final = Vehicle(vehicle_id="syddjurs/a", municipality_id="syddjurs", name="A")
RULES: Final = Rules()
_WGS84: Final = Geod(ellps="WGS84")
_LAT: Final = 56.3
_LON: Final = 10.4


class FixSpec(NamedTuple):
    """One report. `ignition` and `kmh` are None where it does not tell."""

    at_s: float
    north_m: float
    ignition: bool | None = None
    kmh: float | None = None


Story = Iterable[FixSpec | tuple[float | bool | None, ...]]


@dataclass(frozen=True)
class TimelineReport:
    """What holds after the last report, in seconds from the start."""

    segments: list[tuple[str, float, float]]
    trips: list[tuple[float, float]]
    """Of each its departure, and its arrival or the last report."""
    open_trips: int
    trip_m: list[float]
    driven_m: float
    driving_s: list[float]
    idling_s: list[float]
    """Of each trip."""
    idle: list[tuple[float, float]]
    """Idle intervals that are reported."""
    offline_moved: list[bool]
    refused: list[tuple[float, str]]
    hours_s: float
    """What the usage of all hours adds up to."""


@cache
def _place(north_m: float) -> tuple[float, float]:
    lon, lat, _ = _WGS84.fwd(_LON, _LAT, 0.0, north_m)
    return lat, lon


def fixes(story: Story) -> list[Fix]:
    """Return the fixes of a story."""
    saids = [entry if isinstance(entry, FixSpec) else FixSpec(*entry) for entry in story]  # type: ignore[arg-type]
    return [
        Fix(
            vehicle_id=VEHICLE.vehicle_id,
            recorded_at=START + timedelta(seconds=entry.at_s),
            lat=_place(entry.north_m)[0],
            lon=_place(entry.north_m)[1],
            ignition=entry.ignition,
            speed_mps=None if entry.kmh is None else entry.kmh / 3.6,
        )
        for entry in saids
    ]


def folded(reports: Sequence[Fix]) -> tuple[VehicleState, Changes]:
    """Fold reports as they are, from the beginning."""
    return advance(None, reports, (), RULES)


def fold_report(story: Story) -> TimelineReport:
    """Fold a story at once."""
    return report_of_fixes(fixes(story))


def report_of_fixes(reports: Sequence[Fix]) -> TimelineReport:
    """Fold reports at once and say what came of it."""
    return report_of_changes(folded(reports)[1])


def report_of_changes(changes: Changes) -> TimelineReport:
    """Say rows in seconds."""
    segments, trips = changes.segments.rows, changes.trips.rows
    hours = changes.hours.rows
    return TimelineReport(
        segments=[
            (str(segment.state), _s(segment.started_at), _s(segment.ended_at))
            for segment in segments
        ],
        trips=[(_s(trip.started_at), _s(trip.ended_at)) for trip in trips],
        open_trips=sum(trip.is_open for trip in trips),
        trip_m=[trip.distance_m for trip in trips],
        driven_m=sum(hour.distance_m for hour in hours),
        driving_s=[trip.driving.total_seconds() for trip in trips],
        idling_s=[trip.idling.total_seconds() for trip in trips],
        idle=[
            (_s(idle_interval.started_at), _s(idle_interval.ended_at))
            for idle_interval in idle_intervals(segments, VEHICLE, RULES)
        ],
        offline_moved=[segment.moved for segment in segments if segment.state == "offline"],
        refused=[(_s(at), reason) for at, reason in sorted(changes.refused.items())],
        hours_s=sum(
            (hour.driving + hour.idling + hour.parked + hour.offline).total_seconds()
            for hour in hours
        ),
    )


def _s(at: datetime) -> float:
    return (at - START).total_seconds()
