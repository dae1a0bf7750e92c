"""Alerts: what operations should look at, raised once, and over when it is well over.

`judge()` says of each vehicle and kind whether it is beyond its limit, well within, or in the
margin between the two. `decide()` turns that into alerts to raise and to resolve: in the margin an
open alert stays open and none is raised (hysteresis), and after its end the same alert rests for a
while (cool-down).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from processors.alerts.underuse import VehicleUse, underused
from schemas.events.alerts import AlertKind
from schemas.fleet.energy import idle_fuel_l_per_h
from schemas.fleet.master_data import EnergySource, VehicleType
from schemas.fleet.rules import Rules

TRACKER_OUT_WITHIN_H: Final = 24.0
"""After its last day a vehicle may still be heard of for so long: it has to be driven away, and
its tracker to be taken out (ours)."""

_HOURS_A_DAY: Final = 24.0
_NOBODY: Final[Mapping[str, date]] = MappingProxyType({})
_ANY_H: Final = 1e-9
_ANY_KM: Final = 1e-9
_UNDERUSE_LIMITS: Final = (
    "underused_below_km_a_year",
    "underused_below_engine_h_a_year",
    "underused_below_available_share",
    "underused_below_class_share",
)

Subject = tuple[str, AlertKind]
"""A vehicle or depot and what is wrong with it: at most one alert of a subject is open."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one vehicle did in a window of observation that ends with its municipality's last fix.

    `observed_days` is how much of the window has passed since the vehicle's first fix, and
    `silent_h` how long before the window's end its last one was. `available_h` is what the calendar
    gave in these days, `used_available_h` how much of that the vehicle was on a trip.
    """

    vehicle_id: str
    vehicle_class: VehicleType
    energy_source: EnergySource
    observed_days: float
    distance_km: float
    days_used: int
    engine_h: float
    idling_h: float
    silent_h: float
    available_h: float
    used_available_h: float
    odometer_km: float = 0.0
    odometer_gps_km: float = 0.0
    """What odometer and positions say of the trips on which both are known."""


@dataclass(frozen=True, slots=True)
class DepotObservation:
    """What was out of one depot in a window of observation, and what is at home there.

    `days` are those with available time, `short_days` those of them on which as many vehicles as
    are at home there today, or more, were out at once, and more where that is one only; `peak_out`
    is the most that ever were.
    """

    depot_id: str
    supply: int
    days: int
    short_days: int
    peak_out: int


@dataclass(frozen=True, slots=True)
class RetiredObservation:
    """What is heard of a vehicle after its last day in service, until its municipality's last fix.

    `heard_for_h` is the time from the end of that day to the vehicle's own last fix, negative where
    that came earlier; `silent_h` how long ago that fix was, `distance_km` what it drove since.
    """

    vehicle_id: str
    in_service_until: date
    heard_for_h: float
    silent_h: float
    distance_km: float


@dataclass(frozen=True, slots=True)
class OtherVendorObservation:
    """Fixes of a vehicle that wait, since their vendor is none of those that may report it."""

    vehicle_id: str
    vendors: tuple[str, ...]
    fixes: int


class Standing(Enum):
    """Where a figure is with regard to its limit."""

    BEYOND = auto()
    IN_MARGIN = auto()
    WITHIN = auto()


@dataclass(frozen=True, slots=True)
class Judgement:
    """One vehicle or depot, one kind: where it stands, and the numbers that say so."""

    subject: Subject
    standing: Standing
    reason: str


def judge(fleet: Sequence[Observation], rules: Rules) -> list[Judgement]:
    """Return what holds of one municipality's vehicles; some cannot be judged yet."""
    return [
        *_underuse(fleet, rules),
        *_idling(fleet, rules),
        *_silence(fleet, rules),
        *_odometers(fleet, rules),
    ]


def judge_depots(depots: Sequence[DepotObservation], rules: Rules) -> list[Judgement]:
    """Return what holds of one municipality's depots; some cannot be judged yet."""
    found = []
    for one in depots:
        if one.days < rules.alert_least_days:
            continue
        share, limit = one.short_days / one.days, rules.depot_short_above
        reason = (
            f"on {one.short_days} of {one.days} working days {_all_out(one.supply)}, {share:.0%}, "
            f"limit {limit:.0%}; {one.peak_out} at most"
        )
        standing = _standing(share, limit, limit * (1 - rules.alert_margin))
        found.append(Judgement((one.depot_id, AlertKind.DEPOT_SHORT), standing, reason))
    return found


