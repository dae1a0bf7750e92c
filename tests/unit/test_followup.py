"""What a plan saved in a week, where the answer is plain to see, and that the parts add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from optimizer.costs import ore
from optimizer.followup import (
    NotFollowableError,
    follow_up,
    home_in,
    promise_of,
    week_bounds,
    whole_weeks,
)
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from schemas.fleet.master_data import Depot, Home, Vehicle, VehicleType
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.outcome import PlanOutcome
from schemas.plans.plan import PlacementPlan, PlanTrigger

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = date(2026, 3, 2)
HALL, SCHOOL = "m/hall", "m/school"
ZONE = ZoneInfo("Europe/Copenhagen")
ROUND_TRIP_ORE = ore(30 * 3.70)
"""Of 30 km that no vehicle of the depot takes: an own car's allowance."""


@dataclass(frozen=True)
class Town:
    """Two depots and three cars; car 2 is at home at the hall and needed at the school."""

    days: int = 7

    def inputs(
        self, homes: Mapping[int, str], trips: Sequence[tuple[int, str]], horizon_days: int = 7
    ) -> PlacementInputs:
        """Return inputs with a morning's 30 km of each car from each depot, every day."""
        return PlacementInputs(
            municipality_id="m",
            timezone="Europe/Copenhagen",
            horizon_days=horizon_days,
            round_trip_max_s=36_000,
            depots=tuple(
                Depot(
                    depot_id=entry,
                    municipality_id="m",
                    name=entry,
                    lat=lat,
                    lon=10.5,
                    capacity=9,
                )
                for entry, lat in ((HALL, 56.30), (SCHOOL, 56.35))
            ),
            vehicles=tuple(
                Vehicle(
                    vehicle_id=f"m/{number}",
                    municipality_id="m",
                    name=str(number),
                    vehicle_type=VehicleType.CAR,
                    home_depot_id=home,
                )
                for number, home in homes.items()
            ),
            round_trips=tuple(
                ObservedRoundTrip(
                    vehicle_id=f"m/{number}",
                    started_at=MONDAY + timedelta(days=day, hours=8),
                    ended_at=MONDAY + timedelta(days=day, hours=10),
                    start_depot_id=depot_id,
                    end_depot_id=depot_id,
                    distance_m=30_000,
                )
                for day in range(self.days)
                for number, depot_id in trips
            ),
        )


BEFORE = {1: HALL, 2: HALL, 3: SCHOOL}
NEEDED = ((1, HALL), (2, SCHOOL), (3, SCHOOL))


@pytest.fixture
def plan() -> PlacementPlan:
    """Return the plan that has car 2 move to the school: seven weeks' demand, seven weeks."""
    made = make_plan(
        Town(days=49).inputs(BEFORE, NEEDED, horizon_days=49),
        Search(1, 10),
        PlanMetadata(UUID(int=1), PlanTrigger.SCHEDULE, "test", MONDAY),
    )
    assert [move.vehicle_id for move in made.moves] == ["m/2"]
    return made


def always(homes: Mapping[int, str]) -> dict[str, list[Home]]:
    return {f"m/{number}": [Home(depot_id, None, None)] for number, depot_id in homes.items()}


def outcome(
    plan: PlacementPlan,
    trips: Sequence[tuple[int, str]],
    homes: Mapping[int, str],
    days: int = 7,
) -> PlanOutcome:
    return follow_up(plan, WEEK, Town(days).inputs(homes, trips), always(homes))


def test_moving_is_no_part_of_what_a_week_is_promised_to_save(plan: PlacementPlan) -> None:
    # 49 mornings of one round trip, on 48 days and two hours of observation.
    promised = promise_of(plan)
    assert promised.saving_ore == pytest.approx(7 * ROUND_TRIP_ORE, rel=0.02)
    assert promised.saving_ore > ore((plan.cost_before_dkk - plan.objective_dkk) / 7)
    assert promised.unserved == 0


