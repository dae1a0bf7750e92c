"""What a plan makes of locks, leases, lending and a share to be served, in numbers and words."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest
from pydantic import ValidationError

from infra.settings import PlannerSettings
from optimizer.placement.cost_breakdown import placement_cost
from optimizer.placement.lending import Lending
from optimizer.placement.problem import inputs_hash, problem_of
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from schemas.fleet.master_data import Depot, Vehicle, VehicleType
from schemas.fleet.policy import Fetching, PlacementPolicy
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.plan import PlacementPlan, PlanTrigger, SolverStatus

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HALL, SCHOOL, BEACH = "m/hall", "m/school", "m/beach"
LAT = {HALL: 56.300, SCHOOL: 56.303, BEACH: 56.400}  # hall and school: 5.2 minutes on foot
ON_FOOT = PlacementPolicy(lending_within_min=10)
DAYS = 20
END = MONDAY.date() + timedelta(days=DAYS - 1)
OCCASION = PlanMetadata(uuid.UUID(int=1), PlanTrigger.ON_REQUEST, "test", MONDAY)


def depot(depot_id: str, capacity: int = 10) -> Depot:
    return Depot(
        depot_id=depot_id,
        municipality_id="m",
        name=depot_id.removeprefix("m/").title(),
        lat=LAT[depot_id],
        lon=10.50,
        capacity=capacity,
    )


def car(
    number: int, home: str | None, *, locked: date | None = None, lease: date | None = None
) -> Vehicle:
    return Vehicle(
        vehicle_id=f"m/{number}",
        municipality_id="m",
        name=f"Car {number}",
        vehicle_type=VehicleType.CAR,
        home_depot_id=home,
        locked_until=locked,
        lease_ends_on=lease,
    )


def daily(
    vehicle: int, depot_id: str, hour: int = 8, days: int = DAYS, km: float = 30.0
) -> tuple[ObservedRoundTrip, ...]:
    """Return a round trip of two hours on each of the last so many days, hours in UTC."""
    return tuple(
        ObservedRoundTrip(
            vehicle_id=f"m/{vehicle}",
            started_at=MONDAY + timedelta(days=day, hours=hour),
            ended_at=MONDAY + timedelta(days=day, hours=hour + 2),
            start_depot_id=depot_id,
            end_depot_id=depot_id,
            distance_m=km * 1000,
        )
        for day in range(DAYS - days, DAYS)
    )


def inputs(
    vehicles: Sequence[Vehicle],
    round_trips: Sequence[ObservedRoundTrip],
    policy: PlacementPolicy = PlacementPolicy(),  # noqa: B008 - frozen
    depots: Sequence[Depot] = (depot(HALL), depot(SCHOOL)),
) -> PlacementInputs:
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=28,
        round_trip_max_s=36_000,
        policy=policy,
        depots=tuple(depots),
        vehicles=tuple(vehicles),
        round_trips=tuple(round_trips),
    )


def plan(given: PlacementInputs, time_limit_s: float = 5.0) -> PlacementPlan:
    return make_plan(given, Search(seed=1, time_limit_s=time_limit_s), OCCASION)


NEEDED_AT_SCHOOL = daily(1, HALL) + daily(2, SCHOOL) + daily(3, SCHOOL)


@pytest.mark.parametrize("locked", [None, END - timedelta(days=1)])
def test_a_vehicle_whose_lock_is_over_moves_in_place_of_one_that_is_locked(
    locked: date | None,
) -> None:
    vehicles = [car(1, HALL, locked=date(2027, 1, 1)), car(2, HALL, locked=locked), car(3, SCHOOL)]
    placement_plan = plan(inputs(vehicles, NEEDED_AT_SCHOOL))
    (move,) = placement_plan.moves
    assert move.vehicle_id == "m/2"
    assert "1 other car there is locked and cannot go instead." in move.reason
    assert "1 vehicle may not move: Car 1 is locked to its depot until 2027-01-01." in (
        placement_plan.explanation
    )


@pytest.mark.parametrize("locked", [END, date(2027, 1, 1)])
def test_a_locked_vehicle_stays_through_the_day_of_its_lock(locked: date) -> None:
    vehicles = [car(1, HALL, locked=date(2027, 1, 1)), car(2, HALL, locked=locked), car(3, SCHOOL)]
    placement_plan = plan(inputs(vehicles, NEEDED_AT_SCHOOL))
    assert placement_plan.moves == ()
    assert f"Car 2 is locked to its depot until {locked}" in placement_plan.explanation
    assert "2 vehicles may not move" in placement_plan.explanation


def test_a_lease_that_ends_within_the_horizon_is_not_worth_a_move() -> None:
    soon, later = END + timedelta(days=28), END + timedelta(days=29)
    stays = plan(inputs([car(1, HALL), car(2, HALL, lease=soon), car(3, SCHOOL)], NEEDED_AT_SCHOOL))
    assert [move.vehicle_id for move in stays.moves] == ["m/1"]
    assert f"Car 2 has a lease that ends on {soon}, within" in stays.explanation
    both = [car(number, HALL, lease=later) for number in (1, 2)]
    goes = plan(inputs([*both, car(3, SCHOOL)], NEEDED_AT_SCHOOL))
    assert [move.vehicle_id for move in goes.moves] == ["m/2"]
    assert "may not move" not in goes.explanation


def test_a_lock_needs_a_depot() -> None:
    with pytest.raises(ValidationError, match="locked until 2027-01-01 to no depot; give its home"):
        car(1, None, locked=date(2027, 1, 1))


def test_more_locked_vehicles_than_places_are_named_with_their_depot() -> None:
    locked = [car(number, HALL, locked=date(2027, 1, 1)) for number in (1, 2, 3)]
    placement_plan = plan(inputs(locked, daily(1, HALL), depots=(depot(HALL, 2), depot(SCHOOL))))
    assert placement_plan.status is SolverStatus.INFEASIBLE
    assert placement_plan.moves == ()
    assert placement_plan.explanation.startswith(
        "1 parking place missing at Hall: it has 2 for 3 vehicles that may not leave it (Car 1 is "
        "locked to its depot until 2027-01-01; Car 2 is"
    )
    assert placement_plan.explanation.endswith("Every vehicle is left where it stands.")


# The school's second car is out at noon, when the hall's only one is in; 111 DKK unserved each.
NOONS = daily(1, HALL, 8) + daily(2, SCHOOL, 12) + daily(3, SCHOOL, 12)


def test_a_neighbour_lends_while_its_own_car_is_in_and_the_plan_says_so() -> None:
    vehicles = [car(1, HALL), car(2, SCHOOL, locked=date(2027, 1, 1)), car(3, BEACH)]
    depots = (depot(HALL), depot(SCHOOL), depot(BEACH))
    far = daily(3, BEACH, 12, km=100)
    placement_plan = plan(inputs(vehicles, NOONS + far, ON_FOOT, depots))
    assert placement_plan.moves == ()
    (lending,) = placement_plan.lendings
    assert (lending.borrower_depot_id, lending.lender_depot_id) == (SCHOOL, HALL)
    assert lending.vehicles == 1
    assert lending.round_trips == 20
    way_min = 0.334 * 1.3 / 5 * 60
    assert lending.way_min == pytest.approx(way_min, rel=1e-2)
    scale = 28 / (19 + 6 / 24)
    saves_dkk = 20 * (111 - 2 * way_min / 60 * 300) * scale - 150
    assert lending.saves_dkk == pytest.approx(saves_dkk, rel=1e-2)
    assert lending.reason == (
        "20 round trips on 20 observed days were more than the 1 car at School can serve, while "
        "one of the 1 at Hall was in, 5 minutes on foot. Fetching it saves "
        f"{lending.saves_dkk:,.0f} DKK."
    )
    assert (placement_plan.unserved_before, placement_plan.unserved_after) == (20, 0)
    assert placement_plan.cost_before_dkk - placement_plan.objective_dkk == pytest.approx(
        lending.saves_dkk
    )
    assert "Neighbouring depots lend for 20 round trips more." in placement_plan.explanation


@pytest.mark.parametrize(
    ("policy", "own_hour"),
    [
        (PlacementPolicy(), 8),
        (PlacementPolicy(lending_within_min=5), 8),
        (ON_FOOT, 11),
        (ON_FOOT, 10),
    ],
    ids=["nobody lends", "too far", "it is out", "no time for the changeover"],
)
def test_nothing_is_lent(policy: PlacementPolicy, own_hour: int) -> None:
    locked = [car(number, HALL if number == 1 else SCHOOL) for number in (1, 2)]
    trips = daily(1, HALL, own_hour, km=40) + daily(2, SCHOOL, 12) + daily(3, BEACH, 12, km=100)
    vehicles = [*locked, car(3, BEACH)]
    depots = (depot(HALL), depot(SCHOOL), depot(BEACH))
    more = daily(3, SCHOOL, 12, days=3)
    placement_plan = plan(inputs(vehicles, trips[:-3] + more, policy, depots))
    assert placement_plan.lendings == ()
    assert placement_plan.unserved_after == 3


def test_by_bicycle_three_times_as_far_is_near_enough() -> None:
    vehicles = [car(1, HALL), car(2, SCHOOL), car(3, SCHOOL)]
    near = PlacementPolicy(lending_within_min=2, fetching=Fetching.BY_BICYCLE)
    assert len(problem_of(inputs(vehicles, NOONS, near)).ways_min) == 2
    on_foot = near.model_copy(update={"fetching": Fetching.ON_FOOT})
    assert not problem_of(inputs(vehicles, NOONS, on_foot)).ways_min


def test_who_moves_away_leaves_its_depot_to_borrow_and_the_reason_says_of_whom() -> None:
    """The beach pays for a car; what the school loses by that, the hall's car does at noon."""
    vehicles = [
        car(1, HALL, locked=date(2027, 1, 1)),
        car(2, SCHOOL, locked=date(2027, 1, 1)),
        car(3, SCHOOL),
    ]
    depots = (depot(HALL), depot(SCHOOL), depot(BEACH))
    beach = daily(3, BEACH, 16, km=100)
    placement_plan = plan(inputs(vehicles, NOONS + beach, ON_FOOT, depots))
    (move,) = placement_plan.moves
    assert (move.vehicle_id, move.to_depot_id) == ("m/3", BEACH)
    assert "For 20 round trips it fetches a car of Hall (20; 5 minutes on foot)." in move.reason


