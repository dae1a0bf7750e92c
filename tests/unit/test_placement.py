"""What a plan does with small fleets whose answer is plain to see, and how it says so."""

from __future__ import annotations

import io
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from optimizer.costs import ore, relocation_ore
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.plan import PlacementPlan, PlanTrigger, SolverStatus
from stream.cli.text import moves_in_words
from stream.demo.report import plan_panel

COSTS = Costs()

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HALL, SCHOOL = "m/hall", "m/school"


def depot(depot_id: str, capacity: int = 10, chargers: int = 0) -> Depot:
    return Depot(
        depot_id=depot_id,
        municipality_id="m",
        name=depot_id.removeprefix("m/").title(),
        lat=56.30 if depot_id == HALL else 56.35,
        lon=10.50,
        capacity=capacity,
        charger_count=chargers,
    )


DRIVING_DKK_PER_KM = 0.8
"""0.05 l of petrol a km at 12.33 DKK, and 2.52 kg CO2e a litre at 1.50: 0.8055, in steps of 0.2."""
ELECTRIC_DKK_PER_KM = 0.2
"""0.05 kWh at 2.13 DKK and 0.09 kg: 0.113, likewise."""


def car(
    number: int,
    home: str | None,
    kind: VehicleType = VehicleType.CAR,
    source: EnergySource = EnergySource.PETROL,
) -> Vehicle:
    return Vehicle(
        vehicle_id=f"m/{number}",
        municipality_id="m",
        name=f"Car {number}",
        vehicle_type=kind,
        energy_source=source,
        consumption_per_km=0.05,
        home_depot_id=home,
    )


def mornings(
    vehicle: int, depot_id: str, days: int = 20, km: float = 30.0
) -> tuple[ObservedRoundTrip, ...]:
    """Return a round trip from eight to ten (UTC) on each of so many days."""
    return tuple(
        ObservedRoundTrip(
            vehicle_id=f"m/{vehicle}",
            started_at=MONDAY + timedelta(days=day, hours=8),
            ended_at=MONDAY + timedelta(days=day, hours=10),
            start_depot_id=depot_id,
            end_depot_id=depot_id,
            distance_m=km * 1000,
        )
        for day in range(days)
    )


def plan(
    depots: Sequence[Depot],
    vehicles: Sequence[Vehicle],
    round_trips: Sequence[ObservedRoundTrip],
    horizon_days: int = 28,
) -> PlacementPlan:
    return make_plan(
        PlacementInputs(
            municipality_id="m",
            timezone="Europe/Copenhagen",
            horizon_days=horizon_days,
            round_trip_max_s=36_000,
            depots=tuple(depots),
            vehicles=tuple(vehicles),
            round_trips=tuple(round_trips),
        ),
        Search(seed=1, time_limit_s=5),
        PlanMetadata(uuid.UUID(int=1), PlanTrigger.ON_REQUEST, "test", MONDAY),
    )


def test_an_idle_car_goes_where_one_is_lacking_and_the_plan_says_why() -> None:
    hall, school = depot(HALL), depot(SCHOOL)
    vehicles = [car(1, HALL), car(2, HALL), car(3, SCHOOL)]
    # Car 2 has been left at the school: that is where it is needed.
    placement_plan = plan(
        [hall, school], vehicles, mornings(1, HALL) + mornings(2, SCHOOL) + mornings(3, SCHOOL)
    )
    assert placement_plan.status is SolverStatus.OPTIMAL
    assert placement_plan.gap == 0
    assert (placement_plan.unserved_before, placement_plan.unserved_after) == (20, 0)
    assert placement_plan.placement == {"m/1": HALL, "m/2": SCHOOL, "m/3": SCHOOL}
    (move,) = placement_plan.moves
    price_dkk = round(relocation_ore(vehicles[1], hall, school, COSTS) / 100)
    assert (move.vehicle_id, move.from_depot_id, move.to_depot_id) == ("m/2", HALL, SCHOOL)
    assert move.reason == (
        "20 round trips on 20 of 20 days (mostly before noon) were more than the 1 car at School "
        "could serve; the plan has 2. Hall has needed no more than 1 of its 2. "
        f"The move costs {price_dkk} DKK."
    )
    assert placement_plan.explanation.startswith(
        "1 of 3 vehicles move. Of the round trips on 20 observed"
    )
    assert "Scaled from 19.1 observed days to 28 days, 1.47 times," in placement_plan.explanation