def test_a_plan_carried_out_on_the_same_demand_saves_what_it_promised(plan: PlacementPlan) -> None:
    plan_outcome = outcome(plan, NEEDED, {**BEFORE, 2: SCHOOL})
    assert plan_outcome.realised_ore == 7 * ROUND_TRIP_ORE
    assert (plan_outcome.not_carried_out_ore, plan_outcome.model_wrong_ore) == (0, 0)
    assert plan_outcome.demand_changed_ore == plan_outcome.promised_ore - 7 * ROUND_TRIP_ORE
    assert (plan_outcome.moves_carried_out, plan_outcome.moves) == (1, 1)
    assert (plan_outcome.unserved_modelled, plan_outcome.unserved_realised) == (0, 0)


def test_a_move_that_was_not_carried_out_has_saved_nothing(plan: PlacementPlan) -> None:
    plan_outcome = outcome(plan, NEEDED, BEFORE)
    assert plan_outcome.realised_ore == 0
    assert plan_outcome.not_carried_out_ore == 7 * ROUND_TRIP_ORE
    assert plan_outcome.model_wrong_ore == 0  # car 2 took seven from the school, as the model says
    assert (plan_outcome.unserved_modelled, plan_outcome.unserved_realised) == (7, 7)
    assert plan_outcome.moves_carried_out == 0
    assert (
        "0 of 1 moves were carried out, not those of m/2: 777 DKK less." in plan_outcome.explanation
    )


def test_less_demand_saves_less_than_promised(plan: PlacementPlan) -> None:
    plan_outcome = outcome(plan, NEEDED, {**BEFORE, 2: SCHOOL}, days=3)
    assert plan_outcome.realised_ore == 3 * ROUND_TRIP_ORE
    assert plan_outcome.demand_changed_ore == plan_outcome.promised_ore - 3 * ROUND_TRIP_ORE
    assert (plan_outcome.not_carried_out_ore, plan_outcome.model_wrong_ore) == (0, 0)
    assert "would have saved 333 DKK" in plan_outcome.explanation


def test_demand_elsewhere_can_make_a_plan_cost(plan: PlacementPlan) -> None:
    # Now two are needed at the hall, and one of them is at the school.
    plan_outcome = outcome(plan, ((1, HALL), (2, HALL)), {**BEFORE, 2: SCHOOL})
    assert plan_outcome.realised_ore == -7 * ROUND_TRIP_ORE
    assert plan_outcome.demand_changed_ore == plan_outcome.promised_ore + 7 * ROUND_TRIP_ORE


def test_others_that_drive_though_the_depots_own_stand_there_are_the_models_fault(
    plan: PlacementPlan,
) -> None:
    # Car 3 has moved back and forth: car 1 of the hall drives from the school, where 2 and 3 stand.
    plan_outcome = outcome(plan, ((1, SCHOOL), (2, SCHOOL)), {**BEFORE, 2: SCHOOL})
    assert plan_outcome.unserved_modelled == 0
    assert plan_outcome.unserved_realised == 7
    assert plan_outcome.model_wrong_ore == 7 * ROUND_TRIP_ORE
    assert plan_outcome.realised_ore == 0  # by the model the move saved seven, and seven were lost
    assert "took 7 round trips, and the model expects 0: 777 DKK less" in plan_outcome.explanation


def test_nothing_carried_out_has_saved_nothing_whatever_the_model_expects(
    plan: PlacementPlan,
) -> None:
    # Car 1 of the hall drives from the school though car 3 stands there, as it always has.
    plan_outcome = outcome(plan, ((1, SCHOOL), (2, HALL)), BEFORE)
    assert plan_outcome.unserved_realised == 7
    assert plan_outcome.unserved_modelled == 0
    assert (plan_outcome.realised_ore, plan_outcome.model_wrong_ore) == (0, 0)
    assert "the model" not in plan_outcome.explanation


