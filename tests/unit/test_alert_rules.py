"""Alerts: raised beyond a limit, kept in the margin, over well within it, and rested in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from processors.alerts import Judgement, Observation, Standing, Subject, decide, judge
from schemas.alerts import AlertKind
from schemas.fleet import EnergySource, VehicleType
from schemas.rules import Rules

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
)


def fleet(**changes: Any) -> list[Observation]:
    """Return three usual cars and one that is as given."""
    usual = [replace(USUAL, vehicle_id=f"syddjurs/car-{number}") for number in (1, 2, 3)]
    return [*usual, replace(USUAL, vehicle_id="syddjurs/odd", **changes)]


def standing(kind: AlertKind, **changes: Any) -> Standing | None:
    """Return what is judged of the odd one; None when it is not judged."""
    found = [one for one in judge(fleet(**changes), RULES) if one.subject == ("syddjurs/odd", kind)]
    return found[0].standing if found else None


# 5,000 km a year are 383 km in 28 days, and a quarter of the average of the class is less than
# 250 km: whoever is below both is underused.
@pytest.mark.parametrize(
    ("distance_km", "expected"),
    [
        (100.0, Standing.BEYOND),
        (1000.0, Standing.WITHIN),
        (340.0, Standing.WITHIN),  # below the absolute limit, but not of its class
        (210.0, Standing.IN_MARGIN),
    ],
)
def test_underused_is_below_both_limits_and_over_beyond_the_margin(
    distance_km: float, expected: Standing
) -> None:
    assert standing(AlertKind.UNDERUSED, distance_km=distance_km) is expected


def test_a_vehicle_seen_for_less_than_a_week_is_not_judged() -> None:
    assert standing(AlertKind.UNDERUSED, distance_km=0.0, observed_days=6.9) is None
    assert standing(AlertKind.EXCESS_IDLING, idling_h=40.0, observed_days=6.9) is None


def test_a_vehicle_that_came_late_is_judged_by_its_pace() -> None:
    late = {"observed_days": 14.0, "distance_km": 500.0}
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
    assert standing(AlertKind.UNDERUSED, distance_km=0.0, silent_h=73.0) is None


def test_a_class_that_stands_still_as_a_whole_is_underused() -> None:
    still = [replace(one, distance_km=0.0) for one in fleet()]
    found = [one for one in judge(still, RULES) if one.subject[1] is AlertKind.UNDERUSED]
    assert [one.standing for one in found] == [Standing.BEYOND] * 4
    assert "the average car is below it too" in found[0].reason


def test_an_open_alert_that_can_no_longer_be_judged_is_over() -> None:
    raised, resolved = decide([], {SUBJECT: AT}, {}, AT, RULES)
    assert (raised, [one.subject for one in resolved]) == ([], [SUBJECT])


def test_silence_has_no_margin() -> None:
    assert standing(AlertKind.SILENT, silent_h=72.1) is Standing.BEYOND
    assert standing(AlertKind.SILENT, silent_h=72.0) is Standing.WITHIN


def test_reasons_say_value_and_limit() -> None:
    told = {one.subject: one.reason for one in judge(fleet(distance_km=100), RULES)}
    underused = told["syddjurs/odd", AlertKind.UNDERUSED]
    assert "1,304 km a year" in underused
    assert "limit 5,000" in underused
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
