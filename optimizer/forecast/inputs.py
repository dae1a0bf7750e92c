"""From recorded round trips to departures by depot and class: the planner's trip chains."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.demand import trip_chains
from optimizer.study import NothingToStudyError, StudyInputs, nothing_driven
from schemas.plans.demand import PlacementInputs
from schemas.plans.forecast import WEEK_DAYS, Departure, ForecastInputs, ForecastRules

_DAY: Final = timedelta(days=1)
_PLAIN: Final = ForecastRules()


def forecast_inputs(
    rows: PlacementInputs,
    holidays: Iterable[date],
    horizon_days: int,
    rules: ForecastRules = _PLAIN,
) -> StudyInputs[ForecastInputs]:
    """Return the departures of the whole local days that the rows hold.

    The days of the first trip chain and of the newest end are seen in part, and do not count; the
    forecast begins with the latter. Raises `NothingToStudyError` without a trip chain, and with
    fewer than seven whole days.
    """
    all_chains = trip_chains(rows)
    if not all_chains:
        raise nothing_driven(rows)
    zone = ZoneInfo(rows.timezone)
    first = all_chains[0].started_at.astimezone(zone).date() + _DAY
    last = max(trip_chain.ended_at for trip_chain in all_chains).astimezone(zone).date() - _DAY
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
                depot_id=trip_chain.depot_id,
                trip_class=trip_chain.vehicle_class.value,
                started_at=trip_chain.started_at,
            )
            for trip_chain in all_chains
            if first <= trip_chain.started_at.astimezone(zone).date() <= last
        ),
    )
    return StudyInputs(
        inputs,
        f"{len(inputs.departures)} round trips that began on the whole days {first} to {last} "
        f"({days} days, {len(inputs.holidays)} holidays and days off among these "
        f"and the {horizon_days} to come), by the class of what drove them. What was never driven "
        "for want of a vehicle is not in them. Of the days to come a judgement in hindsight covers "
        "the first week.",
    )
