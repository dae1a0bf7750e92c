"""Drift is a number from 0 to 1 with a reason."""

from __future__ import annotations

import pytest

from optimizer.drift import drift, fleet_drift, no_plan_yet, shape_drift, volume_drift
from schemas.demand import DemandProfile


def demand(hours_per_day: float, **share: float) -> DemandProfile:
    return DemandProfile(
        days=14,
        vehicle_hours_per_day=hours_per_day,
        share_of_hours={f"m/{depot}|car|workday|06": part for depot, part in share.items()},
    )


def test_the_same_demand_has_not_drifted() -> None:
    same = demand(10, A=0.5, B=0.5)
    assert drift(same, ["m/1"], same, ["m/1"]).value == 0


def test_shape_is_the_share_of_hours_that_moved() -> None:
    found = shape_drift(demand(10, A=0.5, B=0.3, C=0.2), demand(10, A=0.2, B=0.5, C=0.3))
    assert found.value == pytest.approx(0.3)
    assert "30% of vehicle-hours out have moved" in found.reason
    assert "m/A, car, workday from 06:00: -30.0%" in found.reason


def test_demand_at_entirely_other_depots_has_drifted_as_far_as_can_be() -> None:
    assert shape_drift(demand(10, A=1.0), demand(10, B=1.0)).value == 1


def test_volume_is_relative_to_the_larger_and_the_same_both_ways() -> None:
    small, large = demand(5, A=1.0), demand(20, A=1.0)
    assert volume_drift(small, large).value == volume_drift(large, small).value == 0.75
    assert volume_drift(small, large).reason.endswith("from 5.0 to 20.0")


def test_no_hours_then_and_now_is_no_drift() -> None:
    assert volume_drift(demand(0), demand(0)).value == 0
    assert shape_drift(demand(0), demand(0)).value == 0


def test_fleet_drift_counts_who_came_and_went() -> None:
    found = fleet_drift(["a", "b", "c"], ["b", "c", "d"])
    assert found.value == 0.5
    assert found.reason == "1 vehicles came and 1 went, of 4"
    assert fleet_drift([], []).value == 0


def test_the_largest_drift_speaks() -> None:
    found = drift(demand(10, A=1.0), ["a"], demand(10, A=0.9, B=0.1), ["a", "b"])
    assert found == fleet_drift(["a"], ["a", "b"])


def test_without_a_plan_drift_is_complete() -> None:
    assert no_plan_yet().value == 1
    assert no_plan_yet().reason == "no plan yet"