def _all_out(supply: int) -> str:
    if supply == 0:
        return "vehicles were out of it, which has none of its own"
    if supply == 1:
        return "more than its only vehicle were out at once"
    return f"all of its {supply} vehicles were out at once"


def judge_retired(retired: Sequence[RetiredObservation], rules: Rules) -> list[Judgement]:
    """Return which vehicles out of service are heard of still, by a forgotten tracker or in use.

    One that was never heard of after its last day is not judged: there is nothing to be over.
    """
    found = []
    for one in retired:
        if one.heard_for_h <= 0:
            continue
        subject = (one.vehicle_id, AlertKind.HEARD_AFTER_RETIREMENT)
        if one.silent_h > rules.silent_after_h:
            reason = f"no fix for {one.silent_h / _HOURS_A_DAY:.1f} days"
            found.append(Judgement(subject, Standing.WITHIN, reason))
            continue
        reason = (
            f"retired, in service until {one.in_service_until}, and heard of for "
            f"{one.heard_for_h / _HOURS_A_DAY:.1f} days since, limit "
            f"{TRACKER_OUT_WITHIN_H / _HOURS_A_DAY:.1f}; {one.distance_km:,.0f} km driven; take "
            f"its tracker out, or: fleetpulse fleet reinstate {one.vehicle_id}"
        )
        standing = _standing(one.heard_for_h, TRACKER_OUT_WITHIN_H, 0.0)
        found.append(Judgement(subject, standing, reason))
    return found


def judge_other_vendors(waiting: Sequence[OtherVendorObservation]) -> list[Judgement]:
    """Return which vehicles a vendor reports that is none of theirs: one fix is one too many."""
    return [
        Judgement(
            (observed.vehicle_id, AlertKind.OTHER_VENDOR),
            Standing.BEYOND,
            f"{observed.fixes:,} fixes from {', '.join(observed.vendors)} wait, limit 0: no vendor "
            "of this vehicle; allow it with fleetpulse vendor allow, or see what it sends with "
            "fleetpulse dead-letters list --reason other-vendor",
        )
        for observed in waiting
    ]


def decide(  # noqa: PLR0913, PLR0917 - what is known, what was said, and when
    judgements: Iterable[Judgement],
    open_since: Mapping[Subject, datetime],
    resolved_at: Mapping[Subject, datetime],
    at: datetime,
    rules: Rules,
    retired: Mapping[str, date] = _NOBODY,
) -> tuple[list[Judgement], list[Judgement]]:
    """Return which alerts to raise and which open ones to resolve at an instant of event time.

    `open_since` are the open alerts, `resolved_at` the newest end of each subject's former ones,
    `retired` the last day in service of vehicles that are out of it.
    """
    rest = timedelta(days=rules.alert_cooldown_days)
    to_raise, to_resolve = [], []
    judged = {one.subject: one for one in judgements}
    to_resolve += [
        Judgement(subject, Standing.WITHIN, _why_not_judged(subject, retired))
        for subject in sorted(open_since.keys() - judged.keys())
    ]
    for one in judged.values():
        ended = resolved_at.get(one.subject)
        if one.subject in open_since:
            if one.standing is Standing.WITHIN:
                to_resolve.append(one)
        # What has ended at this very instant would be the same alert again.
        elif one.standing is Standing.BEYOND and (
            ended is None or (at > ended and at - ended >= rest)
        ):
            to_raise.append(one)
    return to_raise, to_resolve


def _why_not_judged(subject: Subject, retired: Mapping[str, date]) -> str:
    subject_id, kind = subject
    last_day = retired.get(subject_id)
    if kind is AlertKind.OTHER_VENDOR:
        return "no fix of another vendor waits any more"
    if kind is AlertKind.HEARD_AFTER_RETIREMENT:
        return "in service again" if last_day is None else f"not heard of after {last_day}"
    if last_day is not None:
        return f"retired: in service until {last_day}"
    return "too little is known to judge it any longer"


