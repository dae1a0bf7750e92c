"""Drift is a number from 0 to 1 with a reason."""

from __future__ import annotations

import pytest

from optimizer.drift import (
    Drift,
    drift,
    fleet_change,
    no_plan_yet,
    place_change,
    shape_drift,
    vehicle_change,
    volume_drift,
)
from schemas.fleet.master_data import EnergySource, VehicleType
from schemas.plans.demand import DemandProfile, DepotPlaces, FleetProfile, VehicleTraits


def demand(hours_per_day: float, **share: float) -> DemandProfile:
    return DemandProfile(
        days=14,
        vehicle_hours_per_day=hours_per_day,
        share_of_hours={f"m/{depot}|car|workday|06": part for depot, part in share.items()},
    )


def test_the_same_demand_has_not_drifted() -> None:
    same = demand(10, A=0.5, B=0.5)
    assert drift(same, same).value == 0


def test_shape_is_the_share_of_hours_that_moved() -> None:
    entry = shape_drift(demand(10, A=0.5, B=0.3, C=0.2), demand(10, A=0.2, B=0.5, C=0.3))
    assert entry.value == pytest.approx(0.3)
    assert "30% of vehicle-hours out have moved" in entry.reason
    assert "m/A, car, workday from 06:00: -30.0%" in entry.reason


def test_demand_at_entirely_other_depots_has_drifted_as_far_as_can_be() -> None:
    assert shape_drift(demand(10, A=1.0), demand(10, B=1.0)).value == 1


def test_volume_is_relative_to_the_larger_and_the_same_both_ways() -> None:
    small, large = demand(5, A=1.0), demand(20, A=1.0)
    assert volume_drift(small, large).value == volume_drift(large, small).value == 0.75
    assert volume_drift(small, large).reason.endswith("from 5.0 to 20.0")


def test_no_hours_then_and_now_is_no_drift() -> None:
    assert volume_drift(demand(0), demand(0)).value == 0
    assert shape_drift(demand(0), demand(0)).value == 0


def fleet(vehicles: dict[str, VehicleType], **places: tuple[int, int]) -> FleetProfile:
    return FleetProfile(
        vehicles={
            vehicle_id: VehicleTraits(vehicle_type=kind, energy_source=EnergySource.PETROL)
            for vehicle_id, kind in vehicles.items()
        },
        depots={
            f"m/{name}": DepotPlaces(capacity=capacity, charger_count=chargers)
            for name, (capacity, chargers) in places.items()
        },
    )


CAR, VAN = VehicleType.CAR, VehicleType.VAN


def test_vehicles_that_came_went_or_changed_class_are_a_change_of_fleet() -> None:
    before = fleet({"m/a": CAR, "m/b": CAR, "m/c": CAR})
    entry = vehicle_change(before, fleet({"m/b": VAN, "m/c": CAR, "m/d": CAR}))
    assert entry.value == 0.75
    assert entry.reason == ("of 4 vehicles 1 came, 1 went and 1 changed class or what they run on")
    assert vehicle_change(fleet({}), fleet({})).value == 0


def test_a_vehicle_that_runs_on_something_else_has_changed() -> None:
    before = fleet({"m/a": CAR, "m/b": CAR})
    electric = VehicleTraits(vehicle_type=CAR, energy_source=EnergySource.ELECTRICITY)
    now = before.model_copy(update={"vehicles": {**before.vehicles, "m/a": electric}})
    assert vehicle_change(before, now).value == 0.5


def test_places_that_came_or_went_are_a_change_of_fleet() -> None:
    before = fleet({}, A=(6, 0), B=(4, 2))
    entry = place_change(before, fleet({}, A=(3, 0), B=(4, 4), C=(2, 0)))
    # 3 places went at A, 2 chargers came at B and 2 places with C, of 6 + 4 + 4 + 2.
    assert entry.value == pytest.approx(7 / 16)
    assert entry.reason == "of 16 parking places and chargers 4 came and 3 went; most at m/A: -3"
    assert place_change(before, before).value == 0
    assert place_change(before, fleet({})).value == 1
    assert place_change(fleet({}), fleet({})) == Drift(
        0, "of 0 parking places and chargers 0 came and 0 went"
    )


def test_the_larger_change_of_fleet_speaks_and_an_unknown_fleet_has_changed_altogether() -> None:
    before = fleet({"m/a": CAR}, A=(10, 0))
    assert fleet_change(before, fleet({"m/a": CAR}, A=(8, 0))).value == pytest.approx(0.2)
    assert fleet_change(before, fleet({"m/a": VAN}, A=(8, 0))).value == 1
    assert fleet_change(before, before).value == 0
    assert fleet_change(None, before).value == 1


def test_the_larger_drift_of_demand_speaks() -> None:
    before, now = demand(10, A=1.0), demand(5, A=0.9, B=0.1)
    assert drift(before, now) == volume_drift(before, now)
    now = demand(10, A=0.9, B=0.1)
    assert drift(before, now) == shape_drift(before, now)


def test_without_a_plan_drift_is_complete() -> None:
    assert no_plan_yet().value == 1
    assert no_plan_yet().reason == "no plan yet"
