"""Underused vehicles: far below an absolute pace, or far below their class (DOMAIN.md)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schemas.rules import Rules

DAYS_A_YEAR: Final = 365.25
_COMPARABLE: Final = 3
"""A class of fewer vehicles has no average worth the name."""


@dataclass(frozen=True, slots=True)
class VehicleUse:
    """What one vehicle did in a window of observation."""

    vehicle_id: str
    vehicle_class: str
    distance_km: float
    days_used: int


@dataclass(frozen=True, slots=True)
class Underused:
    """A vehicle below a rule, and the numbers that say so."""

    vehicle_id: str
    km_a_year: float
    days_used: int
    reason: str


def underused(
    fleet: Sequence[VehicleUse], *, window_days: float, rules: Rules
) -> tuple[Underused, ...]:
    """Return the vehicles of one municipality that are underused, the least used first.

    A vehicle is when its pace is below `rules.underused_below_km_a_year` and also its distance
    below `rules.underused_below_class_share` of its class's average, where the class has at
    least three vehicles and is not below that pace as a whole. Raises `ValueError` for a window
    that has no length.
    """
    if window_days <= 0:
        raise ValueError(f"window_days is {window_days}; it must be above 0: observe first")
    by_class: defaultdict[str, list[float]] = defaultdict(list)
    for use in fleet:
        by_class[use.vehicle_class].append(use.distance_km)
    found = []
    for use in fleet:
        pace = use.distance_km * DAYS_A_YEAR / window_days
        if pace >= rules.underused_below_km_a_year:
            continue
        peers = by_class[use.vehicle_class]
        reason = (
            f"{pace:,.0f} km a year at the pace of {window_days:.0f} days, limit "
            f"{rules.underused_below_km_a_year:,.0f}"
        )
        if len(peers) >= _COMPARABLE:
            average = sum(peers) / len(peers)
            class_pace = average * DAYS_A_YEAR / window_days
            # Where the whole class stands still, none is far below the others: all are underused.
            if class_pace >= rules.underused_below_km_a_year:
                if use.distance_km >= rules.underused_below_class_share * average:
                    continue
                share = use.distance_km / average
                reason += (
                    f"; {share:.0%} of the average {use.vehicle_class}, limit "
                    f"{rules.underused_below_class_share:.0%}"
                )
            else:
                reason += f"; the average {use.vehicle_class} is below it too, {class_pace:,.0f}"
        reason += f"; used on {use.days_used} days"
        found.append(Underused(use.vehicle_id, pace, use.days_used, reason))
    return tuple(sorted(found, key=lambda one: (one.km_a_year, one.vehicle_id)))
