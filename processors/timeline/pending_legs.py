"""Pending legs, not final yet: where a vehicle departed, arrived and rested.

`tail` are the open legs, oldest first, and never empty where nothing else is said; an index past
the last one says that there is none. `rest_m` is how far around its place a vehicle is at rest,
`far_m` how far from a place it has left it.
"""

from __future__ import annotations

from collections.abc import Sequence

from processors.geodesy import Point, is_within
from processors.timeline.legs import Leg


def departure(tail: Sequence[Leg], place: Point, rest_m: float, *, first: int) -> int:
    """Return the leg on which the vehicle left its place, if it has: the last try counts.

    Never one before `first`.
    """
    index = len(tail) - 1
    while index and not is_within(place, tail[index].start, rest_m):
        index -= 1
    while index and tail[index].moving and tail[index - 1].moving:
        index -= 1
    return max(index, first)


def oldest_younger_than(tail: Sequence[Leg], age_s: float) -> int:
    """Return the first leg that began no longer than so before the end of the last one."""
    ended_at = tail[-1].ended_at
    index = 0
    while (ended_at - tail[index].started_at).total_seconds() > age_s:
        index += 1
        if index == len(tail):
            break
    return index


def rested_s(tail: Sequence[Leg], *, first: int) -> float:
    """Return how long the vehicle has been at rest, as far as the legs from `first` on tell."""
    index = len(tail) - 1
    while index > first and not tail[index - 1].moving:
        index -= 1
    return (tail[-1].ended_at - tail[index].started_at).total_seconds()


def possible_arrival(tail: Sequence[Leg], far_m: float, *, first: int) -> int:
    """Return the first leg, from `first` on, from whose start no later point is far away.

    `tail` may be empty.
    """
    if not tail:
        return 0
    last = tail[-1].end
    for later in range(first, len(tail)):
        start = tail[later].start
        # Where the last point is far already, as on most of a drive, the others are not asked.
        if is_within(start, last, far_m) and all(
            is_within(start, leg.end, far_m) for leg in reversed(tail[later:-1])
        ):
            return later
    return len(tail)


def arrival(tail: Sequence[Leg], rest_m: float, *, first: int, otherwise: int) -> int:
    """Return the leg from `first` on at whose start the vehicle had come to its place.

    From there on it stays within `rest_m`. Where it never rests like that: at whose start it first
    rested, and where it never rested, `otherwise`. `tail` may be empty.
    """
    resting = [index for index in range(first, len(tail)) if not tail[index].moving]
    for index in resting:
        start = tail[index].start
        if all(is_within(start, leg.end, rest_m) for leg in reversed(tail[index:])):
            return index
    return resting[0] if resting else otherwise
