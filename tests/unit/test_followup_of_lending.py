"""What the follow-up can say of a plan that leans on lending, and what nobody can see."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from optimizer.costs import ore
from optimizer.followup import follow_up, promise_of
from optimizer.placement.cost_breakdown import vehicles_at
from optimizer.placement.lending import Lending
from optimizer.placement.problem import problem_of
from schemas.fleet.master_data import Home
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.outcome import PlanOutcome
from schemas.plans.plan import PlacementPlan
from stream.cli.plans.plan_view import promise
from tests.unit.test_placement_policy import (
    BEACH,
    HALL,
    MONDAY,
    NOONS,
    ON_FOOT,
    SCHOOL,
    car,
    daily,
    depot,
    inputs,
    plan,
)

WEEK = MONDAY.date()
DEPOTS = (depot(HALL), depot(SCHOOL), depot(BEACH))
HOMES = {"m/1": HALL, "m/2": SCHOOL, "m/3": BEACH}
"""Where vehicles stand once the plan is carried out."""
NOON_ORE, BEACH_ORE = ore(30 * 3.70), ore(100 * 3.70)
"""Of a round trip that no vehicle takes: an own car's allowance."""
OTHERS = daily(1, HALL, 8) + daily(2, SCHOOL, 12) + daily(3, BEACH, 16, km=100)
LENT = OTHERS + daily(1, HALL, 12)
"""The school's second one at noon fetches the hall's car, and leaves from there."""
NOT_LENT = OTHERS + daily(3, SCHOOL, 12)
"""The beach's car drives it from the school, as it always has."""


@pytest.fixture
def leaning() -> PlacementPlan:
    """Return a plan that sends a car to the beach, and has the school borrow at noon for it."""
    locked = date(2027, 1, 1)
    vehicles = [car(1, HALL, locked=locked), car(2, SCHOOL, locked=locked), car(3, SCHOOL)]
    trips = NOONS + daily(3, BEACH, 16, km=100)
    made = plan(inputs(vehicles, trips, ON_FOOT, DEPOTS))
    assert [(move.vehicle_id, move.to_depot_id) for move in made.moves] == [("m/3", BEACH)]
    assert [lending.round_trips for lending in made.lendings] == [20]
    return made


def week(trips: tuple[ObservedRoundTrip, ...]) -> PlacementInputs:
    """Return the first week of these round trips."""
    until = MONDAY + timedelta(days=7)
    vehicles = [car(number, HOMES[f"m/{number}"]) for number in (1, 2, 3)]
    held = [trip for trip in trips if trip.started_at < until]
    of_it = inputs(vehicles, held, ON_FOOT, DEPOTS)
    return of_it.model_copy(update={"horizon_days": 7})


def outcome(of_plan: PlacementPlan, trips: tuple[ObservedRoundTrip, ...]) -> PlanOutcome:
    homes = {name: [Home(depot_id, None, None)] for name, depot_id in HOMES.items()}
    return follow_up(of_plan, WEEK, week(trips), homes)


def to_be_lent(given: PlacementInputs) -> list[Lending]:
    """Return the lendings that the policy's model would find with the plan carried out."""
    problem = problem_of(given)
    there = vehicles_at(problem, HOMES)
    return [
        lending
        for lending in problem.lendings
        if lending.borrower_level > there.get((lending.borrower_id, lending.vehicle_class), 0)
        and lending.lender_level <= there.get((lending.lender_id, lending.vehicle_class), 0)
    ]


def test_the_promise_is_told_by_moves_and_by_lending(leaning: PlacementPlan) -> None:
    promised = promise_of(leaning)
    assert leaning.relocation_dkk is not None
    saved_dkk = leaning.cost_before_dkk - leaning.objective_dkk + leaning.relocation_dkk
    in_all_ore = promised.saving_ore + promised.lending_ore
    assert in_all_ore == pytest.approx(ore(saved_dkk / 4), abs=1)
    assert promised.lending_ore == ore(leaning.lendings[0].saves_dkk / 4) > 0
    # Without lending the car at the beach costs the school a round trip each noon.
    assert promised.saving_ore == pytest.approx(7 * (BEACH_ORE - NOON_ORE), rel=0.05)
    assert promised.unserved == pytest.approx(7, rel=0.05)


def test_who_accepts_is_told_what_no_follow_up_will_see(leaning: PlacementPlan) -> None:
    lent_dkk = leaning.lendings[0].saves_dkk
    text = f"4.0 weeks, {lent_dkk:,.0f} DKK of it by lending (which no follow-up can see), "
    assert text in promise(leaning)
    assert "by lending" not in promise(leaning.model_copy(update={"lendings": ()}))


@pytest.mark.parametrize("trips", [LENT, NOT_LENT], ids=["lent", "not lent"])
def test_an_outcome_says_with_numbers_what_is_not_comparable(
    leaning: PlacementPlan, trips: tuple[ObservedRoundTrip, ...]
) -> None:
    promised = promise_of(leaning)
    words = outcome(leaning, trips).explanation
    match = re.search(
        r"Both are of moves alone. The plan promised ([\d,]+) DKK a week by its lending on top, "
        r"([\d,]+) DKK in all: whether that was realised cannot be seen, for a lent vehicle",
        words,
    )
    assert match is not None, words
    by_lending, in_all = (int(group.replace(",", "")) for group in match.groups())
    assert by_lending == pytest.approx(promised.lending_ore / 100, abs=0.5)
    assert in_all == pytest.approx((promised.saving_ore + promised.lending_ore) / 100, abs=0.5)
    plain = leaning.model_copy(update={"lendings": ()})
    assert "lend" not in outcome(plain, trips).explanation


def test_without_lending_moves_realise_what_they_promised(leaning: PlacementPlan) -> None:
    plan_outcome = outcome(leaning, NOT_LENT)
    assert plan_outcome.realised_ore == 7 * (BEACH_ORE - NOON_ORE)
    assert plan_outcome.realised_ore == pytest.approx(plan_outcome.promised_ore, rel=0.05)
    assert (plan_outcome.not_carried_out_ore, plan_outcome.model_wrong_ore) == (0, 0)
    assert plan_outcome.unserved_realised == 7


def test_what_was_lent_counts_as_the_lender_s_demand(leaning: PlacementPlan) -> None:
    plan_outcome = outcome(leaning, LENT)
    assert plan_outcome.realised_ore == 7 * BEACH_ORE
    assert plan_outcome.demand_changed_ore == plan_outcome.promised_ore - plan_outcome.realised_ore
    assert (plan_outcome.not_carried_out_ore, plan_outcome.model_wrong_ore) == (0, 0)
    assert plan_outcome.unserved_realised == 0


def test_pricing_a_week_with_lending_would_credit_just_what_was_not_lent() -> None:
    assert to_be_lent(week(LENT)) == []
    (lending,) = to_be_lent(week(NOT_LENT))
    assert (lending.borrower_id, lending.lender_id) == (SCHOOL, HALL)
