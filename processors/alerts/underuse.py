"""Underused vehicles: far below every absolute limit, and far below their class (docs/domain.md).

Kilometres alone mislead: a van that crawls from door to door drives few of them all day long. So
each absolute number can clear a vehicle, and none can condemn it alone (ADR 9).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
    a_year = DAYS_A_YEAR / window_days
    by_class: defaultdict[str, list[float]] = defaultdict(list)
    for use in fleet:
        by_class[use.vehicle_class].append(use.distance_km)
    found = []
    for use in fleet:
        absolute = _below_all(use, a_year, rules)
        relative = _below_class(use, by_class[use.vehicle_class], a_year, rules)
        if absolute is None or relative is None:
            continue
        reason = f"{absolute}{relative}; used on {use.days_used} of {window_days:.0f} days"
        found.append(
            Underused(
                use.vehicle_id,
                use.distance_km * a_year,
                use.engine_h * a_year,
                use.days_used,
                use.used_share,
                reason,
            )
        )
    return tuple(sorted(found, key=lambda one: (one.km_a_year, one.vehicle_id)))


def _below_all(use: VehicleUse, a_year: float, rules: Rules) -> str | None:
    """Return how far a vehicle is below its absolute limits; None when it is not below all."""
    km, engine_h, share = use.distance_km * a_year, use.engine_h * a_year, use.used_share
    if (
        km >= rules.underused_below_km_a_year
        or engine_h >= rules.underused_below_engine_h_a_year
        or (share is not None and share >= rules.underused_below_available_share)
    ):
        return None
    of_available = (
        "no time available by its calendar"
        if share is None
        else f"on a trip in {share:.1%} of its available time (limit "
        f"{rules.underused_below_available_share:.1%})"
    )
    return (
        f"{km:,.0f} km (limit {rules.underused_below_km_a_year:,.0f}) and {engine_h:,.0f} engine "
        f"hours (limit {rules.underused_below_engine_h_a_year:,.0f}) a year, {of_available}"
    )


def _below_class(
    use: VehicleUse, peers: Sequence[float], a_year: float, rules: Rules
) -> str | None:
    """Return how a vehicle compares with its class; None when it is not far below."""
    if len(peers) < _COMPARABLE:
        return ""
    average = sum(peers) / len(peers)
    # Where the whole class stands still, none is far below the others: all are underused.
    if average * a_year < rules.underused_below_km_a_year:
        pace = average * a_year
        return f"; the average {use.vehicle_class} is below the km too, {pace:,.0f}"
    if use.distance_km >= rules.underused_below_class_share * average:
        return None
    return (
        f"; {use.distance_km / average:.0%} of the km of the average {use.vehicle_class} (limit "
        f"{rules.underused_below_class_share:.0%})"
    )
