"""A back-test of small fleets whose answer can be calculated by hand, and when there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from optimizer.backtest.cost_breakdown import replay_cost
from optimizer.backtest.explanation import in_words
from optimizer.backtest.greedy import Greedy
from optimizer.backtest.replay import Fetched, nights_of, replay, requests_of
from optimizer.backtest.run import back_test, fit, yard_of
from optimizer.backtest.split import TooLittleDataError, split
from optimizer.costs import relocation_ore
from optimizer.search import Cancellation, Search, SearchCancelledError
from optimizer.work_budget import WorkBudget
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import EnergySource, Vehicle
from schemas.plans.backtest import BackTest, Contender, ContenderName
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from tests.unit.test_placement import HALL, MONDAY, SCHOOL, car, depot, mornings, plan

COSTS = Costs()

DEPOTS = (depot(HALL), depot(SCHOOL))
CARS = (car(1, HALL), car(2, HALL), car(3, SCHOOL))
ZONE = ZoneInfo("Europe/Copenhagen")
SEARCH = Search(seed=1, time_limit_s=5)


def inputs(
    round_trips: Iterable[ObservedRoundTrip],
    vehicles: Iterable[Vehicle] = CARS,
    horizon_days: int = 56,
) -> PlacementInputs:
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=horizon_days,
        round_trip_max_s=36_000,
        depots=DEPOTS,
        vehicles=tuple(vehicles),
        round_trips=tuple(round_trips),
    )


def misplaced(days: int) -> tuple[ObservedRoundTrip, ...]:
    """Return mornings of three cars, of which number two is at home at the hall and never there."""
    return mornings(1, HALL, days) + mornings(2, SCHOOL, days) + mornings(3, SCHOOL, days)


def outcome(given: PlacementInputs) -> tuple[BackTest, str]:
    back_test_finding = back_test(given, SEARCH)
    assert back_test_finding.backtest is not None, back_test_finding.explanation
    return back_test_finding.backtest, back_test_finding.explanation


def trip(
    vehicle: int, start_min: int, end_min: int, start: str, end: str | None
) -> ObservedRoundTrip:
    return ObservedRoundTrip(
        vehicle_id=f"m/{vehicle}",
        started_at=MONDAY + timedelta(minutes=start_min),
        ended_at=MONDAY + timedelta(minutes=end_min),
        start_depot_id=start,
        end_depot_id=end,
        distance_m=10_000,
    )


def test_twelve_weeks_are_fitted_on_eight_and_replayed_on_four_with_the_bill_by_hand() -> None:
    entry, words = outcome(inputs(misplaced(84)))
    assert (entry.weeks_fitted, entry.weeks_replayed) == (8, 4)
    assert entry.fitted_to == datetime.combine(date(2026, 4, 27), datetime.min.time(), ZONE)
    was, greedy, plan_ = entry.contenders
    km_served, litres_per_km = 28 * 30, 0.05
    energy_dkk, co2e_kg = litres_per_km * 12.33, litres_per_km * 2.52

    # As it was: of the two who come to the school each morning, one finds no car.
    assert (was.moves, was.round_trips, was.served_round_trips) == (0, 84, 56)
    assert was.unserved_dkk == pytest.approx(28 * 30 * 3.70)
    assert was.energy_dkk == pytest.approx(2 * km_served * energy_dkk)
    assert was.co2e_kg == pytest.approx(2 * km_served * co2e_kg + km_served * 0.06 * 2.52)
    assert was.co2e_dkk == pytest.approx(was.co2e_kg * 1.5)
    assert was.relocation_dkk == was.charger_dkk == 0
    # With a car from the hall all find one; four of eight weeks pay half of the move.
    for contender in (greedy, plan_):
        assert (contender.moves, contender.served_round_trips, contender.served_share) == (1, 84, 1)
        assert contender.unserved_dkk == 0
        assert contender.co2e_kg == pytest.approx(3 * km_served * co2e_kg)
        assert contender.relocation_dkk == pytest.approx(
            relocation_ore(CARS[1], *DEPOTS, COSTS) / 100 / 2
        )
        assert contender.cost_dkk == pytest.approx(
            contender.energy_dkk + contender.co2e_kg * 1.5 + contender.relocation_dkk, abs=1e-4
        )
    assert entry.cost_ratio == pytest.approx(plan_.cost_dkk / was.cost_dkk)
    assert entry.greedy_cost_ratio == entry.cost_ratio
    assert f"serves 66.7% for {was.cost_dkk:,.0f} DKK" in words
    less = f"{1 - plan_.cost_dkk / was.cost_dkk:.1%} less"
    assert f"the plan costs {less}, the greedy rule {less}." in words
    assert "thin" not in words


def test_a_plan_of_weeks_that_do_not_come_again_is_found_out() -> None:
    early = misplaced(56)
    later = tuple(
        morning.model_copy(
            update={
                "started_at": morning.started_at + timedelta(days=56),
                "ended_at": morning.ended_at + timedelta(days=56),
            }
        )
        for morning in mornings(1, HALL, 28) + mornings(2, HALL, 28) + mornings(3, SCHOOL, 28)
    )
    entry, words = outcome(inputs(early + later))
    was, _, plan_ = entry.contenders
    assert (was.served_share, plan_.moves) == (1, 1)
    assert plan_.served_round_trips == 56
    assert entry.cost_ratio is not None
    assert entry.cost_ratio > 1.5
    assert re.search(r"the plan costs [\d.]+% more", words)


def test_two_weeks_are_split_into_one_and_one_and_said_to_be_thin() -> None:
    entry, words = outcome(inputs(misplaced(14)))
    assert (entry.weeks_fitted, entry.weeks_replayed) == (1, 1)
    assert "One week of replay and 1.0 of fitting are thin evidence" in words


@pytest.mark.parametrize(
    ("days", "weeks_replayed", "days_fitted"),
    [
        (12, 1, 5),
        (14, 1, 7),
        (21, 1, 14),
        (39, 1, 32),
        (40, 2, 26),
        (42, 2, 28),
        (57, 2, 43),
        (82, 4, 54),
        (84, 4, 56),
    ],
)
def test_a_third_of_the_whole_weeks_is_replayed(
    days: int, weeks_replayed: int, days_fitted: int
) -> None:
    parts = split(inputs(misplaced(days) + misplaced(days)))
    assert (parts.weeks_replayed, parts.fitted_days) == (weeks_replayed, days_fitted)
    assert len(parts.fitted.round_trips) == 6 * days_fitted
    assert len(parts.replayed) == 6 * 7 * weeks_replayed


def test_the_cut_lies_between_two_local_days_also_where_clocks_change() -> None:
    # 84 days from 2 March: clocks go forward on the 29th, and the cut is at midnight in summer.
    parts = split(inputs(misplaced(84)))
    assert parts.cut_at == datetime(2026, 4, 26, 22, tzinfo=UTC)
    assert split(inputs(misplaced(30))).cut_at == datetime(2026, 3, 24, 23, tzinfo=UTC)


def test_too_little_data_has_no_back_test_and_says_what_is_missing() -> None:
    assert back_test(inputs(misplaced(11)), SEARCH).backtest is None
    assert "11 days were observed; 5 to fit a plan and 7" in (
        back_test(inputs(misplaced(11)), SEARCH).explanation
    )
    with pytest.raises(TooLittleDataError, match=r"7 round trips in 7 days .* 7 in 7 days"):
        split(inputs(mornings(1, HALL, 14)))
    with pytest.raises(TooLittleDataError, match="No round trip"):
        split(inputs(()))


def test_without_a_placement_there_is_nothing_to_replay() -> None:
    crowded = inputs(misplaced(28)).model_copy(
        update={"depots": (depot(HALL, capacity=1), depot(SCHOOL, capacity=1))}
    )
    back_test_finding = back_test(crowded, SEARCH)
    assert back_test_finding.backtest is None
    assert "the solver's answer is infeasible" in back_test_finding.explanation


def test_a_plan_carries_its_back_test() -> None:
    made = plan(DEPOTS, CARS, misplaced(28))
    assert made.backtest == outcome(inputs(misplaced(28), horizon_days=28))[0]
    assert made.backtest_explanation.startswith("Fitted on 3.0 weeks (63 round trips)")
    short = plan(DEPOTS, CARS, misplaced(3))
    assert short.backtest is None
    assert short.backtest_explanation.startswith("No back-test: 3 days were observed")


def test_a_vehicle_left_elsewhere_is_found_there_when_a_changeover_has_passed() -> None:
    asked = requests_of(
        [
            trip(1, 0, 60, HALL, SCHOOL),
            trip(2, 64, 90, SCHOOL, SCHOOL),  # a minute too soon for the one that has come
            trip(3, 65, 100, SCHOOL, SCHOOL),
            trip(1, 200, 260, HALL, HALL),  # nobody has brought it back
        ],
        CARS,
        COSTS,
    )
    replayed = replay(asked, CARS, {"m/1": HALL}, nights_of(asked, ZONE), COSTS)
    assert replayed.taken_by == ("m/1", None, "m/1", None)
    assert replayed.fetched == (Fetched("m/1", SCHOOL, HALL),)


def test_a_vehicle_left_elsewhere_is_driven_home_over_night_by_somebody() -> None:
    night_min = 23 * 60  # midnight in Copenhagen, in winter
    asked = requests_of(
        [
            trip(1, 0, 60, HALL, SCHOOL),
            trip(2, 30, night_min + 60, HALL, SCHOOL),  # still out at midnight
            trip(3, night_min, night_min + 30, HALL, HALL),
            trip(1, night_min + 90, night_min + 120, SCHOOL, SCHOOL),
            trip(1, night_min + 24 * 60, night_min + 25 * 60, HALL, HALL),
        ],
        CARS,
        COSTS,
    )
    replayed = replay(asked, CARS, {"m/1": HALL, "m/2": HALL}, nights_of(asked, ZONE), COSTS)
    assert replayed.taken_by == ("m/1", "m/2", "m/1", "m/2", "m/1")
    assert replayed.fetched == (Fetched("m/1", SCHOOL, HALL), Fetched("m/2", SCHOOL, HALL))
    yard = yard_of(inputs(()), {"m/1": HALL, "m/2": HALL}, 7)
    road_km = 5.568 * 1.3  # 0.05 degrees of latitude at 56 degrees north
    billed = replay_cost(replayed, yard)
    assert billed.fetching_dkk == pytest.approx(2 * road_km / 50 * 300, rel=1e-3)
    assert billed.co2e_kg == pytest.approx((50 + 2 * road_km) * 0.05 * 2.52, rel=1e-3)
    assert billed.unserved_dkk == 0


def test_who_goes_on_before_a_changeover_is_over_has_not_given_the_vehicle_back() -> None:
    (request,) = requests_of(
        [trip(1, 0, 60, HALL, SCHOOL), trip(1, 64, 90, SCHOOL, HALL)], CARS, COSTS
    )
    assert (request.depot_id, request.to_depot_id, request.round_trips) == (HALL, HALL, 2)
    assert request.distance_m == 20_000
    assert (
        len(requests_of([trip(1, 0, 60, HALL, HALL), trip(1, 65, 90, HALL, HALL)], CARS, COSTS))
        == 2
    )
    # A part of one that was too long has ended somewhere: it is back where it was taken.
    (lost,) = requests_of([trip(1, 0, 60, HALL, None)], CARS, COSTS)
    assert lost.to_depot_id == HALL


def test_electric_cars_beyond_their_chargers_cost_by_the_day() -> None:
    electric = [
        car(1, HALL, source=EnergySource.ELECTRICITY),
        car(2, HALL, source=EnergySource.ELECTRICITY),
        car(3, SCHOOL),
    ]
    entry, _ = outcome(inputs(misplaced(21), vehicles=electric))
    was: Contender = entry.contenders[0]
    assert was.charger_dkk == 2 * 7 * 50


def test_a_greedy_rule_that_its_limit_stops_is_said_to_be_stopped() -> None:
    given = inputs(misplaced(28))
    words = back_test(given, SEARCH).explanation
    assert "stopped" not in words
    parts = split(given)
    # Number one is taken first, so that number two is used least.
    assert fit(parts, SEARCH).placements[ContenderName.GREEDY] == homes(given) | {"m/2": SCHOOL}
    hurried = fit(parts, Search(seed=1, time_limit_s=1e-5))
    assert hurried.greedy_stopped
    assert hurried.placements[ContenderName.GREEDY] == homes(given)
    entry, _ = outcome(given)
    assert "stopped by its time limit" in in_words(entry, unproven=0.1, greedy_stopped=True)
    assert "10.0% are open" in in_words(entry, unproven=0.1, greedy_stopped=True)


def test_a_greedy_rule_that_is_cancelled_does_not_go_on() -> None:
    parts = split(inputs(misplaced(28)))
    requests = requests_of(parts.fitted.round_trips, parts.fitted.all_vehicles, COSTS)
    yard = yard_of(parts.fitted, homes(parts.fitted), parts.fitted_days)
    cancellation = Cancellation()
    greedy = Greedy(requests, yard, WorkBudget(10), cancellation.check)
    cancellation.cancel()
    with pytest.raises(SearchCancelledError):
        greedy.placement()


def homes(given: PlacementInputs) -> dict[str, str]:
    return {vehicle.vehicle_id: str(vehicle.home_depot_id) for vehicle in given.vehicles}
