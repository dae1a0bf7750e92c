"""From what the processors say to rows of the database: names and units only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from infra.database.stream.progress import event_id
from infra.database.timeline.tables import FIX, Row
from infra.kafka.client import Topics
from processors.depot_index import DepotIndex
from processors.timeline.idle import IdleInterval
from processors.timeline.segments import Segment
from processors.timeline.trips import Trip
from processors.timeline.validation import Arrival
from processors.usage.energy import consumption
from processors.usage.hours import UsageHour
from processors.usage.round_trips import RoundTrip, home_at
from schemas.events.fix import FIX_FIELDS, Fix
from schemas.events.outgoing import RoundTripEnded, TripEnded
from schemas.fleet.master_data import Home, Vehicle

_MICROSECOND: Final = timedelta(microseconds=1)
_AT: Final = {name: number for number, name in enumerate(FIX.columns)}
_MEASURES: Final = tuple(field.name for field in FIX_FIELDS)
_MEASURED: Final = slice(_AT[_MEASURES[0]], _AT[_MEASURES[-1]] + 1)
"""Where a row of `fix` holds them, one after the other."""
_measures_of: Final = attrgetter(*_MEASURES)


@lru_cache(4096)  # most are whole seconds, and as many as an hour has
def seconds(length: timedelta) -> Decimal:
    """Return a length in seconds, exact to the microsecond."""
    return Decimal(length // _MICROSECOND).scaleb(-6)


def fix_row(vehicle_id: str, arrival: Arrival, quarantine: str | None) -> Row:
    """Return a row of `fix`; the fix itself says who sent it."""
    fix = arrival.fix
    return (
        vehicle_id,
        fix.recorded_at,
        arrival.received_at,
        *_measures_of(fix),
        quarantine,
        None if fix.vehicle_id == vehicle_id else fix.vehicle_id,
        arrival.vendor,
    )


class StoredFix(NamedTuple):
    """What the fold reads of a row of `fix`: as `schemas.events.fix.Reported` has it."""

    recorded_at: datetime
    lat: float | None
    lon: float | None
    speed_mps: float | None
    ignition: bool | None
    odometer_m: float | None


_reported = itemgetter(*(_AT[name] for name in StoredFix._fields))


def stored_fix(row: Row) -> StoredFix:
    """Return what the fold reads of a row of `fix`: quicker than all that it says."""
    return StoredFix._make(_reported(row))


def quarantine(row: Row) -> str | None:
    """Return why the timeline leaves a row of `fix` out, None where it counts."""
    reason: str | None = row[_AT["quarantine"]]
    return reason


def stored_arrival(row: Row) -> tuple[Arrival, str | None]:
    """Return what a row of `fix` says, and why the timeline leaves it out, as it was sent.

    The values were validated when they came in.
    """
    fix = Fix.model_construct(
        private_mode=row[_AT["lat"]] is None,
        vehicle_id=row[_AT["tracker_id"]] or row[_AT["vehicle_id"]],
        recorded_at=row[_AT["recorded_at"]],
        **dict(zip(_MEASURES, row[_MEASURED], strict=True)),
    )
    return Arrival(fix, row[_AT["received_at"]], row[_AT["vendor"]]), quarantine(row)


def segment_rows(
    vehicle_id: str, segments: Sequence[Segment], *, open_until: datetime | None
) -> list[Row]:
    """Return rows of `segment`; one that lasts until the last fix is open."""
    return [
        (
            vehicle_id,
            segment.started_at,
            segment.ended_at,
            segment.state.value,
            segment.distance_m,
            segment.moved,
            segment.private,
            *segment.start,
            *segment.end,
            segment.ended_at == open_until,
        )
        for segment in segments
    ]


def trip_rows(vehicle_id: str, trips: Sequence[Trip], places: DepotIndex) -> list[Row]:
    """Return rows of `trip`."""
    return [
        (
            vehicle_id,
            trip.started_at,
            trip.ended_at,
            trip.distance_m,
            trip.mileage.source.value,
            trip.mileage.gps_m,
            trip.mileage.odometer_m,
            trip.motion_only,
            seconds(trip.driving),
            seconds(trip.idling),
            *trip.start,
            *trip.end,
            places.at(trip.start),
            None if trip.is_open else places.at(trip.end),
            trip.is_open,
        )
        for trip in trips
    ]


def idle_rows(
    vehicle_id: str, intervals: Sequence[IdleInterval], *, open_until: datetime | None
) -> list[Row]:
    """Return rows of `idle_interval`; one that lasts until the last fix is open."""
    return [
        (
            vehicle_id,
            interval.started_at,
            interval.ended_at,
            *interval.at,
            interval.cost.fuel_l,
            interval.cost.co2e_kg,
            interval.ended_at == open_until,
        )
        for interval in intervals
    ]


def round_trip_rows(
    vehicle_id: str, round_trips: Sequence[RoundTrip], homes: Collection[Home]
) -> list[Row]:
    """Return rows of `round_trip`, each with the vehicle's home when it started."""
    return [
        (
            vehicle_id,
            round_trip.started_at,
            round_trip.ended_at,
            round_trip.kind.value,
            round_trip.start_depot_id,
            round_trip.end_depot_id,
            round_trip.distance_m,
            round_trip.trip_count,
            round_trip.is_open,
            home_at(homes, round_trip.started_at),
            round_trip.part,
        )
        for round_trip in round_trips
    ]


