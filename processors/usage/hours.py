"""Usage per vehicle and hour, split from the pieces of its timeline to the microsecond.

Away from a depot is a vehicle that drives, one that stands where no depot is, and one that is
offline unless it was in the same depot before and after and has not moved meanwhile. Each piece is
what lies between two fixes, so that the time away does not depend on batches either.

An event costs what it says, not how long its vehicle was silent: of a silence of more than
`MAX_HOURLY_SILENCE` between two fixes, the hours that lie wholly within it are none of these rows.
The segment around an hour without a row says what it was. See ADR 0024.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import add, attrgetter
from typing import Final, NamedTuple

from processors.depot_index import DepotIndex
from processors.geodesy import Point
from processors.timeline.segments import SegmentPiece, SegmentState

MAX_HOURLY_SILENCE: Final = timedelta(days=31)
"""The longest silence that is told hour by hour: holidays are, a year off the road is not."""
_HOUR: Final = timedelta(hours=1)
_NONE: Final = timedelta()
_EVER: Final = datetime.max.replace(tzinfo=UTC)
_hour = attrgetter("hour")


class UsageHour(NamedTuple):
    """What a vehicle did in one UTC hour. The four lengths add up to what is known of it.

    `distance_m` is what was driven; a piece that crosses the hour is shared out by time.
    `trip_count` are the trips that started in the hour. `away` is as much of the four lengths as
    the vehicle spent away from every depot.
    """

    hour: datetime
    driving: timedelta = _NONE
    idling: timedelta = _NONE
    parked: timedelta = _NONE
    offline: timedelta = _NONE
    distance_m: float = 0.0
    trip_count: int = 0
    away: timedelta = _NONE


@dataclass(slots=True)
class _Sum:
    """An hour that grows."""

    hour: datetime
    until: datetime
    driving: timedelta
    idling: timedelta
    parked: timedelta
    offline: timedelta
    distance_m: float
    trip_count: int
    away: timedelta


def hour_of(at: datetime) -> datetime:
    """Return the start of the UTC hour of an instant."""
    return at.replace(minute=0, second=0, microsecond=0)


class UsageHours:
    """Adds pieces and departures up by hour; a small mutable sum, alive within one call."""

    def __init__(self, start: Iterable[UsageHour], places: DepotIndex) -> None:
        self._places = places
        self._hours = {
            usage_hour.hour: _Sum(usage_hour[0], usage_hour[0] + _HOUR, *usage_hour[1:])
            for usage_hour in start
        }
        self._last: _Sum | None = None

    def add(self, piece: SegmentPiece) -> None:
        """Share a piece out to the hours that it touches."""
        if piece.state is SegmentState.DRIVING:
            self._add_driving(piece.instants, piece.metres)
        elif piece.state is SegmentState.OFFLINE:
            start, end = piece.instants
            self._share(piece.state, start, end, 0.0, away=self._is_away(piece))
        else:
            self._add_standing(piece.state, piece.instants, piece.starts)

    def _add_driving(self, instants: Sequence[datetime], metres: Sequence[float]) -> None:
        usage = self._at(instants[0])
        if instants[-1] <= usage.until:
            length = instants[-1] - instants[0]
            usage.driving += length
            usage.away += length
            # One by one, as floats add up to something else in another order.
            usage.distance_m = reduce(add, metres, usage.distance_m)
            return
        for start, end, driven_m in zip(instants, instants[1:], metres, strict=False):
            self._share(SegmentState.DRIVING, start, end, driven_m, away=True)

    def _add_standing(
        self, state: SegmentState, instants: Sequence[datetime], starts: Sequence[Point]
    ) -> None:
        if len(starts) > 1 and instants[-1] - instants[0] > MAX_HOURLY_SILENCE:
            for start, end, place in zip(instants, instants[1:], starts, strict=False):
                self._add_standing(state, (start, end), (place,))
            return
        since, where = instants[0], starts[0]
        away = self._places.at(where) is None
        for at, point in zip(instants[1:], starts[1:], strict=False):
            if point == where:
                continue
            where = point
            if (self._places.at(point) is None) is not away:
                self._share(state, since, at, 0.0, away=away)
                since, away = at, not away
        self._share(state, since, instants[-1], 0.0, away=away)

    def _share(
        self, state: SegmentState, start: datetime, end: datetime, driven_m: float, *, away: bool
    ) -> None:
        if end - start > MAX_HOURLY_SILENCE and state is not SegmentState.DRIVING:
            self._share_silence(state, start, end, away=away)
            return
        usage = self._at(start)
        if end <= usage.until:
            _grow(usage, state, end - start, driven_m, away=away)
            return
        whole = end - start
        while start < end:
            usage = self._at(start)
            until = min(end, usage.until)
            _grow(usage, state, until - start, driven_m * ((until - start) / whole), away=away)
            start = until

    def _share_silence(
        self, state: SegmentState, start: datetime, end: datetime, *, away: bool
    ) -> None:
        """Give the hours at both ends of a long silence their parts, and no other hour any."""
        for since, until in ((start, hour_of(start) + _HOUR), (hour_of(end), end)):
            if _NONE < until - since < _HOUR:
                _grow(self._at(since), state, until - since, 0.0, away=away)

    def depart(self, at: datetime) -> None:
        """Count a trip that started."""
        self._at(at).trip_count += 1

    def since(self, at: datetime) -> tuple[UsageHour, ...]:
        """Return the hours from the one of an instant on, in order."""
        return self.between(at, _EVER)

    def between(self, at: datetime, until: datetime) -> tuple[UsageHour, ...]:
        """Return the hours from the one of an instant on that start before another one."""
        first = hour_of(at)
        sums: Iterable[_Sum] = self._hours.values()
        if len(self._hours) > 1:
            sums = sorted(sums, key=_hour)
        return tuple(
            UsageHour(
                usage.hour,
                usage.driving,
                usage.idling,
                usage.parked,
                usage.offline,
                usage.distance_m,
                usage.trip_count,
                usage.away,
            )
            for usage in sums
            if first <= usage.hour < until
        )

    def _is_away(self, unseen: SegmentPiece) -> bool:
        depot_id = self._places.at(unseen.starts[0])
        return depot_id is None or unseen.moved or self._places.at(unseen.end) != depot_id

    def _at(self, at: datetime) -> _Sum:
        last = self._last
        if last is None or not last.hour <= at < last.until:
            hour = hour_of(at)
            last = self._hours.get(hour)
            if last is None:
                last = _Sum(hour, hour + _HOUR, _NONE, _NONE, _NONE, _NONE, 0.0, 0, _NONE)
                self._hours[hour] = last
            self._last = last
        return last


def _grow(
    usage: _Sum, state: SegmentState, length: timedelta, driven_m: float, *, away: bool
) -> None:
    if away:
        usage.away += length
    if state is SegmentState.DRIVING:
        usage.driving += length
        usage.distance_m += driven_m
    elif state is SegmentState.IDLING:
        usage.idling += length
    elif state is SegmentState.PARKED:
        usage.parked += length
    else:
        usage.offline += length
