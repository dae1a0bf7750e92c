"""From recorded round trips to departures by depot and class: the planner's outings."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.demand import outings
from optimizer.study import NothingToStudyError, Posed, nothing_driven
from schemas.plans.demand import PlacementInputs
from schemas.plans.forecast import WEEK_DAYS, Departure, ForecastInputs, ForecastRules

_DAY: Final = timedelta(days=1)
_PLAIN: Final = ForecastRules()


def forecast_inputs(
    rows: PlacementInputs,
    holidays: Iterable[date],
    horizon_days: int,
    rules: ForecastRules = _PLAIN,
) -> Posed[ForecastInputs]:
    """Return the departures of the whole local days that the rows hold.

    The days of the first outing and of the newest end are seen in part, and do not count; the
    forecast begins with the latter. Raises `NothingToStudyError` without an outing, and with
    fewer than seven whole days.
    """
    all_outings = outings(rows)
    if not all_outings:
        raise nothing_driven(rows)
    zone = ZoneInfo(rows.timezone)
    first = all_outings[0].started_at.astimezone(zone).date() + _DAY
    last = max(outing.ended_at for outing in all_outings).astimezone(zone).date() - _DAY
    days = (last - first).days + 1
    if days < WEEK_DAYS:
        raise NothingToStudyError(
            f"{max(0, days)} whole days of {rows.municipality_id} have been seen, and a forecast "
            f"takes {WEEK_DAYS} at least; record longer, or look further back with --weeks"
        )
    off = [holiday for holiday in holidays if first <= holiday <= last + horizon_days * _DAY]
    inputs = ForecastInputs(
        municipality_id=rows.municipality_id,
        timezone=rows.timezone,
        first_day=first,
        last_day=last,
        holidays=tuple(off),
        horizon_days=horizon_days,
        rules=rules,
        departures=tuple(
            Departure(
                depot_id=outing.depot_id,
                trip_class=outing.vehicle_class.value,
                started_at=outing.started_at,
            )
            for outing in all_outings
            if first <= outing.started_at.astimezone(zone).date() <= last
        ),
    )
    return Posed(
        inputs,
        f"{len(inputs.departures)} outings that began on the whole days {first} to {last} ({days} "
        f"days, {len(inputs.holidays)} holidays and days off among these and the {horizon_days} to "
        f"come), by the class of what drove them. What was never driven for want of a vehicle is "
        "not in them. Of the days to come a judgement in hindsight covers the first week.",
    )