def test_the_bill_refuses_lendings_that_the_placement_cannot_make() -> None:
    vehicles = [car(1, HALL), car(2, SCHOOL), car(3, SCHOOL)]
    problem = problem_of(inputs(vehicles, NOONS, ON_FOOT))
    lending = Lending(VehicleType.CAR, SCHOOL, 2, HALL, 1)
    assert lending in problem.lendings
    here = {"m/1": HALL, "m/2": SCHOOL}
    assert placement_cost(problem, here, [lending]).lent_round_trips == 20
    for placement, lendings in (
        ({**here, "m/3": SCHOOL}, [lending]),  # no need
        ({"m/2": SCHOOL}, [lending]),  # no vehicle
        (here, [lending, lending]),  # twice
    ):
        with pytest.raises(ValueError, match=r"borrows|lends"):
            placement_cost(problem, placement, lendings)


def served(share: float) -> PlacementPolicy:
    return PlacementPolicy(served_share=share)


def test_a_share_to_be_served_has_a_move_made_that_does_not_pay() -> None:
    vehicles = [car(1, HALL), car(2, HALL), car(3, SCHOOL)]
    rare = daily(1, HALL) + daily(3, SCHOOL) + daily(2, SCHOOL, days=2, km=5)
    assert plan(inputs(vehicles, rare)).moves == ()
    enough = plan(inputs(vehicles, rare, served(40 / 42)))
    assert (enough.moves, enough.unserved_after) == ((), 2)
    placement_plan = plan(inputs(vehicles, rare, served(0.96)))
    assert placement_plan.status is SolverStatus.OPTIMAL
    assert [move.vehicle_id for move in placement_plan.moves] == ["m/2"]
    assert placement_plan.unserved_after == 0
    assert "At least 96.0% of each class's round trips are served, as was asked." in (
        placement_plan.explanation
    )


