"""How much demand is to grow at each depot, by the forecast and only where that wins (ADR 0021)."""

from __future__ import annotations

from collections import Counter
from typing import Final

from optimizer.forecast.inputs import forecast_inputs
from optimizer.forecast.solve import SEASONAL, forecast
from optimizer.search import Search
from optimizer.study import NothingToStudyError
from schemas.fleet.master_data import VehicleType
from schemas.plans.demand import PlacementInputs
from schemas.plans.forecast import LONGEST_DAYS, ForecastRules

RULES: Final = ForecastRules(folds=3)
"""Seven weeks suffice to judge: a plan reads eight."""

_SEARCH: Final = Search(seed=1, time_limit_s=60.0)


def growth_of(inputs: PlacementInputs) -> dict[tuple[str, VehicleType], float]:
    """Return forecast departures a day over those observed, by depot and class.

    Where the same hour last week does as well, where there is too little to judge by, and where
    the policy wants no forecast, there is no entry: demand is taken to stay what it was.
    """
    if not inputs.policy.forecast:
        return {}
    horizon_days = min(LONGEST_DAYS, inputs.horizon_days)
    try:
        posed = forecast_inputs(inputs, inputs.holidays, horizon_days, RULES).inputs
    except NothingToStudyError:  # too few days are no growth, as above
        return {}
    seen = Counter((departure.depot_id, departure.trip_class) for departure in posed.departures)
    return {
        (series_forecast.depot_id, VehicleType(series_forecast.trip_class)): sum(
            map(sum, series_forecast.hourly)
        )
        / horizon_days
        / (seen[series_forecast.depot_id, series_forecast.trip_class] / posed.days)
        for series_forecast in forecast(posed, _SEARCH).series
        if series_forecast.used == SEASONAL
    }