def usage_rows(vehicle: Vehicle, hours: Sequence[UsageHour]) -> list[Row]:
    """Return rows of `usage_hour` with what driving and idling used."""
    rows: list[Row] = []
    for usage in hours:
        used = consumption(vehicle, distance_m=usage.distance_m, idling=usage.idling)
        rows.append(
            (
                vehicle.vehicle_id,
                usage.hour,
                seconds(usage.driving),
                seconds(usage.idling),
                seconds(usage.parked),
                seconds(usage.offline),
                usage.distance_m,
                usage.trip_count,
                used.fuel_l,
                used.energy_kwh,
                used.co2e_kg,
                seconds(usage.away),
            )
        )
    return rows


def trip_event_id(
    vehicle_id: str, started_at: datetime, ended_at: datetime, distance_m: float
) -> UUID:
    """Return the id of the event that a trip has ended."""
    return event_id("trip", vehicle_id, started_at, ended_at, distance_m)


def round_trip_event_id(
    vehicle_id: str, started_at: datetime, ended_at: datetime, kind: str, distance_m: float
) -> UUID:
    """Return the id of the event that a round trip has ended."""
    return event_id("round-trip", vehicle_id, started_at, ended_at, kind, distance_m)


def ended_events(
    vehicle: Vehicle, trips: Sequence[Trip], round_trips: Sequence[RoundTrip], topics: Topics
) -> list[tuple[Any, str, str, dict[str, Any]]]:
    """Return outbox messages for the trips and round trips that have ended."""
    key = vehicle.vehicle_id
    messages: list[tuple[Any, str, str, dict[str, Any]]] = []
    for trip in trips:
        if trip.is_open:
            continue
        ended = TripEnded(
            event_id=trip_event_id(key, trip.started_at, trip.ended_at, trip.distance_m),
            municipality_id=vehicle.municipality_id,
            vehicle_id=key,
            started_at=trip.started_at,
            ended_at=trip.ended_at,
            distance_m=trip.distance_m,
        )
        messages.append((ended.event_id, topics.trips, key, ended.model_dump(mode="json")))
    for round_trip in round_trips:
        if round_trip.is_open:
            continue
        back = RoundTripEnded(
            event_id=round_trip_event_id(
                key,
                round_trip.started_at,
                round_trip.ended_at,
                round_trip.kind,
                round_trip.distance_m,
            ),
            municipality_id=vehicle.municipality_id,
            vehicle_id=key,
            kind=round_trip.kind.value,
            started_at=round_trip.started_at,
            ended_at=round_trip.ended_at,
            start_depot_id=round_trip.start_depot_id,
            end_depot_id=round_trip.end_depot_id,
            distance_m=round_trip.distance_m,
        )
        messages.append((back.event_id, topics.round_trips, key, back.model_dump(mode="json")))
    return messages
