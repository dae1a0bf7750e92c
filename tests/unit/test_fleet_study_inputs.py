"""From rows to the questions of composition and forecast: kinds, needs, whole days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from optimizer.composition.catalogue import CATALOGUE
from optimizer.composition.current_fleet import present_kinds
from optimizer.composition.inputs import composition_inputs
from optimizer.demand import trip_chains
from optimizer.forecast.inputs import forecast_inputs
from optimizer.study import NothingToStudyError
from schemas.fleet.master_data import Depot, Vehicle
from schemas.plans.composition import Cargo, CompositionRules
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs

MONDAY = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
HALL = Depot(
    depot_id="m/hall", municipality_id="m", name="Hall", lat=56.3, lon=10.5, capacity=9,
    charger_count=2,
)  # fmt: skip


def vehicle(name: str, **given: Any) -> Vehicle:
    return Vehicle.model_validate(
        {
            "vehicle_id": f"m/{name}",
            "municipality_id": "m",
            "name": name,
            "home_depot_id": "m/hall",
            "vehicle_type": "car",
            "energy_source": "petrol",
            "consumption_per_km": 0.06,
            "yearly_cost_dkk": 30_000,
            **given,
        }
    )


def observed(name: str, start_h: float, hours: float = 1.0) -> ObservedRoundTrip:
    return ObservedRoundTrip(
        vehicle_id=f"m/{name}",
        started_at=MONDAY + start_h * HOUR,
        ended_at=MONDAY + (start_h + hours) * HOUR,
        start_depot_id="m/hall",
        end_depot_id="m/hall",
        distance_m=20_000,
    )


def rows(*vehicles: Vehicle, round_trips: tuple[ObservedRoundTrip, ...]) -> PlacementInputs:
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=28,
        round_trip_max_s=36_000,
        depots=(HALL,),
        vehicles=vehicles,
        round_trips=round_trips,
    )


def test_what_is_alike_is_one_kind_and_what_is_not_is_cut_where_it_differs_most() -> None:
    entry = present_kinds(
        [
            vehicle("a", yearly_cost_dkk=20_000, consumption_per_km=0.05),
            vehicle("b", yearly_cost_dkk=24_000, consumption_per_km=0.07),
            vehicle("c", yearly_cost_dkk=50_000),
            vehicle("d", energy_source="unknown", vehicle_type="unknown", yearly_cost_dkk=22_000),
            vehicle("e", seats=9),
        ],
        CATALOGUE,
    )
    assert entry.kind_of == {
        "m/a": "our-petrol-car",
        "m/b": "our-petrol-car",
        "m/d": "our-petrol-car",
        "m/c": "our-petrol-car-2",
        "m/e": "our-petrol-car-3",
    }
    first = entry.kinds[0]
    assert (first.yearly_cost_dkk, first.consumption_per_km) == pytest.approx((22_000, 0.06))
    assert [kind.seats for kind in entry.kinds] == [5, 5, 9]
    assert entry.lacked == {}


def test_numbers_that_nobody_entered_are_those_of_the_nearest_kind_in_the_same_unit() -> None:
    entry = present_kinds(
        [
            vehicle("diesel", energy_source="diesel", consumption_per_km=0, yearly_cost_dkk=0),
            vehicle("ev", energy_source="electricity", consumption_per_km=0, yearly_cost_dkk=0),
            vehicle("bike", vehicle_type="bike", energy_source="muscle", yearly_cost_dkk=0),
        ],
        CATALOGUE,
    )
    by_id = {kind.kind_id: kind for kind in entry.kinds}
    diesel, ev = by_id["our-diesel-car"], by_id["our-electric-car"]
    # Litres of the petrol car, for there is no diesel car to choose from; kWh of the electric one.
    assert (diesel.consumption_per_km, diesel.yearly_cost_dkk) == (0.055, 38_000)
    assert (ev.consumption_per_km, ev.yearly_cost_dkk, ev.range_km) == (0.16, 46_000, 330)
    assert ev.charging_kw == 11
    assert by_id["our-bike"].yearly_cost_dkk in {5_500, 6_500}
    assert entry.lacked == {"consumption": 2, "yearly cost": 3, "range": 1}


def test_the_order_of_vehicles_does_not_matter() -> None:
    vehicles = [vehicle(str(cost), yearly_cost_dkk=cost) for cost in range(10_000, 90_000, 7_000)]
    assert present_kinds(vehicles, CATALOGUE) == present_kinds(vehicles[::-1], CATALOGUE)


def test_a_composition_counts_the_planners_outings_with_who_drove_them() -> None:
    given = rows(
        vehicle("car"),
        vehicle("van", vehicle_type="van", energy_source="diesel"),
        vehicle("cargo", vehicle_type="cargo_bike", energy_source="muscle"),
        round_trips=(
            observed("car", 0),
            observed("car", 1.05),  # again within a changeover: the same trip chain
            observed("van", 2),
            observed("cargo", 26),
        ),
    )
    posed = composition_inputs(given, CompositionRules(own_cars=False))
    trips = posed.inputs.round_trips
    assert [(trip.vehicle_id, trip.cargo) for trip in trips] == [
        ("m/car", Cargo.NONE),
        ("m/van", Cargo.LARGE),
        ("m/cargo", Cargo.SMALL),
    ]
    assert trips[0].distance_m == 40_000
    assert trips[0].round_trip_id == "hall car 2026-03-02 09:00"
    assert [trip_chain.vehicle_id for trip_chain in trip_chains(given)] == [
        trip.vehicle_id for trip in trips
    ]
    assert posed.inputs.observed_days == 2
    assert (posed.inputs.depots[0].capacity, posed.inputs.depots[0].charger_count) == (9, 2)
    assert "Own cars may not" in posed.basis
    assert "Thin: 2 of the days of a week" in posed.basis
    loose = composition_inputs(given, vans_as_cars=True).inputs.round_trips
    assert [composition_round_trip.cargo for composition_round_trip in loose] == [
        Cargo.NONE,
        Cargo.NONE,
        Cargo.SMALL,
    ]


def test_a_forecast_counts_whole_local_days_and_the_holidays_that_touch_it() -> None:
    given = rows(vehicle("car"), round_trips=tuple(observed("car", 24 * day) for day in range(10)))
    off = [date(2026, 3, day) for day in (2, 3, 13, 14)]
    inputs = forecast_inputs(given, off, 3).inputs
    # The first and the last day of the rows may have been seen in part.
    assert (inputs.first_day, inputs.last_day) == (date(2026, 3, 3), date(2026, 3, 10))
    assert len(inputs.departures) == 8
    assert inputs.holidays == (date(2026, 3, 3), date(2026, 3, 13))
    with pytest.raises(NothingToStudyError, match="6 whole days of m have been seen"):
        forecast_inputs(
            rows(vehicle("car"), round_trips=tuple(observed("car", 24 * d) for d in range(8))),
            [],
            3,
        )
    with pytest.raises(NothingToStudyError, match="no round trip of m has ended"):
        forecast_inputs(rows(vehicle("car"), round_trips=()), [], 3)
