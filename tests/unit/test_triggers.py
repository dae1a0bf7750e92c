"""Which trigger speaks, and what it says."""

from __future__ import annotations

from infra.database.plans.plan_queue import LastPlan
from infra.database.plans.replan_signals import OpenAlertCount
from infra.settings import PlannerSettings
from optimizer.demand import profile
from optimizer.drift import fleet_profile
from schemas.plans.plan import PlanTrigger
from stream.planner.triggers import named, select_trigger
from tests.property.test_plan_reproducible import town

INPUTS = town(seed=1)
SAME = LastPlan(profile(INPUTS), fleet_profile(INPUTS))
NONE, RULES = OpenAlertCount(), PlannerSettings()


def test_nothing_that_changed_calls_for_nothing() -> None:
    assert select_trigger(INPUTS, SAME, NONE, RULES) is None
    assert (
        select_trigger(INPUTS, SAME, OpenAlertCount(("m/1", "m/2"), ("m/a", "m/b")), RULES) is None
    )


def test_without_a_plan_anything_calls_for_one_whatever_the_threshold() -> None:
    cause = select_trigger(
        INPUTS, None, NONE, PlannerSettings(drift_threshold=2, fleet_threshold=2)
    )
    assert cause is not None
    assert cause.trigger is PlanTrigger.DRIFT
    assert cause.reason == "no plan yet"


def test_a_plan_that_does_not_say_its_fleet_is_made_anew_once() -> None:
    cause = select_trigger(INPUTS, LastPlan(SAME.profile, None), NONE, RULES)
    assert cause is not None
    assert cause.trigger is PlanTrigger.FLEET
    assert "does not say for which fleet" in cause.reason


def test_what_is_furthest_beyond_its_threshold_speaks_and_names_the_others() -> None:
    fewer = INPUTS.model_copy(
        update={
            "vehicles": INPUTS.vehicles[:36],
            "round_trips": tuple(
                round_trip
                for round_trip in INPUTS.round_trips
                if round_trip.vehicle_id in {vehicle.vehicle_id for vehicle in INPUTS.vehicles[:36]}
            ),
        }
    )
    pressing = OpenAlertCount(tuple(f"m/{number}" for number in range(7)), ("m/a",))
    cause = select_trigger(fewer, SAME, pressing, RULES)
    assert cause is not None
    # Four of forty are twice the threshold, eight of five less than twice theirs.
    assert cause.trigger is PlanTrigger.FLEET
    fleet, alerts = cause.reason.split("; also ")
    assert fleet.startswith("fleet 0.10 of 0.05: of 40 vehicles 0 came, 4 went")
    assert alerts == (
        "alerts 8 of 5: 7 vehicles underused (m/0, m/1, m/2, m/3, m/4 and 2 more) and "
        "1 depots short (m/a), found since the newest plan and not over"
    )


def test_a_reason_names_a_few_and_counts_the_others() -> None:
    assert named(("a", "b")) == "a, b"
    assert named(tuple("abcdefgh")) == "a, b, c, d, e and 3 more"
