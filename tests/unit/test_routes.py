"""Routes that are plain to see: what is planned, what is left out and why, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from optimizer.routes.solve import plan_routes
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.plan import SolverStatus
from schemas.plans.routes import (
    RouteDepot,
    RouteInputs,
    RouteProgress,
    RouteSearch,
    RoutesPlan,
    RouteVehicle,
    Visit,
)
from schemas.plans.travel import Place, TravelMatrix

EIGHT = datetime(2026, 3, 2, 8, tzinfo=UTC)


class Street:
    """A straight street: a hundredth of a degree of longitude is a kilometre and two minutes."""

    def matrix(self, places: Sequence[Place], vehicle_type: VehicleType) -> TravelMatrix:
        """Return the ways; a bicycle takes three times as long, and nobody reaches the island."""
        slow = 3 if vehicle_type is VehicleType.BIKE else 1
        km = [
            [
                float("inf")
                if (place.lat > 57) != (other.lat > 57)
                else abs(place.lon - other.lon) * 100
                for other in places
            ]
            for place in places
        ]
        return TravelMatrix(
            [[1000 * value for value in row] for row in km],
            [[120 * slow * value for value in row] for row in km],
        )


def at(minute: float) -> datetime:
    return EIGHT + timedelta(minutes=minute)


def visit(name: str, km: float, window: tuple[float, float] = (0, 480), **values: Any) -> Visit:
    return Visit.model_validate(
        {
            "visit_id": f"m/{name}",
            "lat": 56.0,
            "lon": km / 100,
            "earliest_at": at(window[0]),
            "latest_at": at(window[1]),
            "service_s": 600.0,
        }
        | values
    )


def car(name: str, **values: Any) -> RouteVehicle:
    return RouteVehicle.model_validate(
        {
            "vehicle_id": f"m/{name}",
            "start_depot_id": "m/hall",
            "end_depot_id": "m/hall",
            "shift_from": EIGHT,
            "shift_to": at(480),
            "dkk_per_km": 2.0,
            "capacity": 5.0,
        }
        | values
    )


def inputs(vehicles: Sequence[RouteVehicle], visits: Sequence[Visit]) -> RouteInputs:
    return RouteInputs(
        municipality_id="m",
        depots=(
            RouteDepot(depot_id="m/hall", lat=56.0, lon=0.0),
            RouteDepot(depot_id="m/school", lat=56.0, lon=0.1),
        ),
        vehicles=tuple(vehicles),
        visits=tuple(visits),
    )


def planned(vehicles: Sequence[RouteVehicle], visits: Sequence[Visit]) -> RoutesPlan:
    return plan_routes(inputs(vehicles, visits), RouteSearch(time_limit_s=2), Street())


def stops(plan: RoutesPlan) -> dict[str, list[str]]:
    return {route.vehicle_id: [stop.visit_id for stop in route.stops] for route in plan.routes}


def reason(vehicles: Sequence[RouteVehicle], *visits: Visit) -> str:
    """Return why the first of the visits is not made, which must be the only one."""
    plan = planned(vehicles, visits)
    assert [unserved_visit.visit_id for unserved_visit in plan.unserved] == [visits[0].visit_id]
    return plan.unserved[0].reason


def test_a_route_goes_out_and_back_and_tells_its_times() -> None:
    plan = planned([car("one", fixed_dkk=50)], [visit("far", 10, (60, 90)), visit("near", 5)])
    assert stops(plan) == {"m/one": ["m/near", "m/far"]}
    (route,) = plan.routes
    # It leaves as late as it can to be back at the earliest: the far visit opens at 60.
    assert route.departs_at == at(60 - 10 - 10 - 10)
    assert [stop.begins_at for stop in route.stops] == [at(40), at(60)]
    assert route.returns_at == at(60 + 10 + 20)
    assert (route.distance_m, route.driving_s) == pytest.approx((20_000, 2400))
    assert (route.service_s, route.waiting_s) == pytest.approx((1200, 0), abs=1e-3)
    assert route.cost_dkk == plan.objective_dkk == pytest.approx(50 + 20 * 2)
    assert plan.status is SolverStatus.OPTIMAL
    assert plan.explanation == "2 of 2 visits are made by 1 of 1 vehicles over 20.0 km."


def test_a_vehicle_may_end_at_another_depot() -> None:
    plan = planned([car("one", end_depot_id="m/school")], [visit("on-the-way", 5)])
    assert plan.routes[0].distance_m == pytest.approx(10_000)


def test_the_cheaper_vehicle_goes_and_the_dear_one_only_where_it_must() -> None:
    vehicles = [car("cheap", capacity=1), car("dear", dkk_per_km=9, competences=["lift"])]
    wheelchair = visit("wheelchair", 3, competences=["lift"], demand=1)
    plan = planned(vehicles, [visit("parcel", 4, demand=1), wheelchair])
    assert stops(plan) == {"m/cheap": ["m/parcel"], "m/dear": ["m/wheelchair"]}


def test_nobody_has_the_competence() -> None:
    text = reason([car("one", competences=["lift"])], visit("a", 1, competences=["nurse"]))
    assert "No vehicle has the competence nurse" in text


def test_nobody_has_all_competences_together() -> None:
    vehicles = [car("one", competences=["lift"]), car("two", competences=["nurse"])]
    text = reason(vehicles, visit("a", 1, competences=["nurse", "lift"]))
    assert "No single vehicle has all of lift, nurse" in text


def test_no_vehicle_is_large_enough() -> None:
    text = reason([car("one", capacity=3)], visit("a", 1, demand=4))
    assert text.startswith(
        "It needs 4 of capacity; the largest vehicle with its competences has 3."
    )


def test_the_window_closes_too_early() -> None:
    text = reason([car("one"), car("bike", vehicle_type="bike")], visit("a", 30, (0, 45)))
    assert "Its window closes at 2026-03-02 09:45 CET before it can be reached from any" in text
    assert "m/one is there first, at 2026-03-02 10:00 CET" in text


def test_the_shift_ends_too_early() -> None:
    text = reason([car("one", shift_to=at(60))], visit("a", 25, (0, 55)))
    assert "m/one would return at 2026-03-02 10:50 CET, its shift ends at 2026-03-02 10:00" in text


def test_the_way_there_and_back_is_too_long() -> None:
    text = reason([car("one", max_duration_s=3600)], visit("a", 15))
    assert "take 70 min on m/one, which may be out for 60 min" in text


def test_there_is_no_way() -> None:
    assert "There is no way to it" in reason([car("one")], visit("island", 1, lat=58.0))


def test_there_is_no_vehicle() -> None:
    assert reason([], visit("a", 1)) == "There is no vehicle; enter one with its shift."


def test_all_who_could_are_busy() -> None:
    text = reason(
        [car("one", shift_to=at(60))],
        visit("a", 10, (20, 20)),
        visit("b", 12, (20, 32), unserved_dkk=20_000),
    )
    assert text.startswith("1 of 1 vehicles could make it alone (m/one), but 1 of them are full")


def test_a_visit_that_costs_more_than_its_price_is_left_out() -> None:
    text = reason([car("one")], visit("a", 40, unserved_dkk=100), visit("b", 1))
    assert text.startswith("Making it costs more than its price of 100 DKK")


def many(count: int) -> RouteInputs:
    return inputs(
        [car(f"car-{number}") for number in range(8)],
        [visit(f"v{number:02d}", (number * 7) % 31 + 1, demand=1) for number in range(count)],
    )


def test_progress_is_told_from_nothing_to_all() -> None:
    route_progresses: list[RouteProgress] = []
    plan = plan_routes(
        many(30), RouteSearch(time_limit_s=0.5), Street(), progress=route_progresses.append
    )
    assert len(route_progresses) > 5
    assert [route_progress.share for route_progress in route_progresses] == sorted(
        route_progress.share for route_progress in route_progresses
    )
    assert route_progresses[-1].share == 1.0
    best = [route_progress.best_dkk for route_progress in route_progresses]
    assert best == sorted(best, reverse=True)
    assert plan.objective_dkk <= best[-1] + 1e-6
    assert not plan.cut_short
    assert plan.gap == pytest.approx(1 - plan.bound_dkk / plan.objective_dkk)


def test_the_guard_by_the_wall_ends_the_search_and_the_plan_says_so() -> None:
    ticks = iter(range(100_000))
    search = RouteSearch(time_limit_s=10_000, wall_limit_s=50)
    plan = plan_routes(many(30), search, Street(), clock=lambda: float(next(ticks)))
    assert plan.cut_short
    assert plan.iterations < 2_000
    assert not plan.unserved


def test_a_guard_without_a_clock_is_refused() -> None:
    with pytest.raises(ValueError, match=r"wall_limit_s is 5\.0 and there is no clock"):
        plan_routes(many(3), RouteSearch(wall_limit_s=5), Street())


def test_no_visits_are_a_plan_too() -> None:
    plan = planned([car("one")], [])
    assert (plan.objective_dkk, plan.gap, plan.routes) == (0.0, 0.0, ())
    assert plan.status is SolverStatus.OPTIMAL


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"vehicles": (car("one"), car("one"))}, "m/one comes 2 times"),
        ({"vehicles": (car("one", start_depot_id="m/town"),)}, "m/town, which is not among the 2"),
        ({"visits": (visit("a", 1, visit_id="n/a"),)}, "n/a is not m's"),
        (
            {"visits": (visit("a", 1, (0, 480)), visit("b", 1, (86_400, 86_400)))},
            "limit is 31 days",
        ),
    ],
)
def test_inputs_that_cannot_be_meant_are_refused(changes: dict[str, Any], text: str) -> None:
    given = inputs([car("one")], [visit("a", 1)])
    values = {name: getattr(given, name) for name in RouteInputs.model_fields}
    with pytest.raises(ValidationError, match=text):
        RouteInputs(**values | changes)


def test_a_window_or_shift_that_closes_before_it_opens_is_refused() -> None:
    with pytest.raises(ValidationError, match="swap them"):
        visit("a", 1, (10, 5))
    with pytest.raises(ValidationError, match="swap them"):
        car("one", shift_to=EIGHT)
