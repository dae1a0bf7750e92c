"""Forecast of all depots and classes, each judged in hindsight beside the same hour last week.

The last weeks are forecast one after the other, each from the days before it alone (a rolling
origin). The seasonal model is used where it errs less by the margin over all of them and in more
than half of them; elsewhere the same hour last week is what a plan gets.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from optimizer.forecast.seasonal import WEEK, Habits, same_hour_last_week, seasonal
from optimizer.search import Search
from optimizer.work_budget import Floats, WorkBudget
from schemas.plans.forecast import (
    FoldError,
    Forecast,
    ForecastBackTest,
    ForecastInputs,
    ForecastProgress,
    Method,
    SeriesForecast,
)

ForecastCallback = Callable[[ForecastProgress], None]

SEASONAL: Final[Method] = "seasonal"
NAIVE: Final[Method] = "same hour last week"

_HOURS: Final = 24
_DAY: Final = timedelta(days=1)
_TOLD: Final = 20


def inputs_hash(inputs: ForecastInputs) -> str:
    """Return the SHA-256, in hexadecimal, of the sorted inputs."""
    return hashlib.sha256(inputs.model_dump_json().encode()).hexdigest()


def forecast(
    inputs: ForecastInputs, search: Search, progress: ForecastCallback | None = None
) -> Forecast:
    """Return the days after the last one observed, series by series.

    When the deterministic time is over, what is left uses the same hour last week, and says so.
    `progress` is called some twenty times. The seed orders nothing here and is kept.
    """
    effort = WorkBudget(search.time_limit_s)
    counted = daily_counts(inputs)
    habits = habits_of(inputs)
    series_forecasts: list[SeriesForecast] = []
    for number, (key, counts) in enumerate(counted.items()):
        series_forecasts.append(_series(inputs, key, counts, habits, effort))
        if progress is not None and number % max(1, len(counted) // _TOLD) == 0:
            progress(
                ForecastProgress(
                    done=number + 1,
                    series=len(counted),
                    spent_s=effort.spent_s,
                    limit_s=effort.limit_s,
                )
            )
    cut_short = any(series_forecast.reason == _CUT_SHORT for series_forecast in series_forecasts)
    ours, naive = _together(series_forecasts)
    return Forecast(
        municipality_id=inputs.municipality_id,
        inputs_hash=inputs_hash(inputs),
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status="feasible" if cut_short else "complete",
        first_day=inputs.last_day + _DAY,
        series=tuple(series_forecasts),
        seasonal_wape=ours,
        naive_wape=naive,
        explanation=_explanation(inputs, series_forecasts, ours, naive),
    )


_CUT_SHORT: Final = (
    "The time limit was reached before this series was judged; remedy: raise it. Until then it is "
    "the same hour last week."
)


def daily_counts(inputs: ForecastInputs) -> dict[tuple[str, str], Floats]:
    """Return the departures of each depot and class: local days by 24 hours, in order of name.

    The hour that comes twice in autumn counts as one, the one that is skipped in spring has none.
    Departures of other days than those observed do not count.
    """
    zone = ZoneInfo(inputs.timezone)
    departures: defaultdict[tuple[str, str], Floats] = defaultdict(
        lambda: np.zeros((inputs.days, _HOURS))
    )
    for departure in inputs.departures:
        local = departure.started_at.astimezone(zone)
        day = (local.date() - inputs.first_day).days
        if 0 <= day < inputs.days:
            departures[departure.depot_id, departure.trip_class][day, local.hour] += 1
    return dict(sorted(departures.items()))


def habits_of(inputs: ForecastInputs) -> Habits:
    """Return weekdays and holidays of the days observed and of those to be forecast."""
    days = [inputs.first_day + number * _DAY for number in range(inputs.days + inputs.horizon_days)]
    off = frozenset(inputs.holidays)
    return Habits(
        np.array([day.weekday() for day in days], dtype=np.int64),
        np.array([day in off for day in days], dtype=bool),
    )


def _series(
    inputs: ForecastInputs,
    key: tuple[str, str],
    counts: Floats,
    habits: Habits,
    effort: WorkBudget,
) -> SeriesForecast:
    rules = inputs.rules
    depot_id, trip_class = key
    test: ForecastBackTest | None = None
    used = NAIVE
    needed = (rules.least_weeks + rules.folds) * WEEK
    if len(counts) < needed:
        reason = (
            f"{len(counts)} days were observed and {needed} are needed to judge: "
            f"{rules.least_weeks} weeks before {rules.folds} that are forecast in hindsight."
        )
    elif effort.over:
        reason = _CUT_SHORT
    else:
        test = back_test(inputs.first_day, counts, habits, rules.folds, effort)
        used, reason = _verdict(test, rules.margin)
    horizon = inputs.horizon_days
    ahead = (
        seasonal(counts, habits, effort, horizon)
        if used == SEASONAL
        else same_hour_last_week(counts, horizon)
    )
    return SeriesForecast(
        depot_id=depot_id,
        trip_class=trip_class,
        used=used,
        reason=reason,
        back_test=test,
        hourly=tuple(tuple(map(float, day)) for day in ahead),
    )


def back_test(
    first_day: date, counts: Floats, habits: Habits, folds: int, effort: WorkBudget
) -> ForecastBackTest:
    """Return how both methods did in so many last weeks, each forecast from the days before it."""
    fold_errors: list[FoldError] = []
    errors = np.zeros(2)
    for fold in range(folds, 0, -1):
        origin = len(counts) - fold * WEEK
        came = counts[origin : origin + WEEK]
        ours = float(np.abs(seasonal(counts[:origin], habits, effort) - came).sum())
        naive = float(np.abs(same_hour_last_week(counts[:origin]) - came).sum())
        errors += ours, naive
        fold_errors.append(
            FoldError(
                first_day=first_day + origin * _DAY,
                departures=int(came.sum()),
                seasonal_mae=ours / came.size,
                naive_mae=naive / came.size,
            )
        )
    came_in_all = max(1, sum(fold_error.departures for fold_error in fold_errors))
    return ForecastBackTest(
        folds=tuple(fold_errors),
        seasonal_wape=errors[0] / came_in_all,
        naive_wape=errors[1] / came_in_all,
        folds_won=sum(
            1 for fold_error in fold_errors if fold_error.seasonal_mae < fold_error.naive_mae
        ),
    )


def _verdict(test: ForecastBackTest, margin: float) -> tuple[Method, str]:
    """Return what is used, and why, with the numbers."""
    weeks = len(test.folds)
    wins = test.seasonal_wape < (1 - margin) * test.naive_wape and 2 * test.folds_won > weeks
    text = (
        f"Over {weeks} weeks forecast in hindsight the seasonal model erred by "
        f"{test.seasonal_wape:.1%} of the departures, the same hour last week by "
        f"{test.naive_wape:.1%}; it was closer in {test.folds_won} of them."
    )
    if wins:
        return SEASONAL, f"{text} That is more than the margin of {margin:.0%}: it is used."
    return NAIVE, (
        f"{text} It is used only where it errs less by {margin:.0%} and in more than half of the "
        "weeks: it is not."
    )


def _together(series_forecasts: list[SeriesForecast]) -> tuple[float | None, float | None]:
    """Return the WAPE of both methods over all series that were judged."""
    judged = [
        series_forecast.back_test
        for series_forecast in series_forecasts
        if series_forecast.back_test is not None
    ]
    came = [sum(fold.departures for fold in tested.folds) for tested in judged]
    total = sum(came)
    if not total:
        return None, None
    return (
        sum(tested.seasonal_wape * max(1, n) for tested, n in zip(judged, came, strict=True))
        / total,
        sum(tested.naive_wape * max(1, n) for tested, n in zip(judged, came, strict=True)) / total,
    )


def _explanation(
    inputs: ForecastInputs,
    series_forecasts: list[SeriesForecast],
    ours: float | None,
    naive: float | None,
) -> str:
    used = sum(1 for series_forecast in series_forecasts if series_forecast.used == SEASONAL)
    text = (
        f"{len(series_forecasts)} depots and classes had departures on {inputs.days} days. "
        "The seasonal model "
        f"is used for {used}, the same hour last week for {len(series_forecasts) - used}."
    )
    if ours is None or naive is None:
        return f"{text} None could be judged in hindsight."
    return (
        f"{text} In hindsight the one errs by {ours:.1%} of all departures, the other by "
        f"{naive:.1%}."
    )
