"""What a placement makes of a forecast: prices grow where it wins, and nowhere else."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from infra.settings import PlannerSettings
from optimizer.placement.demand_scaling import growth_of
from optimizer.placement.problem import inputs_hash, problem_of
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from schemas.fleet.master_data import Depot, Vehicle, VehicleType
from schemas.fleet.policy import PlacementPolicy
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.plan import PlanTrigger

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HALL, SCHOOL = "m/hall", "m/school"
WEEKS = 9
CAR = VehicleType.CAR
OFF = range(2, 7 * WEEKS, 14)
"""Days after the first Monday that are days off: five Wednesdays of the past."""


def departures(depot_id: str, vehicle: int, day: int) -> tuple[ObservedRoundTrip, ...]:
    """Return round trips of a day: the school's alike, the hall's by turns, half an hour each.

    The hall's leave from seven in one week and from sixteen in the next one, but not on days off.
    """
    count, hour = (2, 8) if depot_id == SCHOOL else (3, 7 + 9 * (day // 7 % 2))
    if depot_id == HALL and day in OFF:
        count = 0
    return tuple(
        ObservedRoundTrip(
            vehicle_id=f"m/{vehicle}",
            started_at=MONDAY + timedelta(days=day, hours=hour, minutes=40 * number),
            ended_at=MONDAY + timedelta(days=day, hours=hour, minutes=40 * number + 30),
            start_depot_id=depot_id,
            end_depot_id=depot_id,
            distance_m=10_000,
        )
        for number in range(count)
    )


def inputs(*, forecast: bool = True, days: int = 7 * WEEKS) -> PlacementInputs:
    return PlacementInputs(
        municipality_id="m",
        timezone="UTC",
        horizon_days=14,
        round_trip_max_s=36_000,
        policy=PlacementPolicy(forecast=forecast),
        holidays=tuple(MONDAY.date() + timedelta(days=day) for day in OFF),
        depots=tuple(
            Depot(depot_id=name, municipality_id="m", name=name[2:], lat=56.3, lon=10.5, capacity=5)
            for name in (HALL, SCHOOL)
        ),
        vehicles=tuple(
            Vehicle(
                vehicle_id=f"m/{number}",
                municipality_id="m",
                name=str(number),
                vehicle_type=CAR,
                home_depot_id=depot_id,
            )
            for number, depot_id in ((1, HALL), (2, SCHOOL))
        ),
        round_trips=tuple(
            departure
            for day in range(days)
            for number, depot_id in ((1, HALL), (2, SCHOOL))
            for departure in departures(depot_id, number, day)
        ),
    )


def test_demand_grows_where_the_forecast_wins_and_stays_elsewhere() -> None:
    growth = growth_of(inputs())
    # The school recurs to the letter, so last week cannot be beaten there.
    assert set(growth) == {(HALL, CAR)}
    # 61 whole days were seen, five of them off, and none is to come.
    assert growth[HALL, CAR] == pytest.approx(61 / 56, rel=0.03)
    grown, plain = problem_of(inputs()), problem_of(inputs(forecast=False))
    for key, levels in plain.levels.items():
        for level in levels:
            assert grown.level_ore(level) == pytest.approx(
                plain.level_ore(level) * growth.get(key, 1.0), abs=1
            )


def test_without_the_wish_or_with_few_days_demand_stays_what_it_was() -> None:
    assert growth_of(inputs(forecast=False)) == {}
    assert growth_of(inputs(days=40)) == {}  # fewer than seven weeks judge nothing
    assert growth_of(inputs(days=5)) == {}
    assert not PlannerSettings().policy.forecast
    assert PlannerSettings(forecast=True).policy.forecast


def test_a_day_off_ahead_is_demand_that_does_not_come() -> None:
    open_, last = inputs(), max(round_trip.ended_at for round_trip in inputs().round_trips).date()
    ahead = tuple(last + timedelta(days=number) for number in range(7))
    closed = open_.model_copy(update={"holidays": (*open_.holidays, *ahead)})
    # A week of two is off. A holiday is like those seen, of which there was nothing, and a Sunday.
    expected = (7 + 7 / 6) / 14
    assert growth_of(closed)[HALL, CAR] == pytest.approx(
        expected * growth_of(open_)[HALL, CAR], rel=0.05
    )


def test_a_plan_says_where_it_forecasts_and_is_the_same_again() -> None:
    occasion = PlanMetadata(uuid.UUID(int=1), PlanTrigger.ON_REQUEST, "test", MONDAY)
    plan = make_plan(inputs(), Search(1, 5.0), occasion)
    assert "Demand is forecast for 1 of 2 depots and classes" in plan.explanation
    assert make_plan(inputs(), Search(1, 5.0), occasion) == plan
    plain = make_plan(inputs(forecast=False), Search(1, 5.0), occasion)
    assert "forecast" not in plain.explanation
    assert inputs_hash(inputs()) != inputs_hash(inputs(forecast=False))