def test_a_share_out_of_reach_says_where_when_and_how_many_lack() -> None:
    vehicles = [car(1, HALL), car(2, SCHOOL)]
    trips = daily(1, HALL, 7) + daily(2, SCHOOL, 12)
    # Two more were at the school once, and are gone: their demand is still there.
    gone = [
        observed_round_trip.model_copy(update={"vehicle_id": f"m/{number}"})
        for number in (3, 4)
        for observed_round_trip in daily(2, SCHOOL, 12)
    ]
    away = [car(number, None) for number in (3, 4)]
    depots = (depot(HALL, 1), depot(SCHOOL, 1), depot(BEACH, 2))
    locked = [
        vehicle.model_copy(update={"home_depot_id": BEACH, "locked_until": date(2027, 1, 1)})
        for vehicle in away
    ]
    placement_plan = plan(inputs([*vehicles, *locked], [*trips, *gone], served(0.75), depots))
    assert placement_plan.status is SolverStatus.INFEASIBLE
    assert placement_plan.moves == ()
    assert placement_plan.placement == {"m/1": HALL, "m/2": SCHOOL, "m/3": BEACH, "m/4": BEACH}
    assert placement_plan.explanation == (
        "75.0% of each class's round trips cannot be served. Of 80 round trips by car 40 find no "
        "vehicle in the best placement found, 20 may. 1 car missing: 1 at School (most at 13:00 to "
        "14:00, 20 of 20 departures, on 20 of 20 days). Remedy: more vehicles there, longer ways "
        "for lending (lending_within_min of the municipality's planning, or "
        "FLEETPULSE_PLANNER_LENDING_WITHIN_MIN) or a lower share "
        "(served_share, or FLEETPULSE_PLANNER_SERVED_SHARE). Every vehicle is left where it stands."
    )
    assert plan(inputs([*vehicles, *locked], [*trips, *gone], served(0.5), depots)).moves == ()


