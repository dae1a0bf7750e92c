"""What a composition proposes and says, on fleets that can be calculated in the head."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from optimizer.composition.solve import compose
from optimizer.search import Search
from schemas.plans.composition import (
    CompositionDepot,
    CompositionInputs,
    CompositionProgress,
    CompositionRoundTrip,
    CompositionRules,
    PresentVehicle,
    VehicleKind,
)
from schemas.plans.plan import SolverStatus

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
SEARCH = Search(seed=1, time_limit_s=30)

PETROL = VehicleKind(
    kind_id="petrol",
    vehicle_type="car",
    energy_source="petrol",
    consumption_per_km=0.06,
    yearly_cost_dkk=30_000,
)
EV = VehicleKind(
    kind_id="ev",
    vehicle_type="car",
    energy_source="electricity",
    consumption_per_km=0.2,
    yearly_cost_dkk=36_000,
    range_km=300,
    charging_kw=11,
)
DEPOT = CompositionDepot(depot_id="m/a", name="Town hall", capacity=5, charger_count=1)


def daily(number: int, km: float, hour: float = 8, **needs: object) -> CompositionRoundTrip:
    """Return a round trip of two hours on one of the days, made by a vehicle of its hour."""
    start = MONDAY.replace(hour=0) + timedelta(days=number, hours=hour)
    return CompositionRoundTrip.model_validate(
        {
            "round_trip_id": f"{number}-{hour}-{km}",
            "depot_id": "m/a",
            "started_at": start,
            "ended_at": start + timedelta(hours=2),
            "distance_m": 1000 * km,
            **needs,
        }
    )


def inputs(
    trips: list[CompositionRoundTrip],
    vehicles: tuple[tuple[str, str], ...] = (),
    depot: CompositionDepot = DEPOT,
    kinds: tuple[VehicleKind, ...] = (PETROL, EV),
    rules: CompositionRules = CompositionRules(),  # noqa: B008 - frozen
) -> CompositionInputs:
    return CompositionInputs(
        municipality_id="m",
        timezone="UTC",
        observed_days=5,
        kinds=kinds,
        depots=(depot,),
        vehicles=tuple(
            PresentVehicle(vehicle_id=name, depot_id="m/a", kind_id=kind) for name, kind in vehicles
        ),
        round_trips=tuple(trips),
        rules=rules,
    )


def test_the_least_used_is_given_up_and_what_it_saves_is_its_price() -> None:
    trips = [daily(day, 100, vehicle_id="m/busy") for day in range(5)]
    trips.append(daily(0, 100, hour=12, vehicle_id="m/idle"))
    two = (("m/busy", "petrol"), ("m/idle", "petrol"))
    plan = compose(inputs(trips, two, kinds=(PETROL,)), SEARCH)
    first = plan.points[0]
    assert first.depots[0].counts == {"petrol": 1}
    # 100 km x 0.06 l x 12.33 DKK, six times in five days, and the car.
    assert first.cost_dkk == pytest.approx(6 * 73.98 * 73 + 30_000, abs=1)
    (surplus,) = plan.proposals
    assert (surplus.action, surplus.vehicle_id) == ("give up", "m/idle")
    assert surplus.saves_dkk == pytest.approx(30_000)
    assert "Town hall has 2 petrol and needs 1" in surplus.reason
    assert "It made 1 round trips of 100 km altogether on 1 days" in surplus.reason
    assert "number 2 would save 0 DKK of chargers, driving and own cars" in surplus.reason


def test_acquisitions_say_what_they_take_and_what_they_save() -> None:
    plan = compose(inputs([daily(day, 100) for day in range(5)]), SEARCH)
    (only,) = plan.proposals
    assert (only.action, only.kind_id, only.count) == ("acquire", "ev", 1)
    # Own cars at 3.70 DKK/km against 20 kWh at 2.13 DKK and the car, five times in five days.
    assert only.saves_dkk is not None
    assert only.saves_dkk == pytest.approx(365 * (370 - 42.6) - 36_000, abs=1)
    assert "take 5 of its 5 round trips" in only.reason
    assert plan.status is SolverStatus.OPTIMAL


@pytest.mark.parametrize(("km", "says"), [(5, True), (100, False)])
def test_a_small_fleet_says_how_much_it_leaves_to_own_cars(km: float, says: bool) -> None:  # noqa: FBT001
    plan = compose(inputs([daily(day, km) for day in range(5)], kinds=(EV,)), SEARCH)
    words = "5 of 5 round trips go by own car, 5 with the vehicles of now."
    assert (words in plan.explanation) is says
    assert ("own car" in plan.explanation) is says


def test_charging_between_round_trips_needs_a_second_electric_car() -> None:
    only_ev = (EV,)
    must = CompositionRules(own_cars=False)
    # 110 km take 22 kWh, two hours at 11 kW: back at ten, ready at twelve.
    late = [
        composition_round_trip
        for day in range(5)
        for composition_round_trip in (daily(day, 110), daily(day, 110, hour=12))
    ]
    soon = [
        composition_round_trip
        for day in range(5)
        for composition_round_trip in (daily(day, 110), daily(day, 110, hour=11.9))
    ]
    assert compose(inputs(late, kinds=only_ev, rules=must), SEARCH).points[0].depots[0].counts == {
        "ev": 1
    }
    two = compose(inputs(soon, kinds=only_ev, rules=must), SEARCH).points[0]
    assert two.depots[0].counts == {"ev": 2}
    (both,) = compose(inputs(soon, kinds=only_ev, rules=must), SEARCH).proposals
    assert both.saves_dkk is None
    assert "without them 10 of its round trips go unserved" in both.reason
    plan = compose(inputs(soon, kinds=only_ev, rules=must), SEARCH)
    assert plan.present is None
    assert "the 0 vehicles as they stand cannot take all round trips" in plan.explanation
    # The second one needs a charger that the depot has not.
    km = 10 * 110
    assert two.cost_dkk == pytest.approx(72_000 + 3_500 + 73 * km * 0.2 * 2.13, abs=1)


def test_winter_leaves_seven_tenths_of_the_range() -> None:
    must = CompositionRules(own_cars=False)
    assert compose(inputs([daily(0, 210)], kinds=(EV,), rules=must), SEARCH).points
    plan = compose(inputs([daily(0, 210.1)], kinds=(EV,), rules=must), SEARCH)
    assert plan.status is SolverStatus.INFEASIBLE
    assert "1 round trips of Town hall can be taken by no kind" in plan.explanation
    assert "on 2026-03-02 08:00 UTC: 210 km" in plan.explanation


def test_bicycles_take_what_is_near_light_and_by_day() -> None:
    bike = VehicleKind(
        kind_id="cargo",
        vehicle_type="cargo_bike",
        energy_source="muscle",
        consumption_per_km=0,
        yearly_cost_dkk=10,
        seats=1,
        cargo="small",
    )
    trips = [
        daily(0, 15),
        daily(1, 15.1),
        daily(2, 5, hour=6.9),
        # 6 km at 20 instead of 30 km/h is six minutes longer: back at 15:30 and no later.
        daily(3, 6, hour=13.4),
        daily(4, 6, hour=13.45),
        daily(5, 5, cargo="large"),
        daily(6, 5, seats=2),
    ]
    plan = compose(inputs(trips, kinds=(bike,)), SEARCH)
    assert plan.points[-1].depots[0].served == {"cargo": 2}


def test_what_is_missing_is_said_with_depot_hour_and_number() -> None:
    depot = DEPOT.model_copy(update={"capacity": 2})
    trips = [daily(0, 50 + extra, hour=8 + extra / 10) for extra in range(5)]
    plan = compose(inputs(trips, depot=depot, rules=CompositionRules(own_cars=False)), SEARCH)
    assert plan.status is SolverStatus.INFEASIBLE
    assert (plan.points, plan.chosen, plan.gap) == ((), None, 1.0)
    assert "Town hall lacks a vehicle for 3 round trips; most at once, 3," in plan.explanation
    assert "in the hour from 2026-03-02 08:00" in plan.explanation
    assert "2 of its 2 parking places are taken" in plan.explanation


def test_the_least_limit_still_gives_a_fleet_and_a_bound() -> None:
    composition_progresses: list[CompositionProgress] = []
    trips = [daily(day, 60, hour=hour) for day in range(5) for hour in (8, 9, 10, 13)]
    little = Search(seed=1, time_limit_s=1e-6)
    vehicles = (("m/1", "petrol"), ("m/2", "petrol"))
    plan = compose(inputs(trips, vehicles), little, composition_progresses.append)
    best = compose(inputs(trips, vehicles), SEARCH)
    assert plan.points
    assert plan.present is not None
    assert plan.points[0].cost_dkk <= plan.present.cost_dkk
    assert plan.points[0].bound_dkk <= best.points[0].cost_dkk + 0.01
    assert composition_progresses[0].limit_s == 1e-6


def test_bad_input_is_named() -> None:
    with pytest.raises(ValidationError, match="m/b is named and not among the depots"):
        inputs([daily(0, 5, depot_id="m/b")])
    with pytest.raises(ValidationError, match="ev is electric with range_km None"):
        VehicleKind.model_validate({**EV.model_dump(), "range_km": None})
    with pytest.raises(ValidationError, match="comes twice; keep one of each"):
        inputs([daily(0, 5), daily(0, 5)])
