"""The table of alerts: a kind of alert is one entry here, on rows that its SQL returns.

Nothing else lists them: the writer, the wire and the views take whatever kind stands here. Where an
entry needs figures that no SQL returns yet, it comes with a class in `processors.alerts.statistics`
and a query of that name in `infra.database.timeline.alerts`.
"""

from __future__ import annotations

from typing import Final

from processors.alerts.evaluation import AlertRule
from processors.alerts.statistics import (
    DepotStats,
    OtherVendorStats,
    RetiredVehicleStats,
    VehicleStats,
)
from processors.alerts.underuse import (
    ComparedUse,
    compare_uses,
    reason_underused,
    share_of_limits,
)
from schemas.events.alerts import DEPOT_SHORT, UNDERUSED
from schemas.fleet.energy import idle_fuel_l_per_h
from schemas.fleet.rules import Rules

TRACKER_OUT_WITHIN_H: Final = 24.0
"""After its last day a vehicle may still report for so long: it has to be driven away, and its
tracker to be taken out (ours)."""
_HOURS_A_DAY: Final = 24.0
_ANY_H: Final = 1e-9
_ANY_KM: Final = 1e-9


def _margin(rules: Rules) -> float:
    return rules.alert_margin


def _resolution_of_use(use: ComparedUse, _value: float, _rules: Rules) -> str:
    used_share = use.vehicle.used_share
    share = "" if used_share is None else f", {used_share:.1%} of available time"
    return (
        f"{use.vehicle.distance_km:,.0f} km and {use.vehicle.engine_h:,.0f} engine hours in "
        f"{use.window_days:.0f} days{share}, used on {use.vehicle.days_used} days: no longer below "
        "all limits"
    )


def _idling_share(vehicle: VehicleStats, rules: Rules) -> float | None:
    burns = idle_fuel_l_per_h(vehicle.vehicle_class, vehicle.energy_source) > 0
    too_little = vehicle.engine_h < max(rules.idling_least_engine_h, _ANY_H)
    if vehicle.observed_days < rules.alert_least_days or too_little or not burns:
        return None
    return vehicle.idling_h / vehicle.engine_h


def _mismatch(vehicle: VehicleStats, rules: Rules) -> float | None:
    longer_km = max(vehicle.odometer_km, vehicle.odometer_gps_km)
    if longer_km < max(rules.odometer_least_km, _ANY_KM):
        return None
    return abs(vehicle.odometer_km - vehicle.odometer_gps_km) / longer_km


def _reporting_h(vehicle: RetiredVehicleStats, rules: Rules) -> float | None:
    """Return how long it has reported, 0 once it does no longer; None if it never has."""
    if vehicle.reporting_h <= 0:
        return None
    return 0.0 if vehicle.silent_h > rules.silent_after_h else vehicle.reporting_h


def _short_share(depot: DepotStats, rules: Rules) -> float | None:
    return None if depot.days < rules.alert_least_days else depot.short_days / depot.days


def _all_out(supply: int) -> str:
    if supply == 0:
        return "vehicles were out of it, which has none of its own"
    if supply == 1:
        return "more than its only vehicle were out at once"
    return f"all of its {supply} vehicles were out at once"


ALERT_RULES: Final = (
    AlertRule(
        kind=UNDERUSED,
        stats=VehicleStats,
        sample=compare_uses,
        statistic=share_of_limits,
        limit=lambda _: 1.0,
        below_limit=True,
        margin=_margin,
        reason=lambda use, _, rules: reason_underused(use, rules),
        resolution=_resolution_of_use,
    ),
    AlertRule(
        kind="excess-idling",
        stats=VehicleStats,
        statistic=_idling_share,
        limit=lambda rules: rules.idling_share_above,
        margin=_margin,
        reason=lambda vehicle, share, rules: (
            f"idling {vehicle.idling_h:.1f} of {vehicle.engine_h:.1f} engine hours, {share:.0%}, "
            f"limit {rules.idling_share_above:.0%}"
        ),
    ),
    AlertRule(
        kind="not-reporting",
        stats=VehicleStats,
        statistic=lambda vehicle, _: vehicle.silent_h,
        limit=lambda rules: rules.silent_after_h,
        reason=lambda _, silent_h, rules: (
            f"no fix for {silent_h / _HOURS_A_DAY:.1f} days while others report, limit "
            f"{rules.silent_after_h / _HOURS_A_DAY:.1f}"
        ),
    ),
    AlertRule(
        kind="odometer-mismatch",
        stats=VehicleStats,
        statistic=_mismatch,
        limit=lambda rules: rules.odometer_mismatch_above,
        margin=_margin,
        reason=lambda vehicle, share, rules: (
            f"the odometer says {vehicle.odometer_km:,.0f} km where the positions say "
            f"{vehicle.odometer_gps_km:,.0f}, {share:.0%} apart, limit "
            f"{rules.odometer_mismatch_above:.0%}"
        ),
    ),
    AlertRule(
        kind="reporting-after-retirement",
        stats=RetiredVehicleStats,
        statistic=_reporting_h,
        limit=lambda _: TRACKER_OUT_WITHIN_H,
        margin=lambda _: 1.0,  # over when it reports no longer, not before
        reason=lambda vehicle, reporting_h, _: (
            f"retired, in service until {vehicle.in_service_until}, and reporting for "
            f"{reporting_h / _HOURS_A_DAY:.1f} days since, limit "
            f"{TRACKER_OUT_WITHIN_H / _HOURS_A_DAY:.1f}; {vehicle.distance_km:,.0f} km driven; "
            f"take its tracker out, or: fleetpulse fleet reinstate {vehicle.vehicle_id}"
        ),
        resolution=lambda vehicle, *_: f"no fix for {vehicle.silent_h / _HOURS_A_DAY:.1f} days",
        unevaluated=lambda last_day: (
            "in service again" if last_day is None else f"no fix after {last_day}"
        ),
    ),
    AlertRule(
        kind="other-vendor",
        stats=OtherVendorStats,
        statistic=lambda vehicle, _: float(vehicle.fixes),
        limit=lambda _: 0.0,
        reason=lambda vehicle, fixes, _: (
            f"{fixes:,.0f} fixes from {', '.join(vehicle.vendors)} wait, limit 0: no vendor of "
            "this vehicle; allow it with fleetpulse vendor allow, or see what it sends with "
            "fleetpulse dead-letters list --reason other-vendor"
        ),
        unevaluated=lambda _: "no fix of another vendor waits any more",
    ),
    AlertRule(
        kind=DEPOT_SHORT,
        stats=DepotStats,
        statistic=_short_share,
        limit=lambda rules: rules.depot_short_above,
        margin=_margin,
        reason=lambda depot, share, rules: (
            f"on {depot.short_days} of {depot.days} working days {_all_out(depot.supply)}, "
            f"{share:.0%}, limit {rules.depot_short_above:.0%}; {depot.peak_out} at most"
        ),
    ),
)
