"""Our forecast beside the same hour last week, on a year of a municipality's made-up departures.

Rates have a week's shape, school holidays' worth of drift, and Danish public holidays; departures
are Poisson. `python -m bench.forecast` prints the figures.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
from holidays import country_holidays

from optimizer.forecast.solve import forecast
from optimizer.search import Search
from schemas.plans.forecast import Departure, ForecastInputs, ForecastRules

DEPOTS: Final = 10
CLASSES: Final = ("car", "van", "near")
FIRST: Final = date(2026, 1, 5)
DAYS: Final = 7 * 26
SEARCH: Final = Search(seed=1, time_limit_s=60)

_WORKDAYS: Final = 5
_HOLIDAY: Final = 0.15
_WEEKEND: Final = 0.12


def departures(seed: int, days: int = DAYS) -> ForecastInputs:
    """Return half a year of departures of thirty series, Easter and Whitsun included."""
    rng = np.random.default_rng(seed)
    off = set(country_holidays("DK", years=[FIRST.year]))
    hours = np.arange(24)
    entries: list[Departure] = []
    for depot in range(DEPOTS):
        for trip_class in CLASSES:
            size = rng.uniform(0.5, 4)
            peaks = rng.normal([8, 12.5], 0.5)
            shape = sum(np.exp(-(((hours - peak) / 1.8) ** 2)) for peak in peaks)
            level = 1.0
            for number in range(days):
                day = FIRST + timedelta(days=number)
                level *= np.exp(rng.normal(0, 0.01))
                share = _WEEKEND if day.weekday() >= _WORKDAYS else 1.0
                share = min(share, _HOLIDAY) if day in off else share
                for hour, count in enumerate(rng.poisson(size * shape * level * share)):
                    at = datetime(day.year, day.month, day.day, hour, 30, tzinfo=UTC)
                    entries += [
                        Departure(depot_id=f"m/depot-{depot}", trip_class=trip_class, started_at=at)
                    ] * int(count)
    return ForecastInputs(
        municipality_id="m",
        timezone="UTC",
        first_day=FIRST,
        last_day=FIRST + timedelta(days=days - 1),
        holidays=tuple(off),
        departures=tuple(entries),
        rules=ForecastRules(folds=16),
    )


def forecast_figures() -> dict[str, float]:
    """Return the WAPE of both, the share of series where ours is used, and the time."""
    inputs = departures(1)
    began = time.process_time()
    plan = forecast(inputs, SEARCH)
    took_s = time.process_time() - began
    return {
        "forecast_wape": plan.seasonal_wape or 0.0,
        "last_week_forecast_wape": plan.naive_wape or 0.0,
        "forecast_used_share": sum(
            series_forecast.used == "seasonal" for series_forecast in plan.series
        )
        / len(plan.series),
        "forecast_s": took_s,
    }


if __name__ == "__main__":
    print(json.dumps(forecast_figures(), indent=2))
