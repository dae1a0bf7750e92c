"""Vehicles out of service: nobody's to place, their demand stays, and alerts about them change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from optimizer.assignment.inputs import assignment_inputs
from optimizer.backtest.run import back_test
from optimizer.composition.inputs import composition_inputs
from optimizer.demand import profile, trip_chains
from optimizer.drift import fleet_change, fleet_profile
from optimizer.placement.problem import problem_of
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from processors.alerts.evaluation import Evaluation, LimitState, Subject, decide, evaluate
from processors.alerts.rules import ALERT_RULES
from processors.alerts.statistics import RetiredVehicleStats
from schemas.events.alerts import AlertKind
from schemas.fleet.master_data import Depot, EnteredVehicle, Vehicle
from schemas.fleet.rules import Rules
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.plan import PlanTrigger

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
DAYS = 28
LAST_DAY = date(2026, 3, 20)
HALL = Depot(
    depot_id="m/hall", municipality_id="m", name="Hall", lat=56.3, lon=10.5, capacity=9
)  # fmt: skip
RULES = Rules()
SEARCH = Search(1, 5.0)


def vehicle(name: str, vehicle_type: str = "car", **given: Any) -> Vehicle:
    return Vehicle.model_validate(
        {
            "vehicle_id": f"m/{name}",
            "municipality_id": "m",
            "name": name,
            "home_depot_id": "m/hall",
            "vehicle_type": vehicle_type,
            "energy_source": "petrol",
            "consumption_per_km": 0.06,
            "yearly_cost_dkk": 30_000,
            **given,
        }
    )


CAR, OTHER, VAN = vehicle("car"), vehicle("other"), vehicle("van", "van")


def inputs(vehicles: Sequence[Vehicle], former: Sequence[Vehicle] = ()) -> PlacementInputs:
    """Return a round trip of all three a day, at the same time."""
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=28,
        round_trip_max_s=36_000,
        depots=(HALL,),
        vehicles=tuple(vehicles),
        former_vehicles=tuple(former),
        round_trips=tuple(
            ObservedRoundTrip(
                vehicle_id=entry.vehicle_id,
                started_at=MONDAY + timedelta(days=day),
                ended_at=MONDAY + timedelta(days=day, hours=2),
                start_depot_id="m/hall",
                end_depot_id="m/hall",
                distance_m=20_000,
            )
            for day in range(DAYS)
            for entry in (CAR, OTHER, VAN)
        ),
    )


ALL = inputs((CAR, OTHER, VAN))
RETIRED = inputs((CAR,), (OTHER, VAN))


def test_what_a_retired_vehicle_drove_is_the_demand_that_it_was() -> None:
    assert trip_chains(RETIRED) == trip_chains(ALL)
    assert profile(RETIRED) == profile(ALL)


def test_a_plan_places_who_is_left_and_says_what_that_leaves_unserved() -> None:
    occasion = PlanMetadata(
        UUID(int=1), PlanTrigger.ON_REQUEST, "asked for", MONDAY + timedelta(days=DAYS)
    )
    plan = make_plan(RETIRED, SEARCH, occasion)
    assert plan.placement == {"m/car": "m/hall"}
    # Two cars' and a van's round trip at once each day, and one car to make them.
    assert (plan.unserved_before, plan.unserved_after) == (2 * DAYS, 2 * DAYS)
    assert make_plan(ALL, SEARCH, occasion).unserved_after == 0


def test_retiring_is_a_change_of_fleet_by_those_who_went() -> None:
    changed = fleet_change(fleet_profile(ALL), fleet_profile(RETIRED))
    assert changed.value == pytest.approx(2 / 3)
    assert "0 came, 2 went" in changed.reason
    back = fleet_change(fleet_profile(RETIRED), fleet_profile(ALL))
    assert "2 came, 0 went" in back.reason


def test_studies_and_back_tests_have_its_outings_and_not_the_vehicle() -> None:
    assigned = assignment_inputs(RETIRED).inputs
    assert [entry.vehicle_id for entry in assigned.vehicles] == ["m/car"]
    assert len(assigned.round_trips) == 3 * DAYS
    composed = composition_inputs(RETIRED).inputs
    assert [entry.vehicle_id for entry in composed.vehicles] == ["m/car"]
    assert len(composed.round_trips) == 3 * DAYS
    backtest = back_test(RETIRED, SEARCH).backtest
    assert backtest is not None
    # Of three a day that are replayed the car makes one.
    for contender in backtest.contenders:
        assert contender.served_share == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("until", "reason"),
    [
        (date(2026, 4, 10), "is in service until 2026-04-10, within the plan's horizon"),
        # The newest round trip ends on 29 March, and the horizon 28 days later.
        (date(2026, 4, 26), "is in service until 2026-04-26, within the plan's horizon"),
        (date(2026, 4, 27), None),
    ],
)
def test_who_leaves_within_the_horizon_is_not_moved_any_more(
    until: date, reason: str | None
) -> None:
    leaving = CAR.model_copy(update={"in_service_until": until})
    assert problem_of(inputs((leaving, OTHER, VAN))).locked.get("m/car") == reason


@pytest.mark.parametrize("day", ["1999-12-31", "2100-01-01", "soon", "2026-02-30"])
def test_a_last_day_that_cannot_be_meant_is_refused(day: str) -> None:
    with pytest.raises(ValidationError, match="in_service_until"):
        EnteredVehicle.model_validate({**CAR.model_dump(), "in_service_until": day})


(AFTER_RETIREMENT,) = (rule for rule in ALERT_RULES if rule.kind == "reporting-after-retirement")


def reporting(for_h: float, silent_h: float = 0.0) -> RetiredVehicleStats:
    return RetiredVehicleStats("m/car", LAST_DAY, for_h, silent_h, 12.4)


@pytest.mark.parametrize(
    ("reporting_h", "silent_h", "expected"),
    [
        (-3.0, 30.0, None),
        (0.0, 0.0, None),
        (24.0, 0.0, LimitState.IN_MARGIN),
        (24.1, 0.0, LimitState.BEYOND),
        (24.1, 72.0, LimitState.BEYOND),
        (24.1, 72.1, LimitState.WITHIN),
    ],
)
def test_a_vehicle_that_reports_for_a_day_after_its_last_is_told_until_it_stops(
    reporting_h: float, silent_h: float, expected: LimitState | None
) -> None:
    evaluations = evaluate(AFTER_RETIREMENT, [reporting(reporting_h, silent_h)], RULES)
    assert [evaluation.state for evaluation in evaluations] == (
        [] if expected is None else [expected]
    )


def test_the_reason_has_the_numbers_and_what_to_do() -> None:
    (evaluation,) = evaluate(AFTER_RETIREMENT, [reporting(60.0)], RULES)
    assert evaluation.reason == (
        "retired, in service until 2026-03-20, and reporting for 2.5 days since, limit 1.0; "
        "12 km driven; take its tracker out, or: fleetpulse fleet reinstate m/car"
    )


@pytest.mark.parametrize(
    ("kind", "retired", "reason"),
    [
        ("not-reporting", {"m/car": LAST_DAY}, "retired: in service until 2026-03-20"),
        ("not-reporting", {"m/other": LAST_DAY}, "too little is known to judge it any longer"),
        ("reporting-after-retirement", {}, "in service again"),
        (
            "reporting-after-retirement",
            {"m/car": LAST_DAY},
            "no fix after 2026-03-20",
        ),
    ],
)
def test_an_open_alert_that_is_not_judged_any_more_says_why(
    kind: AlertKind, retired: dict[str, date], reason: str
) -> None:
    subject: Subject = ("m/car", kind)
    raised, resolved = decide(
        [], {subject: MONDAY}, {}, MONDAY, RULES, retired, alert_rules=ALERT_RULES
    )
    assert (raised, resolved) == ([], [Evaluation(subject, LimitState.WITHIN, reason)])


def test_without_a_rest_it_is_not_raised_at_the_instant_of_its_end() -> None:
    subject: Subject = ("m/car", "not-reporting")
    beyond = Evaluation(subject, LimitState.BEYOND, "because")
    restless = RULES.model_copy(update={"alert_cooldown_days": 0.0})
    later = MONDAY + timedelta(seconds=1)
    assert decide([beyond], {}, {subject: MONDAY}, MONDAY, restless, alert_rules=ALERT_RULES) == (
        [],
        [],
    )
    assert decide([beyond], {}, {subject: MONDAY}, later, restless, alert_rules=ALERT_RULES) == (
        [beyond],
        [],
    )
