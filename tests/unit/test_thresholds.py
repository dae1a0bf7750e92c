"""Each threshold from both sides: what is just within it, and what is just beyond."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from infra.database.plans.replan_signals import OpenAlertCount
from infra.settings import PlannerSettings
from optimizer.backtest.explanation import in_words
from optimizer.backtest.replay import requests_of
from optimizer.backtest.split import (
    MIN_FITTED_DAYS,
    MIN_ROUND_TRIPS,
    TooLittleDataError,
    split,
)
from optimizer.carpool.groups import JourneyLeg, Shared, TravelMatrices, shared_way
from optimizer.costs import ORE_PER_DKK, fetching_ore, unserved_ore
from optimizer.demand import profile, trip_chains
from optimizer.drift import drift
from optimizer.followup import home_in, week_bounds, whole_weeks
from optimizer.forecast.solve import NAIVE, SEASONAL, _verdict
from optimizer.travel import Geodesic
from processors.alerts.evaluation import AlertRule, Evaluation, evaluate
from processors.alerts.rules import ALERT_RULES
from processors.alerts.statistics import DepotStats, VehicleStats
from processors.alerts.underuse import DAYS_A_YEAR, VehicleUse, underused
from processors.geodesy import Point
from processors.timeline.legs import Leg, unseen_m
from processors.timeline.pending_legs import possible_arrival
from processors.timeline.validation import precedence
from schemas.events.alerts import DEPOT_SHORT, UNDERUSED
from schemas.events.fix import Fix
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Home
from schemas.fleet.rules import Rules
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.carpool import CarpoolRules
from schemas.plans.demand import ObservedRoundTrip
from schemas.plans.forecast import FoldError, ForecastBackTest
from schemas.plans.plan import PlanTrigger
from schemas.plans.travel import Place
from stream.planner.triggers import select_trigger
from tests.unit import test_backtest as back
from tests.unit import test_demand as demand
from tests.unit.test_alert_rules import USUAL
from tests.unit.test_placement import HALL, MONDAY, mornings
from tests.unit.test_triggers import INPUTS, NONE, RULES, SAME

MICROSECOND = timedelta(microseconds=1)
COSTS = Costs()
CHANGEOVER = timedelta(seconds=COSTS.changeover_s)
RULES_OF_FLEETS = Rules()


@pytest.mark.parametrize(("early", "vehicles"), [(MICROSECOND, 1), (timedelta(), 2)])
def test_who_leaves_when_the_changeover_is_over_has_given_the_vehicle_back(
    early: timedelta, vehicles: int
) -> None:
    back_at = demand.at(9)
    again_at = back_at + CHANGEOVER - early
    trips = (
        demand.trip("1", demand.at(8), back_at),
        demand.trip("1", again_at, demand.at(11)),
    )
    given = demand.inputs(*trips)
    assert len(trip_chains(given)) == vehicles
    # The back-test reads the same rule with code of its own.
    assert len(requests_of(trips, given.vehicles, COSTS)) == vehicles


@pytest.mark.parametrize(("late", "outings_expected"), [(timedelta(), 1), (MICROSECOND, 2)])
def test_a_way_home_over_another_depot_is_one_outing_up_to_the_longest_round_trip(
    late: timedelta, outings_expected: int
) -> None:
    started_at = demand.at(6)
    back_at = started_at + timedelta(seconds=36_000) + late
    given = demand.inputs(
        demand.trip("1", started_at, demand.at(8), "AB"),
        demand.trip("1", demand.at(14), back_at, "BA"),
    )
    assert given.round_trip_max_s == 36_000
    assert len(trip_chains(given)) == outings_expected


def test_a_trip_unserved_costs_its_kilometres_once_they_exceed_the_least_price() -> None:
    least_ore = COSTS.unserved_minimum_dkk * ORE_PER_DKK
    at_m = COSTS.unserved_minimum_dkk / COSTS.own_car_dkk_per_km * 1000
    assert unserved_ore(0, COSTS) == unserved_ore(at_m - 10, COSTS) == least_ore
    assert unserved_ore(at_m + 10, COSTS) > least_ore


def test_a_vehicle_fetched_is_paid_for_both_ways() -> None:
    # 30 minutes away at 350 DKK an hour: a whole hour.
    assert fetching_ore(30, Costs(staff_dkk_per_h=350)) == 35_000


def test_a_change_of_fleet_calls_for_a_plan_from_its_threshold_on() -> None:
    assert len(INPUTS.vehicles) == 40
    left = INPUTS.vehicles[:38]
    names = {vehicle.vehicle_id for vehicle in left}
    round_trips = tuple(trip for trip in INPUTS.round_trips if trip.vehicle_id in names)
    given = INPUTS.model_copy(update={"vehicles": left, "round_trips": round_trips})
    rules = PlannerSettings(drift_threshold=1, fleet_threshold=2 / 40)
    cause = select_trigger(given, SAME, NONE, rules)
    assert cause is not None
    assert cause.trigger is PlanTrigger.FLEET
    higher = PlannerSettings(drift_threshold=1, fleet_threshold=math.nextafter(2 / 40, 1))
    assert select_trigger(given, SAME, NONE, higher) is None


def test_drift_calls_for_a_plan_from_its_threshold_on() -> None:
    moved = INPUTS.model_copy(
        update={"round_trips": INPUTS.round_trips[: len(INPUTS.round_trips) // 2]}
    )
    value = drift(SAME.profile, profile(moved)).value
    assert 0 < value < 1
    at_threshold = select_trigger(moved, SAME, NONE, PlannerSettings(drift_threshold=value))
    assert at_threshold is not None
    assert at_threshold.trigger is PlanTrigger.DRIFT
    above = PlannerSettings(drift_threshold=math.nextafter(value, 1))
    assert select_trigger(moved, SAME, NONE, above) is None


def test_alerts_call_for_a_plan_from_their_number_on() -> None:
    names = tuple(f"m/{number}" for number in range(RULES.alert_threshold))
    cause = select_trigger(INPUTS, SAME, OpenAlertCount(names, ()), RULES)
    assert cause is not None
    assert cause.trigger is PlanTrigger.ALERTS
    assert select_trigger(INPUTS, SAME, OpenAlertCount(names[1:], ()), RULES) is None


@pytest.mark.parametrize(
    ("weeks", "won", "used"),
    [(4, 2, NAIVE), (4, 3, SEASONAL), (5, 2, NAIVE), (5, 3, SEASONAL), (1, 1, SEASONAL)],
)
def test_the_seasonal_model_has_to_be_closer_in_more_than_half_of_the_weeks(
    weeks: int, won: int, used: str
) -> None:
    assert verdict(weeks=weeks, won=won, seasonal_wape=0.5, naive_wape=1.0) == used


@pytest.mark.parametrize(("seasonal_wape", "used"), [(0.75, NAIVE), (0.749, SEASONAL)])
def test_the_seasonal_model_has_to_err_less_by_more_than_the_margin(
    seasonal_wape: float, used: str
) -> None:
    assert verdict(weeks=4, won=4, seasonal_wape=seasonal_wape, naive_wape=1.0) == used


def verdict(*, weeks: int, won: int, seasonal_wape: float, naive_wape: float) -> str:
    """Return which method is used after such a back-test, with a margin of a quarter."""
    fold = FoldError(first_day=date(2026, 3, 2), departures=10, seasonal_mae=0.1, naive_mae=0.2)
    used, reason = _verdict(
        ForecastBackTest(
            folds=(fold,) * weeks,
            seasonal_wape=seasonal_wape,
            naive_wape=naive_wape,
            folds_won=won,
        ),
        0.25,
    )
    assert f"closer in {won} of them" in reason
    return used


def on_days(days: int, a_day: int = 20) -> tuple[ObservedRoundTrip, ...]:
    """Return round trips of one car on each of so many days."""
    return tuple(trip for trip in mornings(1, HALL, days) for _ in range(a_day))


def test_the_fewest_days_that_are_cut_are_those_of_a_fit_and_a_week() -> None:
    least = MIN_FITTED_DAYS + 7
    parts = split(back.inputs(on_days(least)))
    assert (parts.fitted_days, parts.weeks_replayed) == (MIN_FITTED_DAYS, 1)
    with pytest.raises(TooLittleDataError, match=f"^{least - 1} days were observed"):
        split(back.inputs(on_days(least - 1)))


@pytest.mark.parametrize("part", ["fitted", "replayed"])
def test_each_part_needs_its_round_trips(part: str) -> None:
    many = on_days(21)
    first_replayed = MONDAY + timedelta(days=14)

    def given(count: int) -> tuple[ObservedRoundTrip, ...]:
        """Keep so many of the part, and the first and last day of all."""
        in_part = [
            trip for trip in many if (trip.started_at < first_replayed) == (part == "fitted")
        ]
        others = [trip for trip in many if trip not in in_part]
        kept = [in_part[0], in_part[-1], *in_part[1 : count - 1]]
        return tuple(sorted([*others, *kept], key=lambda trip: trip.started_at))

    split(back.inputs(given(MIN_ROUND_TRIPS)))
    with pytest.raises(TooLittleDataError, match=f"{MIN_ROUND_TRIPS} are needed in each"):
        split(back.inputs(given(MIN_ROUND_TRIPS - 1)))


@pytest.mark.parametrize(("weeks", "thin"), [(3, True), (4, False)])
def test_fewer_than_four_weeks_of_replay_are_thin_evidence(weeks: int, *, thin: bool) -> None:
    test, _ = back.outcome(back.inputs(back.misplaced(14)))
    replayed = test.model_copy(update={"weeks_replayed": weeks})
    words = in_words(replayed, unproven=0, greedy_stopped=False)
    assert (f"one strange day is 1/{7 * weeks}" in words) == thin


def test_a_week_counts_when_it_lies_within_to_the_microsecond() -> None:
    week = date(2026, 3, 23)  # of 167 hours: clocks are put forward on its Sunday
    began_at, ended_at = week_bounds(week, demand.COPENHAGEN)
    assert ended_at - began_at == timedelta(hours=167)
    assert list(whole_weeks(began_at, ended_at, demand.COPENHAGEN)) == [week]
    assert not list(whole_weeks(began_at + MICROSECOND, ended_at, demand.COPENHAGEN))
    assert not list(whole_weeks(began_at, ended_at - MICROSECOND, demand.COPENHAGEN))


def test_a_vehicle_is_at_home_where_it_was_for_longer() -> None:
    since = datetime(2026, 3, 2, tzinfo=UTC)
    until = since + timedelta(days=7)
    middle = since + timedelta(days=3.5)
    for moved_at, expected in ((middle - MICROSECOND, "m/b"), (middle + MICROSECOND, "m/a")):
        homes = [
            Home(depot_id="m/a", since=None, until=moved_at),
            Home(depot_id="m/b", since=moved_at, until=None),
        ]
        assert home_in(homes, since, until) == expected
    assert home_in([Home(depot_id="m/a", since=until, until=None)], since, until) is None
    assert home_in([Home(depot_id="m/a", since=None, until=since)], since, until) is None


def leg(start: Point, end: Point, distance_m: float, driven_m: float | None = None) -> Leg:
    """Return a leg of 10,000 s, on which the odometer counted so much, if anything."""
    return Leg(
        started_at=MONDAY,
        ended_at=MONDAY + timedelta(seconds=10_000),
        start=start,
        end=end,
        distance_m=distance_m,
        moving=True,
        engine=None,
        start_odometer_m=None if driven_m is None else 0.0,
        end_odometer_m=driven_m,
    )


def test_an_odometer_is_believed_up_to_the_greatest_possible_speed() -> None:
    rules = Rules(max_speed_mps=50)
    hall = Point(56.0, 10.0)
    assert unseen_m(leg(hall, hall, 0.0, 500_000.0), rules) == 500_000.0
    assert unseen_m(leg(hall, hall, 0.0, math.nextafter(500_000.0, math.inf)), rules) is None


def test_a_vehicle_that_went_far_and_came_back_had_not_arrived_before() -> None:
    hall, far, mill = Point(56.0, 10.0), Point(56.01, 10.0), Point(56.0, 10.0001)
    tail = [leg(hall, far, 1113.0), leg(far, mill, 1113.0), leg(mill, mill, 0.0)]
    assert possible_arrival(tail, 200.0, first=0) == 2


MEASURED = sorted(Fix.model_fields.keys() - {"vehicle_id", "recorded_at", "private_mode"})


@pytest.mark.parametrize("name", MEASURED)
def test_every_field_of_a_fix_takes_part_in_the_order_of_contradicting_fixes(name: str) -> None:
    """A smaller value counts before a larger one, and any before an unknown one."""
    usual = Fix(vehicle_id="m/1", recorded_at=MONDAY, lat=56.0, lon=10.0)
    smaller, larger, unknown = (
        usual.model_copy(update={name: value}) for value in (False, True, None)
    )
    assert precedence(smaller) < precedence(larger) < precedence(unknown)


def test_private_mode_counts_before_all_else() -> None:
    private = Fix(vehicle_id="m/1", recorded_at=MONDAY, private_mode=True)
    usual = Fix(vehicle_id="m/1", recorded_at=MONDAY, lat=-90, lon=-180)
    assert precedence(private) < precedence(usual)


def test_a_detour_fits_up_to_its_limit() -> None:
    hall, mill, school = Place(56.30, 10.50), Place(56.33, 10.56), Place(56.40, 10.60)
    number = {place: index for index, place in enumerate((hall, mill, school))}
    ways = TravelMatrices(
        number, {VehicleType.CAR: Geodesic().matrix(tuple(number), VehicleType.CAR)}
    )
    legs = (JourneyLeg(hall, school, 0.0, 3_600.0), JourneyLeg(mill, school, 0.0, 3_600.0))

    def shared(limit_m: float) -> Shared | None:
        rules = CarpoolRules(max_detour_m=limit_m, max_shift_s=3_600)
        return shared_way(legs, VehicleType.CAR, ways, rules)

    way = shared(50_000.0)
    assert way is not None
    assert way.detour_m > 0
    assert shared(way.detour_m) == way
    assert shared(math.nextafter(way.detour_m, 0)) is None


@pytest.mark.parametrize(("cars", "judged_alone"), [(2, True), (3, False)])
def test_a_class_of_three_is_compared_and_one_of_two_is_not(
    cars: int, *, judged_alone: bool
) -> None:
    """It drives less than the limit of kilometres, and more than a quarter of its class."""
    fleet = [
        VehicleUse(
            vehicle_id=f"m/{number}",
            vehicle_class="car",
            distance_km=4_000.0 if number == 0 else 6_500.0,
            engine_h=100.0,
            days_used=200,
            available_h=1_000.0,
            used_available_h=10.0,
        )
        for number in range(cars)
    ]
    entries = underused(fleet, window_days=DAYS_A_YEAR, rules=Rules())
    assert [use.vehicle_id for use in entries] == (["m/0"] if judged_alone else [])


def evaluations_of(row: VehicleStats | DepotStats, *kinds: str) -> list[Evaluation]:
    """Return what the table of alerts says of a vehicle or depot by some kinds."""
    rules: list[AlertRule] = [rule for rule in ALERT_RULES if rule.kind in kinds]
    assert len(rules) == len(kinds)
    return [done for rule in rules for done in evaluate(rule, [row], RULES_OF_FLEETS)]


@pytest.mark.parametrize(("short", "kinds"), [(0.0, 2), (1e-9, 0)])
def test_a_vehicle_is_judged_from_the_least_days_on(short: float, kinds: int) -> None:
    days = RULES_OF_FLEETS.alert_least_days - short
    idle = replace(
        USUAL, observed_days=days, distance_km=0.0, engine_h=10.0, idling_h=9.0, days_used=1
    )
    assert len(evaluations_of(idle, UNDERUSED, "excess-idling")) == kinds


@pytest.mark.parametrize(("days", "judged"), [(7, 1), (6, 0)])
def test_a_depot_is_judged_from_the_least_days_on(days: int, judged: int) -> None:
    assert RULES_OF_FLEETS.alert_least_days == 7
    depot = DepotStats("m/hall", supply=2, days=days, short_days=0, peak_out=1)
    assert len(evaluations_of(depot, DEPOT_SHORT)) == judged
