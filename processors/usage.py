"""Usage per vehicle and hour, split from the pieces of its timeline to the microsecond."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from processors.segments import Segment, SegmentState

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class UsageHour:
    """What a vehicle did in one UTC hour. The four lengths add up to what is known of it.

    `distance_m` is what was driven; a piece that crosses the hour is shared out by time.
    `trip_count` are the trips that started in the hour.
    """

    hour: datetime
    driving: timedelta = timedelta()
    idling: timedelta = timedelta()
    parked: timedelta = timedelta()
    offline: timedelta = timedelta()
    distance_m: float = 0.0
    trip_count: int = 0


def hour_of(at: datetime) -> datetime:
    """Return the start of the UTC hour of an instant."""
    return at.replace(minute=0, second=0, microsecond=0)


class UsageHours:
    """Adds pieces and departures up by hour; a small mutable sum, alive within one call."""

    def __init__(self, start: Iterable[UsageHour] = ()) -> None:
        self._hours = {usage.hour: usage for usage in start}

    def add(self, piece: Segment) -> None:
        """Share a piece out to the hours that it touches."""
        start, whole = piece.started_at, piece.ended_at - piece.started_at
        driven_m = piece.distance_m if piece.state is SegmentState.DRIVING else 0.0
        while start < piece.ended_at:
            hour = hour_of(start)
            end = min(piece.ended_at, hour + _HOUR)
            usage = self._hours.get(hour) or UsageHour(hour)
            length = end - start
            self._hours[hour] = replace(
                usage,
                driving=usage.driving + length * (piece.state is SegmentState.DRIVING),
                idling=usage.idling + length * (piece.state is SegmentState.IDLING),
                parked=usage.parked + length * (piece.state is SegmentState.PARKED),
                offline=usage.offline + length * (piece.state is SegmentState.OFFLINE),
                distance_m=usage.distance_m + driven_m * (length / whole),
            )
            start = end

    def depart(self, at: datetime) -> None:
        """Count a trip that started."""
        hour = hour_of(at)
        usage = self._hours.get(hour) or UsageHour(hour)
        self._hours[hour] = replace(usage, trip_count=usage.trip_count + 1)

    def since(self, at: datetime) -> tuple[UsageHour, ...]:
        """Return the hours from the one of an instant on, in order."""
        first = hour_of(at)
        return tuple(self._hours[hour] for hour in sorted(self._hours) if hour >= first)
