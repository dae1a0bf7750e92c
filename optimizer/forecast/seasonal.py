"""The week ahead from a profile of the week, holidays, and the level that it has lately had.

Counts are a matrix of local days and hours. A weekday's hour is the mean of its past, newer weeks
weighing more; a holiday is the mean of past holidays and of one Sunday; the level is the ratio of
recent weeks to the profile, smoothed exponentially. Slow trends are followed by the
weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from optimizer.work_budget import Bools, Floats, Ints, WorkBudget

WEEK: Final = 7
_SUNDAY: Final = 6


@dataclass(frozen=True, slots=True)
class Habits:
    """Days since the first: their weekday (0 is Monday), and whether they are holidays."""

    weekday: Ints
    holiday: Bools


@dataclass(frozen=True, slots=True)
class Memory:
    """How fast the past is forgotten: the profile's half-life, and the level's smoothing."""

    half_life_weeks: float
    smoothing: float


MEMORIES: Final = tuple(
    Memory(half_life, smoothing) for half_life in (2.0, 6.0, 1000.0) for smoothing in (0.0, 0.3)
)


def same_hour_last_week(counts: Floats, days: int = WEEK) -> Floats:
    """Return so many next days as the last seven were, again and again."""
    return counts[-WEEK:][np.arange(days) % WEEK]


def seasonal(counts: Floats, habits: Habits, effort: WorkBudget, days: int = WEEK) -> Floats:
    """Return so many next days, by the memory that would have forecast the last week best.

    `counts` are days by hours, at least two weeks; `habits` reach so many days further.
    """
    past, last = counts[:-WEEK], counts[-WEEK:]
    effort.spend(counts.size * (len(MEMORIES) + 1), 40 * (len(MEMORIES) + 1))
    errors = [float(np.abs(_ahead(past, habits, memory, WEEK) - last).sum()) for memory in MEMORIES]
    return _ahead(counts, habits, MEMORIES[int(np.argmin(errors))], days)


def _ahead(counts: Floats, habits: Habits, memory: Memory, further: int) -> Floats:
    """Return so many days after those that were counted."""
    days = len(counts)
    age_weeks = (days - 1 - np.arange(days)) // WEEK
    weights = 0.5 ** (age_weeks / memory.half_life_weeks)
    ordinary = ~habits.holiday[:days]
    weekday = habits.weekday[:days]
    profile = np.zeros((WEEK, counts.shape[1]))
    for day in range(WEEK):
        mine = ordinary & (weekday == day)
        if not mine.any():
            mine = weekday == day
        if mine.any():
            profile[day] = np.average(counts[mine], axis=0, weights=weights[mine])
    off = habits.holiday[:days]
    holiday = (counts[off].sum(axis=0) + profile[_SUNDAY]) / (off.sum() + 1)
    expected = np.where(off[:, None], holiday, profile[weekday])
    ahead = slice(days, days + further)
    plain = np.where(habits.holiday[ahead, None], holiday, profile[habits.weekday[ahead]])
    return plain * _level(counts, expected, memory.smoothing)


def _level(counts: Floats, expected: Floats, smoothing: float) -> float:
    """Return the smoothed ratio of what came to what the profile expects, week by week."""
    level = 1.0
    first = len(counts) % WEEK
    for start in range(first, len(counts), WEEK):
        due = float(expected[start : start + WEEK].sum())
        if due > 0:
            ratio = float(counts[start : start + WEEK].sum()) / due
            level += smoothing * (ratio - level)
    return level
