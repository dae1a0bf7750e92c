"""Underused vehicles: far below every absolute limit, and far below their class (ADR 9).

Kilometres alone mislead: a van that crawls from door to door drives few of them all day long. So
each absolute number can clear a vehicle, and none can condemn it alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from processors.alerts.statistics import VehicleStats
from schemas.fleet.rules import Rules

DAYS_A_YEAR: Final = 365.25
_COMPARABLE: Final = 3
"""A class of fewer vehicles has no average worth the name."""


@dataclass(frozen=True, slots=True)
class VehicleUse:
    """What one vehicle did in a window of observation.

    `available_h` is what its calendar gave it in the window, `used_available_h` how much of that it
    was on a trip.
    """

    vehicle_id: str
    vehicle_class: str
    distance_km: float
    engine_h: float
    days_used: int
    available_h: float
    used_available_h: float

    @property
    def used_share(self) -> float | None:
        """Share of the available time; None where the calendar gave none."""
        return self.used_available_h / self.available_h if self.available_h > 0 else None


@dataclass(frozen=True, slots=True)
class ComparedUse:
    """What one vehicle did beside its class; without an average where the class has too few."""

    vehicle: VehicleUse
    window_days: float
    class_average_km: float | None

    @property
    def subject_id(self) -> str:
        """Id of the vehicle."""
        return self.vehicle.vehicle_id

    @property
    def km_a_year(self) -> float:
        """Distance at the pace of a year."""
        return self.vehicle.distance_km * DAYS_A_YEAR / self.window_days

    @property
    def engine_h_a_year(self) -> float:
        """Engine hours at the pace of a year."""
        return self.vehicle.engine_h * DAYS_A_YEAR / self.window_days

    @property
    def class_km_a_year(self) -> float | None:
        """Average distance of the class at the pace of a year."""
        if self.class_average_km is None:
            return None
        return self.class_average_km * DAYS_A_YEAR / self.window_days


@dataclass(frozen=True, slots=True)
class Underused:
    """A vehicle below the limits, and the numbers that say so."""

    vehicle_id: str
    km_a_year: float
    engine_h_a_year: float
    days_used: int
    used_share: float | None
    reason: str


def underused(
    fleet: Sequence[VehicleUse], *, window_days: float, rules: Rules
) -> tuple[Underused, ...]:
    """Return the vehicles of one municipality that are underused, the least used first.

    A vehicle is when all of its absolute numbers are below their limits: kilometres and engine
    hours at the pace of a year, and the share of its available time, where the calendar gave any.
    Its distance must also be below `rules.underused_below_class_share` of its class's average,
    where the class has at least three vehicles and is not below the limit of kilometres as a
    whole. Raises `ValueError` for a window that has no length.
    """
    if window_days <= 0:
        raise ValueError(f"window_days is {window_days}; it must be above 0: observe first")
    rows = [
        Underused(
            use.vehicle.vehicle_id,
            use.km_a_year,
            use.engine_h_a_year,
            use.vehicle.days_used,
            use.vehicle.used_share,
            reason_underused(use, rules),
        )
        for use in _compared(fleet, window_days)
        if share_of_limits(use, rules) < 1
    ]
    return tuple(sorted(rows, key=lambda row: (row.km_a_year, row.vehicle_id)))


def compare_uses(fleet: Sequence[VehicleStats], rules: Rules) -> Sequence[ComparedUse]:
    """Return the use of vehicles that have been seen long enough, each beside its class.

    One that does not report is not known to stand still, and says nothing of its class. Distance
    and engine hours are at the pace of the longest observation, so that a vehicle that came late is
    not thought idle before it came.
    """
    seen = [
        vehicle
        for vehicle in fleet
        if vehicle.observed_days >= rules.alert_least_days
        and vehicle.silent_h <= rules.silent_after_h
    ]
    window_days = max((vehicle.observed_days for vehicle in seen), default=0.0)
    uses = [
        VehicleUse(
            vehicle_id=vehicle.vehicle_id,
            vehicle_class=vehicle.vehicle_class,
            distance_km=vehicle.distance_km * window_days / vehicle.observed_days,
            engine_h=vehicle.engine_h * window_days / vehicle.observed_days,
            days_used=vehicle.days_used,
            available_h=vehicle.available_h,
            used_available_h=vehicle.used_available_h,
        )
        for vehicle in seen
    ]
    return _compared(uses, window_days)


def share_of_limits(use: ComparedUse, rules: Rules) -> float:
    """Return how near a vehicle is to being used enough: below 1 it is below every limit.

    It is the greatest of its numbers, each as a share of its limit.
    """
    used_share = use.vehicle.used_share
    shares = [
        _share(use.km_a_year, rules.underused_below_km_a_year),
        _share(use.engine_h_a_year, rules.underused_below_engine_h_a_year),
    ]
    if used_share is not None:
        shares.append(_share(used_share, rules.underused_below_available_share))
    if use.class_average_km is not None and use.class_km_a_year is not None:
        # Where the whole class stands still, none is far below the others: all are underused.
        shares.append(
            min(
                _share(use.class_km_a_year, rules.underused_below_km_a_year),
                _share(
                    use.vehicle.distance_km,
                    rules.underused_below_class_share * use.class_average_km,
                ),
            )
        )
    return max(shares)


def reason_underused(use: ComparedUse, rules: Rules) -> str:
    """Return a vehicle's numbers beside their limits."""
    used_share = use.vehicle.used_share
    of_available = (
        "no time available by its calendar"
        if used_share is None
        else f"on a trip in {used_share:.1%} of its available time (limit "
        f"{rules.underused_below_available_share:.1%})"
    )
    return (
        f"{use.km_a_year:,.0f} km (limit {rules.underused_below_km_a_year:,.0f}) and "
        f"{use.engine_h_a_year:,.0f} engine hours (limit "
        f"{rules.underused_below_engine_h_a_year:,.0f}) a year, {of_available}"
        f"{_beside_class(use, rules)}; used on {use.vehicle.days_used} of "
        f"{use.window_days:.0f} days"
    )


def _compared(fleet: Sequence[VehicleUse], window_days: float) -> list[ComparedUse]:
    by_class: defaultdict[str, list[float]] = defaultdict(list)
    for use in fleet:
        by_class[use.vehicle_class].append(use.distance_km)
    averages = {
        vehicle_class: sum(distances_km) / len(distances_km)
        for vehicle_class, distances_km in by_class.items()
        if len(distances_km) >= _COMPARABLE
    }
    return [ComparedUse(use, window_days, averages.get(use.vehicle_class)) for use in fleet]


def _share(value: float, limit: float) -> float:
    """Return a value as a share of its limit; nothing is below a limit of 0."""
    return value / limit if limit > 0 else math.inf


def _beside_class(use: ComparedUse, rules: Rules) -> str:
    vehicle_class, class_km_a_year = use.vehicle.vehicle_class, use.class_km_a_year
    if use.class_average_km is None or class_km_a_year is None:
        return ""
    if class_km_a_year < rules.underused_below_km_a_year:
        return f"; the average {vehicle_class} is below the km too, {class_km_a_year:,.0f}"
    return (
        f"; {use.vehicle.distance_km / use.class_average_km:.0%} of the km of the average "
        f"{vehicle_class} (limit {rules.underused_below_class_share:.0%})"
    )
