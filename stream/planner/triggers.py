"""Selects the trigger of a plan: each has a statistic, a threshold and a reason with both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.database.plans.plan_queue import LastPlan
from infra.database.plans.replan_signals import OpenAlertCount
from infra.settings import PlannerSettings
from optimizer.demand import profile
from optimizer.drift import drift, fleet_change, fleet_profile, no_plan_yet
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import PlanTrigger

_NAMED: Final = 5
"""So many vehicles, depots or people are named in a reason; the others are counted."""


@dataclass(frozen=True, slots=True)
class TriggerReason:
    """A trigger that calls for a plan, and why in words and numbers."""

    trigger: PlanTrigger
    reason: str


@dataclass(frozen=True, slots=True)
class _Measured:
    trigger: PlanTrigger
    value: float
    threshold: float
    reason: str

    @property
    def beyond(self) -> float:
        return self.value / self.threshold


def select_trigger(
    inputs: PlacementInputs,
    before: LastPlan | None,
    pressure: OpenAlertCount,
    rules: PlannerSettings,
) -> TriggerReason | None:
    """Return the cause that is furthest beyond its threshold; the reason has all that are beyond.

    Raises `ValueError` when the inputs have no round trips.
    """
    # A threshold above 1 leaves what nothing exceeds: no plan yet, or nothing as it was.
    drift_threshold = min(1.0, rules.drift_threshold)
    fleet_threshold = min(1.0, rules.fleet_threshold)
    if before is None:
        return TriggerReason(PlanTrigger.DRIFT, no_plan_yet().reason)
    moved = drift(before.profile, profile(inputs))
    changed = fleet_change(before.fleet, fleet_profile(inputs))
    measured = [
        _Measured(
            PlanTrigger.FLEET,
            changed.value,
            fleet_threshold,
            _share("fleet", changed.value, fleet_threshold, changed.reason),
        ),
        _Measured(
            PlanTrigger.DRIFT,
            moved.value,
            drift_threshold,
            _share("drift", moved.value, drift_threshold, moved.reason),
        ),
        _Measured(
            PlanTrigger.ALERTS,
            pressure.count,
            rules.alert_threshold,
            f"alerts {pressure.count} of {rules.alert_threshold}: {_pressing(pressure)}",
        ),
    ]
    beyond = sorted(
        (statistic for statistic in measured if statistic.value >= statistic.threshold),
        key=lambda measured: measured.beyond,
        reverse=True,
    )
    if not beyond:
        return None
    return TriggerReason(beyond[0].trigger, "; also ".join(measured.reason for measured in beyond))


def _share(name: str, value: float, threshold: float, reason: str) -> str:
    return f"{name} {value:.2f} of {threshold:.2f}: {reason}"


def _pressing(pressure: OpenAlertCount) -> str:
    parts = [
        f"{len(ids)} {words} ({named(ids)})"
        for ids, words in (
            (pressure.underused, "vehicles underused"),
            (pressure.short, "depots short"),
        )
        if ids
    ]
    return " and ".join(parts) + ", found since the newest plan and not over"


def named(names: tuple[str, ...]) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