def test_the_numbers_of_a_plan_are_the_cost_model_s() -> None:
    hall, school = depot(HALL), depot(SCHOOL)
    vehicles = [car(1, HALL), car(2, HALL), car(3, SCHOOL)]
    round_trips = mornings(1, HALL) + mornings(2, SCHOOL) + mornings(3, SCHOOL)
    placement_plan = plan([hall, school], vehicles, round_trips)
    scale = 28 / (19 + 2 / 24)
    trips_km = 20 * 30
    lacking_dkk = trips_km * 3.70 * scale
    driven_dkk = trips_km * DRIVING_DKK_PER_KM * scale
    moving_dkk = relocation_ore(vehicles[1], hall, school, COSTS) / 100
    assert placement_plan.cost_before_dkk == pytest.approx(lacking_dkk + 2 * driven_dkk, abs=0.03)
    assert placement_plan.objective_dkk == pytest.approx(moving_dkk + 3 * driven_dkk, abs=0.03)
    assert placement_plan.bound_dkk == pytest.approx(placement_plan.objective_dkk)
    assert placement_plan.horizon_weeks == 4


def test_a_move_that_does_not_earn_its_price_is_not_made() -> None:
    vehicles = [car(1, HALL), car(2, HALL), car(3, SCHOOL)]
    rare = mornings(2, SCHOOL, days=2, km=10)
    placement_plan = plan(
        [depot(HALL), depot(SCHOOL)],
        vehicles,
        mornings(1, HALL, days=28) + rare + mornings(3, SCHOOL, days=28),
    )
    assert placement_plan.moves == ()
    driven_dkk = 2 * 28 * 30 * DRIVING_DKK_PER_KM * 28 / (27 + 2 / 24)
    assert placement_plan.objective_dkk == placement_plan.cost_before_dkk
    assert placement_plan.objective_dkk == pytest.approx(100 + driven_dkk, abs=5)


def test_a_move_costs_the_fixed_price_and_the_drive() -> None:
    hall, school = depot(HALL), depot(SCHOOL)
    assert relocation_ore(car(1, HALL), hall, hall, COSTS) == 0
    road_km = 5.568 * 1.3  # 0.05 degrees of latitude at 56 degrees north
    energy_dkk_per_km = 0.05 * (12.33 + 2.52 * 1.5)
    assert relocation_ore(car(1, HALL), hall, school, COSTS) == pytest.approx(
        ore(500 + road_km * (energy_dkk_per_km + 6)), rel=1e-3
    )


def test_a_van_is_not_wanted_where_a_car_is_lacking() -> None:
    vehicles = [car(1, HALL), car(2, HALL, VehicleType.VAN), car(3, SCHOOL)]
    placement_plan = plan(
        [depot(HALL), depot(SCHOOL)],
        vehicles,
        mornings(1, HALL) + mornings(3, SCHOOL) + mornings(1, SCHOOL, days=0),
    )
    assert placement_plan.moves == ()
    lacking = plan(
        [depot(HALL), depot(SCHOOL)], vehicles, mornings(1, SCHOOL) + mornings(3, SCHOOL)
    )
    assert [move.vehicle_id for move in lacking.moves] == ["m/1"]


def test_places_bind_and_the_plan_says_where_too_many_stand() -> None:
    vehicles = [car(number, HALL) for number in (1, 2, 3)]
    placement_plan = plan([depot(HALL, 2), depot(SCHOOL, 5)], vehicles, mornings(1, HALL))
    assert sorted(placement_plan.placement.values()) == [HALL, HALL, SCHOOL]
    (move,) = placement_plan.moves
    assert move.vehicle_id in {"m/2", "m/3"}  # the one that is used stays
    assert "Hall has 2 places for 3 vehicles." in move.reason
    assert "Hall has needed no more than 2 of its 3." in move.reason
    assert (
        "More stand there now than there are places: Hall (3 for 2)." in placement_plan.explanation
    )


def test_bicycles_take_no_parking_place() -> None:
    vehicles = [car(1, HALL), car(2, HALL, VehicleType.CARGO_BIKE), car(3, HALL, VehicleType.BIKE)]
    placement_plan = plan([depot(HALL, 1)], vehicles, mornings(1, HALL))
    assert (placement_plan.status, placement_plan.moves) == (SolverStatus.OPTIMAL, ())


def test_too_few_places_are_explained_and_nobody_is_moved() -> None:
    vehicles = [car(number, HALL) for number in range(1, 6)]
    placement_plan = plan([depot(HALL, 2), depot(SCHOOL, 1)], vehicles, mornings(1, HALL))
    assert placement_plan.status is SolverStatus.INFEASIBLE
    assert (placement_plan.moves, placement_plan.gap, placement_plan.bound_dkk) == ((), 1.0, 0.0)
    assert set(placement_plan.placement.values()) == {HALL}
    assert placement_plan.explanation == (
        "2 parking places are missing: the depots have Hall 2, School 1. More stand there now "
        "than there are places: Hall (5 for 2). Remedy: enter more places or fewer vehicles. "
        "Every vehicle is left where it stands."
    )