def test_a_vehicle_that_came_later_changes_nothing_but_what_is_left_to_save(
    plan: PlacementPlan,
) -> None:
    # A fourth car at the school serves what the plan moved car 2 for.
    plan_outcome = outcome(plan, NEEDED, {**BEFORE, 2: SCHOOL, 4: SCHOOL})
    assert plan_outcome.realised_ore == 0
    assert plan_outcome.demand_changed_ore == plan_outcome.promised_ore


def test_a_vehicle_that_is_gone_serves_nobody(plan: PlacementPlan) -> None:
    plan_outcome = outcome(plan, ((1, HALL), (3, SCHOOL)), {1: HALL, 3: SCHOOL})
    assert plan_outcome.realised_ore == 0
    assert plan_outcome.moves_carried_out == 0
    assert plan_outcome.not_carried_out_ore == 0


def test_a_week_without_round_trips_saves_nothing(plan: PlacementPlan) -> None:
    plan_outcome = outcome(plan, (), {**BEFORE, 2: SCHOOL})
    assert plan_outcome.realised_ore == 0
    assert plan_outcome.demand_changed_ore == plan_outcome.promised_ore


def test_a_vehicle_is_at_home_where_it_was_for_most_of_the_week() -> None:
    since, until = week_bounds(WEEK, ZONE)
    moved_on_wednesday = [
        Home(HALL, None, since + timedelta(days=2)),
        Home(SCHOOL, since + timedelta(days=2), None),
    ]
    assert home_in(moved_on_wednesday, since, until) == SCHOOL
    assert home_in(moved_on_wednesday, since - timedelta(days=7), since) == HALL
    assert home_in([], since, until) is None
    assert home_in([Home(HALL, until, None)], since, until) is None


def test_whole_weeks_are_local() -> None:
    # In summer a Danish Monday begins at ten in the evening, in winter at eleven.
    since = datetime(2026, 3, 22, 23, tzinfo=UTC)
    weeks = list(whole_weeks(since, datetime(2026, 4, 5, 22, tzinfo=UTC), ZONE))
    assert weeks == [date(2026, 3, 23), date(2026, 3, 30)]
    later = since + timedelta(seconds=1)
    assert list(whole_weeks(later, datetime(2026, 4, 5, 21, 59, tzinfo=UTC), ZONE)) == []
    began_at, ended_at = week_bounds(date(2026, 3, 23), ZONE)
    assert ended_at - began_at == timedelta(days=7, hours=-1)


def test_a_plan_from_before_cannot_be_followed_up(plan: PlacementPlan) -> None:
    old = plan.model_copy(update={"stood_at": None})
    with pytest.raises(NotFollowableError, match="ask for a new one"):
        outcome(old, NEEDED, BEFORE)


def test_a_horizon_that_is_no_week_is_refused(plan: PlacementPlan) -> None:
    inputs = Town().inputs(BEFORE, NEEDED, horizon_days=49)
    with pytest.raises(ValueError, match="horizon of 49 days"):
        follow_up(plan, WEEK, inputs, always(BEFORE))


def test_a_vehicle_that_has_left_the_fleet_is_named_and_what_it_drove_still_counts(
    plan: PlacementPlan,
) -> None:
    town = Town().inputs(BEFORE, NEEDED)
    left = town.model_copy(
        update={
            "vehicles": tuple(vehicle for vehicle in town.vehicles if vehicle.vehicle_id != "m/2"),
            "former_vehicles": tuple(
                vehicle for vehicle in town.vehicles if vehicle.vehicle_id == "m/2"
            ),
        }
    )
    plan_outcome = follow_up(plan, WEEK, left, always(BEFORE))
    assert plan_outcome.explanation.endswith("Not in service any more: m/2.")
    assert (plan_outcome.moves_carried_out, plan_outcome.moves) == (0, 1)
    # The school's one car takes one of its two round trips a morning.
    assert plan_outcome.unserved_modelled == 7
    assert "Not in service" not in outcome(plan, NEEDED, BEFORE).explanation
