"""Assignments whose answer is plain to see, how they are explained, and a year's worth at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from bench.round_trips import fleet
from optimizer.assignment.solve import assign
from optimizer.search import Search
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.assignment import (
    AssignableVehicle,
    AssignmentInputs,
    AssignmentPlan,
    EmptyDrive,
    Unavailable,
    VehicleLock,
    WantedRoundTrip,
)
from schemas.plans.plan import SolverStatus

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def at(hours: float) -> datetime:
    return MONDAY + timedelta(hours=hours)


def trip(  # noqa: PLR0913 - one argument a field
    name: str, start: float, end: float, *, km: float = 20.0, seats: int = 1, depot: str = "m/hall"
) -> WantedRoundTrip:
    return WantedRoundTrip(
        round_trip_id=name,
        depot_id=depot,
        started_at=at(start),
        ended_at=at(end),
        distance_m=km * 1000,
        vehicle_class=VehicleType.CAR,
        seats=seats,
    )


def car(
    number: int,
    *,
    seats: int = 5,
    cost: float = 0.0,
    depot: str = "m/hall",
    away: Sequence[tuple[float, float]] = (),
) -> AssignableVehicle:
    return AssignableVehicle(
        vehicle_id=f"m/{number}",
        depot_id=depot,
        vehicle_class=VehicleType.CAR,
        seats=seats,
        cost_dkk=cost,
        cost_dkk_per_km=1.0,
        unavailable=tuple(
            Unavailable(started_at=at(start), ended_at=at(end)) for start, end in away
        ),
    )


def inputs(
    vehicles: Sequence[AssignableVehicle],
    trips: Sequence[WantedRoundTrip],
    locks: Sequence[tuple[str, int]] = (),
) -> AssignmentInputs:
    return AssignmentInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        vehicles=tuple(vehicles),
        round_trips=tuple(trips),
        locks=tuple(
            VehicleLock(round_trip_id=name, vehicle_id=f"m/{number}") for name, number in locks
        ),
    )


def plan(
    vehicles: Sequence[AssignableVehicle],
    trips: Sequence[WantedRoundTrip],
    locks: Sequence[tuple[str, int]] = (),
) -> AssignmentPlan:
    return assign(inputs(vehicles, trips, locks), Search(seed=1, time_limit_s=10))


def test_as_many_vehicles_are_used_as_are_out_at_once() -> None:
    trips = [
        trip(f"{day}-{hour}", 24 * day + hour, 24 * day + hour + 2)
        for day in range(5)
        for hour in (8, 9, 10)
    ]
    assignment_plan = plan([car(number, cost=10) for number in range(6)], trips)
    assert assignment_plan.status is SolverStatus.OPTIMAL
    assert assignment_plan.unserved == ()
    # From eight, nine and ten, two hours each: the first has its changeover when the third leaves.
    assert (
        assignment_plan.vehicles_used
        == assignment_plan.depots[0].peak_overlap
        == assignment_plan.depots[0].used
        == 3
    )


def test_a_changeover_lies_between_two_round_trips() -> None:
    five_min = 5 / 60
    assert plan([car(1)], [trip("a", 8, 9), trip("b", 9 + five_min, 10)]).unserved == ()
    close = plan([car(1)], [trip("a", 8, 9, km=50), trip("b", 9 + five_min - 0.01, 10)])
    assert [unserved_round_trip.round_trip_id for unserved_round_trip in close.unserved] == ["b"]


def test_the_dearer_round_trip_gets_the_vehicle_and_the_other_an_own_car() -> None:
    assignment_plan = plan([car(1)], [trip("near", 8, 10), trip("far", 9, 11, km=100)])
    assert assignment_plan.assignment == {"far": "m/1"}
    assert assignment_plan.unserved[0].price_dkk == pytest.approx(20 * 3.70)
    assert assignment_plan.objective_dkk == pytest.approx(20 * 3.70 + 100 * 1.0)
    assert assignment_plan.status is SolverStatus.OPTIMAL
    assert assignment_plan.gap == 0


def test_a_vehicle_that_costs_more_than_own_cars_is_left_standing() -> None:
    assignment_plan = plan([car(1, cost=500)], [trip("a", 8, 10)])
    assert assignment_plan.vehicles_used == 0
    assert assignment_plan.objective_dkk == pytest.approx(74.0)
    assert (
        "one more costs more than the 74.00 DKK of an own car" in assignment_plan.unserved[0].reason
    )


def test_seats_are_kept_for_those_who_need_them() -> None:
    assignment_plan = plan(
        [car(1, seats=2), car(2, seats=7)],
        [trip("two", 8, 10), trip("six", 8.5, 10, seats=6), trip("one", 11, 12)],
    )
    assert assignment_plan.assignment["two"] == "m/1"
    assert assignment_plan.assignment["six"] == "m/2"
    assert assignment_plan.unserved == ()
    assert assignment_plan.status is SolverStatus.OPTIMAL


def test_a_shift_and_a_lock_bind() -> None:
    assignment_plan = plan(
        [car(1, away=[(9, 24)]), car(2)],
        [trip("late", 10, 12), trip("early", 7, 8.9), trip("locked", 6, 7)],
        [("locked", 2)],
    )
    assert assignment_plan.assignment["late"] == assignment_plan.assignment["locked"] == "m/2"
    assert assignment_plan.unserved == ()
    alone = plan([car(1, away=[(9, 24)])], [trip("late", 10, 12)])
    assert alone.assignment == {}


def test_locks_that_contradict_are_named() -> None:
    assignment_plan = plan(
        [car(1, seats=2, away=[(11, 12)])],
        [trip("a", 8, 10), trip("b", 9, 10.5), trip("c", 11.5, 13, seats=4, depot="m/school")],
        [("a", 1), ("b", 1), ("c", 1)],
    )
    assert assignment_plan.status is SolverStatus.INFEASIBLE
    assert assignment_plan.gap == 1
    assert assignment_plan.assignment == {}
    for words in (
        "Round trips a (until 2026-03-02T10:00:00+00:00) and b",
        "both locked to m/1",
        "which stands at m/hall, not at m/school",
        "which has 2 seats, and needs 4",
        "which cannot be had from 2026-03-02T11:00:00+00:00",
        "remedy: drop",
    ):
        assert words in assignment_plan.explanation


def test_what_is_missing_is_told_with_depot_hour_and_number() -> None:
    trips = [trip(str(k), 8 + k / 10, 10 + k / 10, km=90 if k == 0 else 20) for k in range(4)]
    assignment_plan = plan([car(1), car(2, away=[(7, 12)])], trips)
    # The fourth leaves at 08:18 UTC, an hour later in Denmark.
    assert (
        "m/hall leaves 3 round trips without a car; worst at 2026-03-02 09:18 CET: 4 simultaneous "
        "trips, 1 of its 2 available, 3 missing." in assignment_plan.explanation
    )


def test_a_vehicle_that_stands_is_not_said_to_be_missing() -> None:
    dear = plan([car(1, cost=1000), car(2, seats=2)], [trip("a", 8, 10, seats=4)])
    assert (
        "m/hall leaves 1 round trips without a car; worst at 2026-03-02 09:00 CET: 1 of 1 at once, "
        "while 1 of its 2 is free for it: using one more was not found to cost less than the own "
        "cars that it saves." in dear.explanation
    )
    # It leaves again two minutes after the short one is back: a changeover takes five.
    wanted = plan([car(1)], [trip("short", 8, 9), trip("long", 9 + 2 / 60, 12, km=90)])
    assert wanted.assignment == {"long": "m/1"}
    assert (
        "worst at 2026-03-02 09:00 CET: 1 of 1 simultaneous trips has no car: none of its 1 that "
        "are big enough is free for so long, each is booked shortly before or after."
        in wanted.explanation
    )


@pytest.mark.parametrize(
    ("vehicles", "seats", "words"),
    [
        ([], 1, "m/hall has no car."),
        ([car(1, depot="m/school")], 1, "m/hall has no car."),
        ([car(1, seats=4)], 6, "It needs 6 seats; the largest car at m/hall has 4."),
        ([car(1, away=[(0, 30)])], 1, "is out or cannot be had at 2026-03-02 09:00 CET"),
    ],
)
def test_each_unserved_round_trip_says_why(
    vehicles: Sequence[AssignableVehicle], seats: int, words: str
) -> None:
    assignment_plan = plan(vehicles, [trip("a", 8, 9, seats=seats)])
    assert words in assignment_plan.unserved[0].reason
    assert assignment_plan.status is SolverStatus.OPTIMAL


def test_an_empty_drive_lets_one_vehicle_serve_two_depots() -> None:
    trips = [trip("a", 8, 9), trip("b", 9.5, 10, depot="m/school")]
    there = EmptyDrive(from_depot_id="m/hall", to_depot_id="m/school", duration_s=1_500)
    wanted = inputs([car(1)], trips).model_copy(update={"empty_drives": (there,)})
    assignment_plan = assign(wanted, Search(seed=1, time_limit_s=1))
    # Five minutes of changeover and twenty-five of driving: in time to the minute.
    assert (
        "If each car could drive empty between depots, 1 could serve all 2 round trips; without "
        "that the depots' peaks add up to 2." in assignment_plan.explanation
    )
    assert assignment_plan.assignment == {"a": "m/1"}
    longer = there.model_copy(update={"duration_s": 1_501.0})
    late = wanted.model_copy(update={"empty_drives": (longer,)})
    assert assign(late, Search(seed=1, time_limit_s=1)).repositioning[0].fewest_vehicles == 2


def test_nothing_wanted_is_a_plan_too() -> None:
    assignment_plan = plan([car(1)], [])
    assert (assignment_plan.status, assignment_plan.objective_dkk, assignment_plan.gap) == (
        SolverStatus.OPTIMAL,
        0,
        0,
    )


def test_what_does_not_belong_together_is_refused_in_words() -> None:
    with pytest.raises(ValidationError, match="round trip a comes twice"):
        inputs([], [trip("a", 8, 9), trip("a", 9, 10)])
    with pytest.raises(ValidationError, match="lock of round trip a to vehicle m/9"):
        inputs([car(1)], [trip("a", 8, 9)], [("a", 9)])
    with pytest.raises(ValidationError, match="give an end after the start"):
        trip("a", 9, 9)


def test_the_order_of_rows_and_a_second_run_change_nothing() -> None:
    many = fleet(3, 2_000, 60, 4)
    turned = AssignmentInputs(
        **{
            **dict(many),
            "vehicles": many.vehicles[::-1],
            "round_trips": many.round_trips[::-1],
            "locks": many.locks[::-1],
        }
    )
    search = Search(seed=1, time_limit_s=0.5)
    assert assign(many, search) == assign(turned, search)


def test_a_tiny_limit_gives_a_valid_answer_and_an_honest_bound() -> None:
    many = fleet(3, 2_000, 60, 4)
    cut = assign(many, Search(seed=1, time_limit_s=1e-6))
    long = assign(many, Search(seed=1, time_limit_s=5))
    assert cut.bound_dkk <= long.objective_dkk
    assert long.bound_dkk <= cut.objective_dkk
    assert cut.objective_dkk >= long.objective_dkk
    assert 0 <= long.gap <= cut.gap < 1
    assert long.gap < 0.02