def test_a_missing_charger_is_priced_and_an_electric_car_goes_to_a_free_one() -> None:
    electric = [car(number, HALL, source=EnergySource.ELECTRICITY) for number in (1, 2)]
    free = plan([depot(HALL, chargers=1), depot(SCHOOL, chargers=1)], electric, mornings(1, HALL))
    assert [move.vehicle_id for move in free.moves] == ["m/2"]
    assert "Hall has 1 chargers for 2 electric vehicles." in free.moves[0].reason
    driven_dkk = 20 * 30 * ELECTRIC_DKK_PER_KM * 28 / (19 + 2 / 24)
    assert free.cost_before_dkk == pytest.approx(28 * 50 + driven_dkk, abs=0.02)
    none = plan([depot(HALL, chargers=1), depot(SCHOOL)], electric, mornings(1, HALL))
    assert none.status is SolverStatus.OPTIMAL
    assert none.moves == ()
    assert none.objective_dkk == free.cost_before_dkk
    assert "1 now, 1 with the plan; this adds a cost but is allowed" in none.explanation


def test_a_vehicle_without_a_home_gets_the_depot_it_leaves_most() -> None:
    vehicles = [car(1, None), car(2, HALL)]
    placement_plan = plan(
        [depot(HALL), depot(SCHOOL)], vehicles, mornings(1, SCHOOL) + mornings(2, HALL)
    )
    (move,) = placement_plan.moves
    assert (move.from_depot_id, move.to_depot_id) == (None, SCHOOL)
    assert move.reason == ("It has no home depot; it left School most, 20 times. It stays there.")
    assert placement_plan.explanation.startswith(
        "0 of 2 vehicles move. 1 vehicle without a home depot gets one, 0 of them another than "
        "left most. Of the"
    )
    # What the terminal and the demo say of the same plan.
    assert moves_in_words(placement_plan) == "0 moves and 1 new home"
    text = io.StringIO()
    Console(file=text, width=200).print(plan_panel(placement_plan))
    assert "Plan for m: 0 moves and 1 new home" in text.getvalue()
    assert "40 round trips from 2026-03-02 08:00 to 2026-03-21 10:00 UTC" in text.getvalue()


def test_a_vehicle_that_stands_nowhere_goes_where_it_is_needed_for_free() -> None:
    vehicles = [car(1, HALL), car(2, HALL), car(3, None)]
    placement_plan = plan(
        [depot(HALL), depot(SCHOOL)], vehicles, mornings(1, HALL) + mornings(2, SCHOOL)
    )
    (move,) = placement_plan.moves
    assert (move.vehicle_id, move.to_depot_id) == ("m/3", SCHOOL)
    assert move.reason.startswith("It has no home depot and has left none. 20 round trips")
    driven_dkk = 2 * 20 * 30 * DRIVING_DKK_PER_KM * 28 / (19 + 2 / 24)
    assert placement_plan.objective_dkk == pytest.approx(driven_dkk, abs=0.02)
    assert placement_plan.gap == 0


def test_the_thirsty_car_goes_and_the_thrifty_one_stays_where_more_is_driven() -> None:
    """One of Hall's two is wanted at School for little; an electric car costs less to move."""
    vehicles = [car(1, HALL), car(2, HALL, source=EnergySource.ELECTRICITY), car(3, SCHOOL)]
    assert relocation_ore(vehicles[1], depot(HALL), depot(SCHOOL), COSTS) < relocation_ore(
        vehicles[0],
        depot(HALL),
        depot(SCHOOL),
        COSTS,
    )
    placement_plan = plan(
        [depot(HALL, chargers=2), depot(SCHOOL, chargers=2)],
        vehicles,
        mornings(2, HALL, km=80) + mornings(1, SCHOOL, km=15) + mornings(3, SCHOOL, km=15),
    )
    assert [(move.vehicle_id, move.to_depot_id) for move in placement_plan.moves] == [
        ("m/1", SCHOOL)
    ]


def test_less_than_a_week_is_not_multiplied_as_if_it_were_a_day() -> None:
    vehicles = [car(1, HALL), car(2, HALL)]
    one_day = mornings(1, SCHOOL, days=1, km=30)
    placement_plan = plan([depot(HALL), depot(SCHOOL)], vehicles, one_day)
    assert placement_plan.cost_before_dkk == pytest.approx(30 * 3.70 * 28 / 7)
    assert "Scaled from a week of 7 days, the least that counts as observed, to 28 days, 4.00 " in (
        placement_plan.explanation
    )


def test_no_demand_is_no_plan() -> None:
    with pytest.raises(ValueError, match="nothing to plan from"):
        plan([depot(HALL)], [car(1, HALL)], ())


def test_no_depot_is_said() -> None:
    placement_plan = plan([], [car(1, None)], mornings(1, HALL, days=1))
    assert placement_plan.status is SolverStatus.INFEASIBLE
    assert placement_plan.explanation == "No depot is entered for 1 vehicles; remedy: enter depots."
