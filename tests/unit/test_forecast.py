"""A forecast is used where it beats the same hour last week in hindsight, and only there."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from pydantic import ValidationError

from optimizer.forecast.seasonal import same_hour_last_week, seasonal
from optimizer.forecast.solve import daily_counts, forecast, habits_of
from optimizer.search import Search
from optimizer.work_budget import Floats, WorkBudget
from schemas.plans.forecast import Departure, ForecastInputs, ForecastProgress, ForecastRules

MONDAY = date(2026, 1, 5)
SEARCH = Search(seed=1, time_limit_s=30)
WEEKS = 16
EASTER = tuple(date(2026, 4, day) for day in (2, 3, 5, 6))


def inputs_of(counts: Floats, holidays: tuple[date, ...] = (), zone: str = "UTC") -> ForecastInputs:
    """Return departures that make these counts of days and hours."""
    return ForecastInputs(
        municipality_id="m",
        timezone=zone,
        first_day=MONDAY,
        last_day=MONDAY + timedelta(days=len(counts) - 1),
        holidays=holidays,
        departures=tuple(
            Departure(
                depot_id="m/a",
                trip_class="car",
                started_at=datetime(MONDAY.year, 1, MONDAY.day, tzinfo=UTC)
                + timedelta(days=int(day), hours=int(hour)),
            )
            for day, hour in np.argwhere(counts > 0)
            for _ in range(int(counts[day, hour]))
        ),
    )


def seasonal_counts(seed: int) -> Floats:
    """Return Poisson counts of busy mornings on workdays, and hardly any at Easter."""
    rng = np.random.default_rng(seed)
    rates = np.full((7 * WEEKS, 24), 0.2)
    rates[:, 7:10] = 6
    rates[:, 12:15] = 3
    for day in range(len(rates)):
        on = MONDAY + timedelta(days=day)
        if on.weekday() > 4 or on in EASTER:
            rates[day] = 0.2
    return rng.poisson(rates).astype(float)


def wandering_counts(seed: int) -> Floats:
    """Return counts whose every hour of the week wanders from what it was last week."""
    rng = np.random.default_rng(seed)
    weeks = [np.full((7, 24), 30.0)]
    for _ in range(WEEKS - 1):
        weeks.append(np.maximum(0, weeks[-1] + rng.choice([-6, 6], (7, 24))))
    return np.concatenate(weeks)


@pytest.mark.parametrize("seed", range(5))
def test_seasons_with_holidays_beat_last_week(seed: int) -> None:
    plan = forecast(inputs_of(seasonal_counts(seed), EASTER), SEARCH)
    (series_forecast,) = plan.series
    assert series_forecast.used == "seasonal"
    assert series_forecast.back_test is not None
    assert series_forecast.back_test.seasonal_wape < 0.9 * series_forecast.back_test.naive_wape
    assert f"{series_forecast.back_test.naive_wape:.1%}" in series_forecast.reason
    # The Saturday after the last week is one of the quiet days.
    assert sum(series_forecast.hourly[5]) < 0.5 * sum(series_forecast.hourly[1])


@pytest.mark.parametrize("seed", range(5))
def test_a_random_walk_is_left_to_last_week(seed: int) -> None:
    counts = wandering_counts(seed)
    (series_forecast,) = forecast(inputs_of(counts), SEARCH).series
    assert series_forecast.used == "same hour last week"
    assert "it is not" in series_forecast.reason
    assert np.array_equal(np.array(series_forecast.hourly), counts[-7:])


def test_the_back_test_is_what_could_have_been_forecast_then() -> None:
    counts = seasonal_counts(9)
    inputs = inputs_of(counts, EASTER)
    (series_forecast,) = forecast(inputs, SEARCH).series
    assert series_forecast.back_test is not None
    errors = []
    for number, fold in enumerate(series_forecast.back_test.folds):
        origin = len(counts) - 7 * (len(series_forecast.back_test.folds) - number)
        assert fold.first_day == MONDAY + timedelta(days=origin)
        # Whoever stood there then had only these days.
        then = inputs_of(counts[:origin], EASTER)
        values = daily_counts(then)["m/a", "car"]
        ours = np.abs(
            seasonal(values, habits_of(then), WorkBudget(1e9)) - counts[origin : origin + 7]
        )
        naive = np.abs(same_hour_last_week(values) - counts[origin : origin + 7])
        assert fold.seasonal_mae == pytest.approx(ours.mean())
        assert fold.naive_mae == pytest.approx(naive.mean())
        errors.append((ours.sum(), naive.sum(), counts[origin : origin + 7].sum()))
    ours_sum, naive_sum, came = map(sum, zip(*errors, strict=True))
    assert series_forecast.back_test.seasonal_wape == pytest.approx(ours_sum / came)
    assert series_forecast.back_test.naive_wape == pytest.approx(naive_sum / came)


def test_a_holiday_ahead_is_not_a_workday() -> None:
    counts = seasonal_counts(3)[:-21]  # ends on Sunday 5 April; Easter Monday is ahead
    plan = forecast(inputs_of(counts, EASTER), SEARCH)
    assert plan.first_day == date(2026, 4, 6)
    (series_forecast,) = plan.series
    assert series_forecast.used == "seasonal"
    assert sum(series_forecast.hourly[0]) < 0.4 * sum(series_forecast.hourly[1])


def test_hours_are_local_and_the_order_of_rows_is_lost() -> None:
    counts = np.zeros((7 * WEEKS, 24))
    counts[:, 8] = 1
    inputs = inputs_of(counts, zone="Europe/Copenhagen")
    local = daily_counts(inputs)["m/a", "car"]
    assert local[0].nonzero()[0].tolist() == [9]
    assert local[100].nonzero()[0].tolist() == [10]  # summer time since 29 March
    backwards = inputs.model_copy(update={"departures": inputs.departures[::-1]})
    again = ForecastInputs.model_validate(backwards.model_dump())
    assert forecast(again, SEARCH) == forecast(inputs, SEARCH)


def test_too_little_to_judge_and_too_little_time_are_said() -> None:
    counts = seasonal_counts(1)
    (short,) = forecast(inputs_of(counts[:30]), SEARCH).series
    assert (short.used, short.back_test) == ("same hour last week", None)
    assert "30 days were observed and 70 are needed" in short.reason
    twice = inputs_of(counts)
    both = twice.model_copy(
        update={
            "departures": twice.departures
            + tuple(
                departure.model_copy(update={"depot_id": "m/b"}) for departure in twice.departures
            )
        }
    )
    forecast_progresses: list[ForecastProgress] = []
    plan = forecast(both, Search(seed=1, time_limit_s=1e-6), forecast_progresses.append)
    assert plan.status == "feasible"
    assert [series_forecast.used for series_forecast in plan.series] == [
        "seasonal",
        "same hour last week",
    ]
    assert "time limit" in plan.series[1].reason
    assert [forecast_progress.done for forecast_progress in forecast_progresses] == [1, 2]
    with pytest.raises(ValidationError, match="6 days from 2026-01-05"):
        inputs_of(counts[:6])
    with pytest.raises(ValidationError, match="folds"):
        ForecastRules(folds=1)


def test_last_week_recurs_beyond_a_week_and_a_seasonal_week_alike() -> None:
    counts = seasonal_counts(1)
    longer = inputs_of(counts, EASTER).model_copy(update={"horizon_days": 17})
    (series_forecast,) = forecast(longer, SEARCH).series
    (week,) = forecast(inputs_of(counts, EASTER), SEARCH).series
    assert len(series_forecast.hourly) == 17
    assert series_forecast.hourly[:7] == week.hourly
    assert series_forecast.back_test == week.back_test
    assert np.array_equal(same_hour_last_week(counts, 17)[14:], counts[-7:-4])