def _underuse(fleet: Sequence[Observation], rules: Rules) -> list[Judgement]:
    # One that does not report is not known to stand still, and says nothing of its class.
    judged = [
        one
        for one in fleet
        if one.observed_days >= rules.alert_least_days and one.silent_h <= rules.silent_after_h
    ]
    if not judged:
        return []
    window_days = max(one.observed_days for one in judged)
    # A pace a day, so that a vehicle that came late is not thought idle before it came.
    uses = [
        VehicleUse(
            vehicle_id=one.vehicle_id,
            vehicle_class=one.vehicle_class,
            distance_km=one.distance_km * window_days / one.observed_days,
            engine_h=one.engine_h * window_days / one.observed_days,
            days_used=one.days_used,
            available_h=one.available_h,
            used_available_h=one.used_available_h,
        )
        for one in judged
    ]
    wider = rules.model_copy(
        update={name: getattr(rules, name) * (1 + rules.alert_margin) for name in _UNDERUSE_LIMITS}
    )
    beyond = {one.vehicle_id: one for one in underused(uses, window_days=window_days, rules=rules)}
    not_within = {one.vehicle_id for one in underused(uses, window_days=window_days, rules=wider)}
    found = []
    for use in uses:
        subject = (use.vehicle_id, AlertKind.UNDERUSED)
        km = (
            f"{use.distance_km:,.0f} km and {use.engine_h:,.0f} engine hours in "
            f"{window_days:.0f} days"
        )
        if use.vehicle_id in beyond:
            found.append(Judgement(subject, Standing.BEYOND, beyond[use.vehicle_id].reason))
        elif use.vehicle_id in not_within:
            found.append(Judgement(subject, Standing.IN_MARGIN, km))
        else:
            share = "" if use.used_share is None else f", {use.used_share:.1%} of available time"
            reason = f"{km}{share}, used on {use.days_used} days: no longer below all limits"
            found.append(Judgement(subject, Standing.WITHIN, reason))
    return found


def _idling(fleet: Sequence[Observation], rules: Rules) -> list[Judgement]:
    found = []
    for one in fleet:
        burns = idle_fuel_l_per_h(one.vehicle_class, one.energy_source) > 0
        too_little = one.engine_h < max(rules.idling_least_engine_h, _ANY_H)
        if one.observed_days < rules.alert_least_days or too_little or not burns:
            continue
        share, limit = one.idling_h / one.engine_h, rules.idling_share_above
        reason = (
            f"idling {one.idling_h:.1f} of {one.engine_h:.1f} engine hours, {share:.0%}, "
            f"limit {limit:.0%}"
        )
        standing = _standing(share, limit, limit * (1 - rules.alert_margin))
        found.append(Judgement((one.vehicle_id, AlertKind.EXCESS_IDLING), standing, reason))
    return found


def _silence(fleet: Sequence[Observation], rules: Rules) -> list[Judgement]:
    found = []
    for one in fleet:
        limit = rules.silent_after_h
        reason = (
            f"no fix for {one.silent_h / _HOURS_A_DAY:.1f} days while others report, limit "
            f"{limit / _HOURS_A_DAY:.1f}"
        )
        standing = _standing(one.silent_h, limit, limit)
        found.append(Judgement((one.vehicle_id, AlertKind.SILENT), standing, reason))
    return found


def _odometers(fleet: Sequence[Observation], rules: Rules) -> list[Judgement]:
    found = []
    for one in fleet:
        longer_km = max(one.odometer_km, one.odometer_gps_km)
        if longer_km < max(rules.odometer_least_km, _ANY_KM):
            continue
        share = abs(one.odometer_km - one.odometer_gps_km) / longer_km
        limit = rules.odometer_mismatch_above
        reason = (
            f"the odometer says {one.odometer_km:,.0f} km where the positions say "
            f"{one.odometer_gps_km:,.0f}, {share:.0%} apart, limit {limit:.0%}"
        )
        standing = _standing(share, limit, limit * (1 - rules.alert_margin))
        found.append(Judgement((one.vehicle_id, AlertKind.ODOMETER_MISMATCH), standing, reason))
    return found


def _standing(value: float, limit: float, over_below: float) -> Standing:
    if value > limit:
        return Standing.BEYOND
    return Standing.WITHIN if value <= over_below else Standing.IN_MARGIN
