"""Alerts: raised beyond a limit, kept in the margin, over well within it, and rested in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processors.alerts.evaluation import Evaluation, LimitState, Subject, decide, evaluate
from processors.alerts.rules import ALERT_RULES
from processors.alerts.statistics import DepotStats, VehicleStats
from schemas.events.alerts import UNDERUSED, AlertKind
from schemas.fleet.master_data import EnergySource, VehicleType
from schemas.fleet.rules import Rules

RULES = Rules()
AT = datetime(2026, 3, 30, 12, tzinfo=UTC)
USUAL = VehicleStats(
    vehicle_id="syddjurs/car-1",
    vehicle_class=VehicleType.CAR,
    energy_source=EnergySource.PETROL,
    observed_days=28.0,
    distance_km=1_000.0,
    days_used=20,
    engine_h=40.0,
    idling_h=6.0,
    silent_h=1.0,
    available_h=180.0,
    used_available_h=36.0,
)
IDLE: dict[str, Any] = {"distance_km": 100.0, "engine_h": 4.0, "used_available_h": 4.0}
"""Below every limit: 1,304 km and 52 engine hours a year, 2 % of the available time."""


def fleet(**changes: Any) -> list[VehicleStats]:
    """Return three usual cars and one that is as given."""
    usual = [replace(USUAL, vehicle_id=f"syddjurs/car-{number}") for number in (1, 2, 3)]
    return [*usual, replace(USUAL, vehicle_id="syddjurs/odd", **changes)]


def evaluated(kind: AlertKind, rows: Sequence[Any]) -> list[Evaluation]:
    (rule,) = (rule for rule in ALERT_RULES if rule.kind == kind)
    return evaluate(rule, rows, RULES)


def state(kind: AlertKind, **changes: Any) -> LimitState | None:
    """Return what holds of the odd one; None when it is not evaluated."""
    for evaluation in evaluated(kind, fleet(**changes)):
        if evaluation.subject == ("syddjurs/odd", kind):
            return evaluation.state
    return None


# In 28 days, 5,000 km a year are 383 km and 125 hours are 9.6 h; 5.5 % of the available time are
# 9.9 h; a quarter of the average of the class is less than 250 km.
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LimitState.BEYOND),
        ({"distance_km": 1000.0}, LimitState.WITHIN),
        ({"distance_km": 340.0}, LimitState.WITHIN),  # below the absolute limit, not of its class
        ({"distance_km": 210.0}, LimitState.IN_MARGIN),
        ({"engine_h": 12.0}, LimitState.WITHIN),  # few kilometres from door to door, all day long
        ({"engine_h": 10.0}, LimitState.IN_MARGIN),
        ({"used_available_h": 12.0}, LimitState.WITHIN),
        ({"used_available_h": 10.5}, LimitState.IN_MARGIN),
        ({"available_h": 0.0, "used_available_h": 0.0}, LimitState.BEYOND),  # no share to judge by
        (
            {"available_h": 40.0},
            LimitState.WITHIN,
        ),  # a calendar of few hours, used as much as it can
    ],
)
def test_underused_is_below_all_limits_and_over_when_one_is_beyond_the_margin(
    changes: dict[str, float], expected: LimitState
) -> None:
    assert state(UNDERUSED, **{**IDLE, **changes}) is expected


def test_a_fleet_of_short_trips_is_not_underused_for_its_kilometres() -> None:
    """Cars in town: 3,000 km a year each, on the road for two hours a day."""
    town = [replace(vehicle_stats, distance_km=230.0, engine_h=40.0) for vehicle_stats in fleet()]
    evaluations = evaluated(UNDERUSED, town)
    assert [evaluation.state for evaluation in evaluations] == [LimitState.WITHIN] * 4
    assert evaluations[0].reason == (
        "230 km and 40 engine hours in 28 days, 20.0% of available time, used on 20 days: "
        "no longer below all limits"
    )


def test_a_vehicle_seen_for_less_than_a_week_is_not_judged() -> None:
    assert state(UNDERUSED, **IDLE, observed_days=6.9) is None
    assert state("excess-idling", idling_h=40.0, observed_days=6.9) is None


def test_a_vehicle_that_came_late_is_judged_by_its_pace() -> None:
    late = {**IDLE, "observed_days": 14.0, "distance_km": 500.0}
    assert state(UNDERUSED, **late) is LimitState.WITHIN
    late = {**IDLE, "observed_days": 14.0, "engine_h": 7.0}
    assert state(UNDERUSED, **late) is LimitState.WITHIN


@pytest.mark.parametrize(
    ("idling_h", "engine_h", "expected"),
    [
        (15.0, 40.0, LimitState.BEYOND),
        (13.0, 40.0, LimitState.IN_MARGIN),
        (12.0, 40.0, LimitState.WITHIN),
        (4.0, 4.9, None),
    ],
)
def test_idling_is_a_share_of_engine_hours(
    idling_h: float, engine_h: float, expected: LimitState | None
) -> None:
    limit_state = state("excess-idling", idling_h=idling_h, engine_h=engine_h)
    assert limit_state is expected


def test_an_electric_vehicle_that_stands_switched_on_burns_nothing() -> None:
    electric = {"energy_source": EnergySource.ELECTRICITY, "idling_h": 30.0}
    assert state("excess-idling", **electric) is None


def test_a_vehicle_that_does_not_report_is_not_called_underused() -> None:
    assert state(UNDERUSED, **IDLE) is LimitState.BEYOND
    assert state(UNDERUSED, **IDLE, silent_h=73.0) is None


def test_a_class_that_stands_still_as_a_whole_is_underused() -> None:
    still = [
        replace(vehicle_stats, distance_km=0.0, engine_h=0.0, used_available_h=0.0)
        for vehicle_stats in fleet()
    ]
    evaluations = evaluated(UNDERUSED, still)
    assert [evaluation.state for evaluation in evaluations] == [LimitState.BEYOND] * 4
    assert "the average car is below the km too" in evaluations[0].reason


def test_an_open_alert_that_can_no_longer_be_judged_is_over() -> None:
    raised, resolved = decide([], {SUBJECT: AT}, {}, AT, RULES, alert_rules=ALERT_RULES)
    assert (raised, [evaluation.subject for evaluation in resolved]) == ([], [SUBJECT])


def test_silence_has_no_margin() -> None:
    assert state("not-reporting", silent_h=72.1) is LimitState.BEYOND
    assert state("not-reporting", silent_h=72.0) is LimitState.WITHIN


def test_reasons_say_value_and_limit() -> None:
    def reason(kind: AlertKind, **changes: Any) -> str:
        (*_, odd) = evaluated(kind, fleet(**changes))
        return odd.reason

    assert reason(UNDERUSED, **IDLE) == (
        "1,304 km (limit 5,000) and 52 engine hours (limit 125) a year, on a trip in 2.2% of its "
        "available time (limit 5.5%); 13% of the km of the average car (limit 25%); used on 20 of "
        "28 days"
    )
    without_calendar = IDLE | {"available_h": 0}
    assert "no time available by its calendar" in reason(UNDERUSED, **without_calendar)
    assert reason("not-reporting", silent_h=96) == (
        "no fix for 4.0 days while others report, limit 3.0"
    )


SUBJECT: Subject = ("syddjurs/odd", "not-reporting")


@pytest.mark.parametrize(
    ("where", "is_open", "ended_days_ago", "expected"),
    [
        (LimitState.BEYOND, False, None, "raise"),
        (LimitState.BEYOND, True, None, ""),
        (LimitState.IN_MARGIN, True, None, ""),
        (LimitState.IN_MARGIN, False, None, ""),
        (LimitState.WITHIN, True, None, "resolve"),
        (LimitState.WITHIN, False, None, ""),
        (LimitState.BEYOND, False, 6.9, ""),
        (LimitState.BEYOND, False, 7.0, "raise"),
    ],
)
def test_decisions(
    where: LimitState,
    is_open: bool,  # noqa: FBT001 - a parameter of the test
    ended_days_ago: float | None,
    expected: str,
) -> None:
    ended = {} if ended_days_ago is None else {SUBJECT: AT - timedelta(days=ended_days_ago)}
    judged = [Evaluation(SUBJECT, where, "because")]
    raised, resolved = decide(
        judged, {SUBJECT: AT} if is_open else {}, ended, AT, RULES, alert_rules=ALERT_RULES
    )
    assert raised == (judged if expected == "raise" else [])
    assert resolved == (judged if expected == "resolve" else [])


@pytest.mark.parametrize(
    ("odometer_km", "gps_km", "expected"),
    [
        (1000.0, 1000.0, LimitState.WITHIN),
        (1100.0, 1000.0, LimitState.WITHIN),  # 9 %
        (1000.0, 860.0, LimitState.IN_MARGIN),  # 14 %
        (1000.0, 840.0, LimitState.BEYOND),
        (0.0, 1000.0, LimitState.BEYOND),  # it stands still
        (-5000.0, 1000.0, LimitState.BEYOND),  # it has jumped back
        (0.0, 49.0, None),
        (0.0, 0.0, None),  # it has none
    ],
)
def test_odometer_and_positions(
    odometer_km: float, gps_km: float, expected: LimitState | None
) -> None:
    limit_state = state("odometer-mismatch", odometer_km=odometer_km, odometer_gps_km=gps_km)
    assert limit_state is expected


@pytest.mark.parametrize(
    ("short_days", "days", "expected"),
    [
        (6, 20, LimitState.BEYOND),
        (5, 20, LimitState.IN_MARGIN),
        (4, 20, LimitState.WITHIN),
        (6, 6, None),  # less than a week tells nothing
    ],
)
def test_depots_that_are_short(short_days: int, days: int, expected: LimitState | None) -> None:
    depot = DepotStats("syddjurs/hall", 3, days, short_days, 4)
    evaluations = evaluated("depot-short", [depot])
    assert [evaluation.state for evaluation in evaluations] == (
        [] if expected is None else [expected]
    )


@pytest.mark.parametrize(
    ("supply", "words"),
    [
        (0, "days vehicles were out of it, which has none of its own, 30%"),
        (1, "days more than its only vehicle were out at once, 30%"),
        (2, "days all of its 2 vehicles were out at once, 30%"),
    ],
)
def test_a_depot_that_is_short_says_of_how_many(supply: int, words: str) -> None:
    (evaluation,) = evaluated("depot-short", [DepotStats("syddjurs/hall", supply, 20, 6, 4)])
    assert words in evaluation.reason
