"""Alerts: raised beyond a limit, kept in the margin, over well within it, and rested in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processors.alerts.evaluation import (
    DepotObservation,
    Judgement,
    Observation,
    Standing,
    Subject,
    decide,
    judge,
    judge_depots,
)
from schemas.events.alerts import AlertKind
from schemas.fleet.master_data import EnergySource, VehicleType
from schemas.fleet.rules import Rules

RULES = Rules()
AT = datetime(2026, 3, 30, 12, tzinfo=UTC)
USUAL = Observation(
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


def fleet(**changes: Any) -> list[Observation]:
    """Return three usual cars and one that is as given."""
    usual = [replace(USUAL, vehicle_id=f"syddjurs/car-{number}") for number in (1, 2, 3)]
    return [*usual, replace(USUAL, vehicle_id="syddjurs/odd", **changes)]


def standing(kind: AlertKind, **changes: Any) -> Standing | None:
    """Return what is judged of the odd one; None when it is not judged."""
    found = [one for one in judge(fleet(**changes), RULES) if one.subject == ("syddjurs/odd", kind)]
    return found[0].standing if found else None


# In 28 days, 5,000 km a year are 383 km and 125 hours are 9.6 h; 5.5 % of the available time are
# 9.9 h; a quarter of the average of the class is less than 250 km.
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Standing.BEYOND),
        ({"distance_km": 1000.0}, Standing.WITHIN),
        ({"distance_km": 340.0}, Standing.WITHIN),  # below the absolute limit, not of its class
        ({"distance_km": 210.0}, Standing.IN_MARGIN),
        ({"engine_h": 12.0}, Standing.WITHIN),  # few kilometres from door to door, all day long
        ({"engine_h": 10.0}, Standing.IN_MARGIN),
        ({"used_available_h": 12.0}, Standing.WITHIN),
        ({"used_available_h": 10.5}, Standing.IN_MARGIN),
        ({"available_h": 0.0, "used_available_h": 0.0}, Standing.BEYOND),  # no share to judge by
        ({"available_h": 40.0}, Standing.WITHIN),  # a calendar of few hours, used as much as it can
    ],
)
def test_underused_is_below_all_limits_and_over_when_one_is_beyond_the_margin(
    changes: dict[str, float], expected: Standing
) -> None:
    assert standing(AlertKind.UNDERUSED, **{**IDLE, **changes}) is expected


def test_a_fleet_of_short_trips_is_not_underused_for_its_kilometres() -> None:
    """Cars in town: 3,000 km a year each, on the road for two hours a day."""
    town = [replace(one, distance_km=230.0, engine_h=40.0) for one in fleet()]
    found = [one for one in judge(town, RULES) if one.subject[1] is AlertKind.UNDERUSED]
    assert [one.standing for one in found] == [Standing.WITHIN] * 4
    assert found[0].reason == (
        "230 km and 40 engine hours in 28 days, 20.0% of available time, used on 20 days: "
        "no longer below all limits"
    )


def test_a_vehicle_seen_for_less_than_a_week_is_not_judged() -> None:
    assert standing(AlertKind.UNDERUSED, **IDLE, observed_days=6.9) is None
    assert standing(AlertKind.EXCESS_IDLING, idling_h=40.0, observed_days=6.9) is None


def test_a_vehicle_that_came_late_is_judged_by_its_pace() -> None:
    late = {**IDLE, "observed_days": 14.0, "distance_km": 500.0}
    assert standing(AlertKind.UNDERUSED, **late) is Standing.WITHIN
    late = {**IDLE, "observed_days": 14.0, "engine_h": 7.0}
    assert standing(AlertKind.UNDERUSED, **late) is Standing.WITHIN


@pytest.mark.parametrize(
    ("idling_h", "engine_h", "expected"),
    [
        (15.0, 40.0, Standing.BEYOND),
        (13.0, 40.0, Standing.IN_MARGIN),
        (12.0, 40.0, Standing.WITHIN),
        (4.0, 4.9, None),
    ],
)
def test_idling_is_a_share_of_engine_hours(
    idling_h: float, engine_h: float, expected: Standing | None
) -> None:
    found = standing(AlertKind.EXCESS_IDLING, idling_h=idling_h, engine_h=engine_h)
    assert found is expected


def test_an_electric_vehicle_that_stands_switched_on_burns_nothing() -> None:
    electric = {"energy_source": EnergySource.ELECTRICITY, "idling_h": 30.0}
    assert standing(AlertKind.EXCESS_IDLING, **electric) is None


def test_a_vehicle_that_does_not_report_is_not_called_underused() -> None:
    assert standing(AlertKind.UNDERUSED, **IDLE) is Standing.BEYOND
    assert standing(AlertKind.UNDERUSED, **IDLE, silent_h=73.0) is None


def test_a_class_that_stands_still_as_a_whole_is_underused() -> None:
    still = [replace(one, distance_km=0.0, engine_h=0.0, used_available_h=0.0) for one in fleet()]
    found = [one for one in judge(still, RULES) if one.subject[1] is AlertKind.UNDERUSED]
    assert [one.standing for one in found] == [Standing.BEYOND] * 4
    assert "the average car is below the km too" in found[0].reason


def test_an_open_alert_that_can_no_longer_be_judged_is_over() -> None:
    raised, resolved = decide([], {SUBJECT: AT}, {}, AT, RULES)
    assert (raised, [one.subject for one in resolved]) == ([], [SUBJECT])


def test_silence_has_no_margin() -> None:
    assert standing(AlertKind.SILENT, silent_h=72.1) is Standing.BEYOND
    assert standing(AlertKind.SILENT, silent_h=72.0) is Standing.WITHIN


def test_reasons_say_value_and_limit() -> None:
    told = {one.subject: one.reason for one in judge(fleet(**IDLE), RULES)}
    assert told["syddjurs/odd", AlertKind.UNDERUSED] == (
        "1,304 km (limit 5,000) and 52 engine hours (limit 125) a year, on a trip in 2.2% of its "
        "available time (limit 5.5%); 13% of the km of the average car (limit 25%); used on 20 of "
        "28 days"
    )
    told = {one.subject: one.reason for one in judge(fleet(**IDLE | {"available_h": 0}), RULES)}
    assert "no time available by its calendar" in told["syddjurs/odd", AlertKind.UNDERUSED]
    told = {one.subject: one.reason for one in judge(fleet(silent_h=96), RULES)}
    silent = told["syddjurs/odd", AlertKind.SILENT]
    assert silent == "no fix for 4.0 days while others report, limit 3.0"


SUBJECT: Subject = ("syddjurs/odd", AlertKind.SILENT)


@pytest.mark.parametrize(
    ("where", "is_open", "ended_days_ago", "expected"),
    [
        (Standing.BEYOND, False, None, "raise"),
        (Standing.BEYOND, True, None, ""),
        (Standing.IN_MARGIN, True, None, ""),
        (Standing.IN_MARGIN, False, None, ""),
        (Standing.WITHIN, True, None, "resolve"),
        (Standing.WITHIN, False, None, ""),
        (Standing.BEYOND, False, 6.9, ""),
        (Standing.BEYOND, False, 7.0, "raise"),
    ],
)
def test_decisions(
    where: Standing,
    is_open: bool,  # noqa: FBT001 - a parameter of the test
    ended_days_ago: float | None,
    expected: str,
) -> None:
    ended = {} if ended_days_ago is None else {SUBJECT: AT - timedelta(days=ended_days_ago)}
    judged = [Judgement(SUBJECT, where, "because")]
    raised, resolved = decide(judged, {SUBJECT: AT} if is_open else {}, ended, AT, RULES)
    assert raised == (judged if expected == "raise" else [])
    assert resolved == (judged if expected == "resolve" else [])


@pytest.mark.parametrize(
    ("odometer_km", "gps_km", "expected"),
    [
        (1000.0, 1000.0, Standing.WITHIN),
        (1100.0, 1000.0, Standing.WITHIN),  # 9 %
        (1000.0, 860.0, Standing.IN_MARGIN),  # 14 %
        (1000.0, 840.0, Standing.BEYOND),
        (0.0, 1000.0, Standing.BEYOND),  # it stands still
        (-5000.0, 1000.0, Standing.BEYOND),  # it has jumped back
        (0.0, 49.0, None),
        (0.0, 0.0, None),  # it has none
    ],
)
def test_odometer_and_positions(
    odometer_km: float, gps_km: float, expected: Standing | None
) -> None:
    found = standing(AlertKind.ODOMETER_MISMATCH, odometer_km=odometer_km, odometer_gps_km=gps_km)
    assert found is expected


@pytest.mark.parametrize(
    ("short_days", "days", "expected"),
    [
        (6, 20, Standing.BEYOND),
        (5, 20, Standing.IN_MARGIN),
        (4, 20, Standing.WITHIN),
        (6, 6, None),  # less than a week tells nothing
    ],
)
def test_depots_that_are_short(short_days: int, days: int, expected: Standing | None) -> None:
    depot = DepotObservation("syddjurs/hall", 3, days, short_days, 4)
    found = judge_depots([depot], RULES)
    assert [one.standing for one in found] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("supply", "words"),
    [
        (0, "days vehicles were out of it, which has none of its own, 30%"),
        (1, "days more than its only vehicle were out at once, 30%"),
        (2, "days all of its 2 vehicles were out at once, 30%"),
    ],
)
def test_a_depot_that_is_short_says_of_how_many(supply: int, words: str) -> None:
    (found,) = judge_depots([DepotObservation("syddjurs/hall", supply, 20, 6, 4)], RULES)
    assert words in found.reason
