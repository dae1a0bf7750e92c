"""How well detected trips and idling agree with what truly happened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class HappenedTrip(Protocol):
    """A trip, detected or true."""

    @property
    def started_at(self) -> datetime:
        """Departure."""

    @property
    def ended_at(self) -> datetime:
        """Arrival."""

    @property
    def distance_m(self) -> float:
        """Metres driven."""


class Interval(Protocol):
    """An interval of idling, detected or true."""

    @property
    def started_at(self) -> datetime:
        """Begin."""

    @property
    def ended_at(self) -> datetime:
        """End."""


@dataclass(frozen=True, slots=True)
class Score:
    """Agreement of two sets of intervals, with counts and totals to add up over vehicles."""

    matched: int = 0
    detected: int = 0
    true: int = 0
    detected_total: float = 0.0
    true_total: float = 0.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.matched + other.matched,
            self.detected + other.detected,
            self.true + other.true,
            self.detected_total + other.detected_total,
            self.true_total + other.true_total,
        )

    @property
    def precision(self) -> float:
        """Share of what was detected that is true; 1 where nothing was detected."""
        return self.matched / self.detected if self.detected else 1.0

    @property
    def recall(self) -> float:
        """Share of what is true that was detected; 1 where nothing was to find."""
        return self.matched / self.true if self.true else 1.0

    @property
    def error(self) -> float:
        """Relative error of the total: metres of trips, seconds of idling."""
        if not self.true_total:
            return 0.0 if not self.detected_total else float("inf")
        return self.detected_total / self.true_total - 1


def score_trips(
    happened_trips: Sequence[HappenedTrip], true: Sequence[HappenedTrip], *, tolerance_s: float
) -> Score:
    """Match one vehicle's trips: both ends within the tolerance. Totals are metres."""
    return Score(
        _matches(happened_trips, true, tolerance_s),
        len(happened_trips),
        len(true),
        sum(trip.distance_m for trip in happened_trips),
        sum(trip.distance_m for trip in true),
    )


def score_idling(
    intervals: Sequence[Interval],
    true: Sequence[Interval],
    *,
    tolerance_s: float,
    longer_than_s: float,
) -> Score:
    """Match one vehicle's long idle intervals. Totals are the seconds of all, short ones too."""
    long_found = [interval for interval in intervals if _lasts_s(interval) > longer_than_s]
    long_true = [interval for interval in true if _lasts_s(interval) > longer_than_s]
    return Score(
        _matches(long_found, long_true, tolerance_s),
        len(long_found),
        len(long_true),
        sum(map(_lasts_s, intervals)),
        sum(map(_lasts_s, true)),
    )


def _matches(intervals: Sequence[Interval], true: Sequence[Interval], tolerance_s: float) -> int:
    """Count pairs whose ends agree; each of either side is in one pair at most."""
    waiting: defaultdict[int, list[Interval]] = defaultdict(list)
    for interval in intervals:
        waiting[int(interval.started_at.timestamp() // max(tolerance_s, 1.0))].append(interval)
    count = 0
    for wanted in true:
        slot = int(wanted.started_at.timestamp() // max(tolerance_s, 1.0))
        near = [interval for index in (slot - 1, slot, slot + 1) for interval in waiting[index]]
        agreeing = [interval for interval in near if _apart_s(interval, wanted) <= tolerance_s]
        if agreeing:
            best = min(agreeing, key=lambda interval: _apart_s(interval, wanted))
            _remove(waiting.values(), best)
            count += 1
    return count


def _remove(slots: Iterable[list[Interval]], interval: Interval) -> None:
    for slot in slots:
        if any(other is interval for other in slot):
            slot[:] = [other for other in slot if other is not interval]
            return


def _apart_s(interval: Interval, other: Interval) -> float:
    return max(
        abs((interval.started_at - other.started_at).total_seconds()),
        abs((interval.ended_at - other.ended_at).total_seconds()),
    )


def _lasts_s(interval: Interval) -> float:
    return (interval.ended_at - interval.started_at).total_seconds()
