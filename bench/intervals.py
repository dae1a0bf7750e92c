"""Sets of intervals: what they have in common, what lies between them, how long they are."""

from __future__ import annotations

from collections.abc import Iterable

from bench.rivals import Found
from tests.scenario.truth_score import Interval


def lasts_s(interval: Interval) -> float:
    """Return the length in seconds."""
    return (interval.ended_at - interval.started_at).total_seconds()


def joined(intervals: Iterable[Interval]) -> list[Found]:
    """Return what lies in any of the intervals, as intervals apart from each other, in order."""
    apart: list[Found] = []
    for interval in sorted(intervals, key=lambda each: each.started_at):
        if apart and interval.started_at <= apart[-1].ended_at:
            last = apart.pop()
            apart.append(Found(last.started_at, max(last.ended_at, interval.ended_at)))
        else:
            apart.append(Found(interval.started_at, interval.ended_at))
    return apart


def common(some: Iterable[Interval], others: Iterable[Interval]) -> list[Found]:
    """Return what lies in both sets of intervals."""
    left, right = joined(some), joined(others)
    both: list[Found] = []
    while left and right:
        started_at = max(left[0].started_at, right[0].started_at)
        ended_at = min(left[0].ended_at, right[0].ended_at)
        if started_at < ended_at:
            both.append(Found(started_at, ended_at))
        shorter = left if left[0].ended_at == ended_at else right
        del shorter[0]
    return both


def between(intervals: Iterable[Interval], within: Interval) -> list[Found]:
    """Return what of an interval lies in none of the others."""
    free: list[Found] = []
    at = within.started_at
    for entry in common(intervals, [within]):
        if entry.started_at > at:
            free.append(Found(at, entry.started_at))
        at = entry.ended_at
    if at < within.ended_at:
        free.append(Found(at, within.ended_at))
    return free


def total_s(intervals: Iterable[Interval]) -> float:
    """Return how many seconds lie in any of the intervals."""
    return sum(map(lasts_s, joined(intervals)))


def differing_s(some: Iterable[Interval], others: Iterable[Interval]) -> float:
    """Return how many seconds lie in one of the two sets of intervals only."""
    left, right = list(some), list(others)
    return total_s(left) + total_s(right) - 2 * total_s(common(left, right))
