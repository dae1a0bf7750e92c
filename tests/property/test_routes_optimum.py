"""Routes keep every rule; small ones are the best there are, and the same whenever asked again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.routes.bound import assignment_bound_dkk
from optimizer.routes.problem import RouteProblem, feasible, route_problem_of, ways_of
from optimizer.routes.search import RouteTask, searched
from optimizer.routes.set_partitioning import Limit, all_routes, choose, total_dkk
from optimizer.routes.solve import BY_ENUMERATION, plan_routes
from optimizer.travel import Geodesic
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.plan import SolverStatus
from schemas.plans.routes import RouteDepot, RouteInputs, RouteSearch, RouteVehicle, Visit
from schemas.plans.travel import Place, TravelMatrix
from tests.route_rules import broken_rules, least_cost_dkk

EIGHT = datetime(2026, 3, 2, 8, tzinfo=UTC)
WORDS = ("lift", "nurse")


class WholeMinutes:
    """Ways of whole kilometres and minutes that differ by direction and type; some are missing."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def matrix(self, places: Sequence[Place], vehicle_type: VehicleType) -> TravelMatrix:
        """Return ways by chance, the same for the same number of places."""
        rng = random.Random(f"{self._seed} {vehicle_type}")
        rows = [[float(rng.randint(1, 9)) for _ in places] for _ in places]
        for number, row in enumerate(rows):
            row[number] = 0.0
        if len(places) > 2:
            rows[0][1] = float("inf")
        return TravelMatrix(
            [[1000 * value for value in row] for row in rows],
            [[240 * value for value in row] for row in rows],
        )


@st.composite
def small_inputs(draw: st.DrawFn) -> RouteInputs:
    """Draw up to three vehicles and five visits, tight in time, load and competences."""
    depots = tuple(
        RouteDepot(depot_id=f"m/{name}", lat=56.3, lon=10.5 + 0.05 * number)
        for number, name in enumerate(("hall", "school"))
    )
    vehicles = []
    for number in range(draw(st.integers(1, 3))):
        hours = draw(st.sampled_from((1, 2, 4)))
        vehicles.append(
            RouteVehicle(
                vehicle_id=f"m/car-{number}",
                vehicle_type=draw(st.sampled_from((VehicleType.CAR, VehicleType.E_BIKE))),
                start_depot_id=draw(st.sampled_from(depots)).depot_id,
                end_depot_id=draw(st.sampled_from(depots)).depot_id,
                shift_from=EIGHT,
                shift_to=EIGHT + timedelta(hours=hours),
                max_duration_s=draw(st.sampled_from((None, 2400.0, 4800.0))),
                capacity=draw(st.sampled_from((0.3, 2.0))),
                competences=draw(st.sampled_from(((), ("lift",), WORDS))),
                fixed_dkk=draw(st.sampled_from((0.0, 100.0))),
                dkk_per_km=draw(st.sampled_from((1.0, 3.7))),
            )
        )
    visits = []
    for number in range(draw(st.integers(0, 5))):
        opens = EIGHT + timedelta(minutes=draw(st.integers(-2, 6)) * 20)
        visits.append(
            Visit(
                visit_id=f"m/visit-{number}",
                lat=56.3 + draw(st.integers(-5, 5)) / 100,
                lon=10.5 + draw(st.integers(-5, 5)) / 100,
                earliest_at=opens,
                latest_at=opens + timedelta(minutes=draw(st.sampled_from((0, 20, 120)))),
                service_s=draw(st.sampled_from((0.0, 600.0, 1800.0))),
                demand=draw(st.sampled_from((0.0, 0.1, 0.2, 1.0))),
                competences=draw(st.sampled_from(((), ("lift",), ("nurse",)))),
                unserved_dkk=draw(st.sampled_from((15.0, 400.0, 10_000.0))),
            )
        )
    return RouteInputs(
        municipality_id="m", depots=depots, vehicles=tuple(vehicles), visits=tuple(visits)
    )


def problem(inputs: RouteInputs, seed: int) -> RouteProblem:
    return route_problem_of(inputs, ways_of(inputs, WholeMinutes(seed)))


@given(small_inputs(), st.integers(0, 9))
@settings(max_examples=120, deadline=None)
def test_a_small_plan_keeps_all_rules_and_is_the_best_of_all(
    inputs: RouteInputs, seed: int
) -> None:
    travel = WholeMinutes(seed)
    plan = plan_routes(inputs, RouteSearch(time_limit_s=5), travel)
    assert broken_rules(inputs, travel, plan) == []
    assert plan.objective_dkk == pytest.approx(least_cost_dkk(inputs, travel), abs=1e-6)
    assert plan.status is SolverStatus.OPTIMAL
    assert plan.bound_by == BY_ENUMERATION
    assert all(unserved_visit.reason for unserved_visit in plan.unserved)