def test_lending_counts_towards_the_share() -> None:
    vehicles = [car(1, HALL), car(2, SCHOOL)]
    trips = [
        *NOONS[:40],
        *(
            observed_round_trip.model_copy(update={"vehicle_id": "m/1"})
            for observed_round_trip in NOONS[40:]
        ),
    ]
    alone = plan(inputs(vehicles, trips, served(0.9)))
    assert alone.status is SolverStatus.INFEASIBLE
    policy = PlacementPolicy(served_share=0.9, lending_within_min=10)
    together = plan(inputs(vehicles, trips, policy))
    assert together.status is SolverStatus.OPTIMAL
    assert together.unserved_after == 0
    assert len(together.lendings) == 1


def test_with_hardly_any_time_the_plan_is_never_worse_than_as_it_stands() -> None:
    vehicles = [car(1, HALL), car(2, HALL), car(3, SCHOOL)]
    placement_plan = plan(inputs(vehicles, NEEDED_AT_SCHOOL), time_limit_s=1e-9)
    assert placement_plan.status in {SolverStatus.FEASIBLE, SolverStatus.OPTIMAL}
    assert (
        placement_plan.bound_dkk <= placement_plan.objective_dkk <= placement_plan.cost_before_dkk
    )


def test_the_policy_comes_from_the_settings_and_is_part_of_the_hash() -> None:
    rules = PlannerSettings(served_share=0.9, lending_within_min=7, fetching=Fetching.BY_BICYCLE)
    assert rules.policy == PlacementPolicy(
        served_share=0.9, lending_within_min=7, fetching=Fetching.BY_BICYCLE
    )
    assert PlannerSettings().policy == PlacementPolicy()
    given = inputs([car(1, HALL)], daily(1, HALL))
    hashes = {
        inputs_hash(given.model_copy(update={"policy": policy}))
        for policy in (
            PlacementPolicy(),
            ON_FOOT,
            served(0.5),
            PlacementPolicy(fetching=Fetching.BY_BICYCLE),
        )
    }
    assert len(hashes) == 4
    locked = given.model_copy(update={"vehicles": (car(1, HALL, locked=END),)})
    assert inputs_hash(locked) != inputs_hash(given)