@given(small_inputs(), st.integers(0, 9), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_the_search_keeps_all_rules_and_nothing_undercuts_the_bound(
    inputs: RouteInputs, roads: int, seed: int
) -> None:
    posed = problem(inputs, roads)
    (entry,) = searched(RouteTask(posed, 0.1), seed, 1)
    assert all(feasible(posed, vehicle, visits) for vehicle, visits in enumerate(entry.routes))
    least = least_cost_dkk(inputs, WholeMinutes(roads))
    assert entry.cost_dkk == pytest.approx(total_dkk(posed, entry.routes))
    assert entry.cost_dkk >= least - 1e-6
    assert assignment_bound_dkk(posed) <= least + 1e-6


def middling(seed: int, visits: int, width_min: int) -> RouteInputs:
    """Return a day of home care: too many visits to try all plans, few enough to list routes."""
    rng = random.Random(seed)
    opens = [rng.randint(0, 5 * 60) for _ in range(visits)]
    return RouteInputs(
        municipality_id="m",
        depots=(RouteDepot(depot_id="m/hall", lat=56.3, lon=10.5),),
        vehicles=tuple(
            RouteVehicle(
                vehicle_id=f"m/car-{number}",
                start_depot_id="m/hall",
                end_depot_id="m/hall",
                shift_from=EIGHT,
                shift_to=EIGHT + timedelta(hours=7),
                max_duration_s=6 * 3600.0,
                capacity=10 - number,
                competences=WORDS[: number % 3],
                fixed_dkk=60.0 + 20 * number,
                dkk_per_km=2.0 + 0.5 * number,
            )
            for number in range(max(4, visits // 5))
        ),
        visits=tuple(
            Visit(
                visit_id=f"m/visit-{number:03d}",
                lat=56.3 + rng.uniform(-0.1, 0.1),
                lon=10.5 + rng.uniform(-0.15, 0.15),
                earliest_at=EIGHT + timedelta(minutes=opens[number]),
                latest_at=EIGHT + timedelta(minutes=opens[number] + width_min),
                service_s=1200.0,
                demand=1.0,
                competences=WORDS[: rng.choice((0, 0, 0, 1, 2))],
            )
            for number in range(visits)
        ),
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_search_finds_what_listing_all_routes_proves(seed: int) -> None:
    posed = route_problem_of(
        inputs := middling(seed, visits=14, width_min=20), ways_of(inputs, Geodesic())
    )
    everything = all_routes(posed, most=300_000)
    assert everything is not None
    proof = choose(posed, everything, ((),) * posed.vehicles, Limit(1, 20))
    assert proof.proven
    (entry,) = searched(RouteTask(posed, 2.0), seed, 1)
    assert entry.cost_dkk == pytest.approx(total_dkk(posed, proof.routes), rel=1e-9)


def test_the_same_inputs_seed_and_limit_give_the_same_plan_on_one_core_or_two() -> None:
    inputs = middling(5, visits=40, width_min=120)
    turned = RouteInputs(
        municipality_id="m",
        depots=inputs.depots,
        vehicles=inputs.vehicles[::-1],
        visits=inputs.visits[::-1],
    )
    for chains in (1, 2):
        search = RouteSearch(seed=3, time_limit_s=0.2, chains=chains)
        first, again = plan_routes(inputs, search), plan_routes(turned, search)
        assert first.model_dump_json() == again.model_dump_json()
        assert broken_rules(inputs, Geodesic(), first) == []
        assert first.iterations > 0
    other = plan_routes(inputs, RouteSearch(seed=4, time_limit_s=0.2))
    assert other.inputs_hash == first.inputs_hash
    assert other.routes != first.routes


@given(st.integers(0, 50), st.floats(1e-6, 1e-2))
@settings(max_examples=15, deadline=None)
def test_a_tiny_limit_still_gives_a_plan_that_keeps_all_rules(seed: int, limit_s: float) -> None:
    inputs = middling(seed, visits=30, width_min=90)
    plan = plan_routes(inputs, RouteSearch(seed=seed, time_limit_s=limit_s))
    assert broken_rules(inputs, Geodesic(), plan) == []
    assert len(plan.unserved) < 15
    assert plan.bound_dkk > 0
