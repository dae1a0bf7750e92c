"""The proven sites are the best of all choices, tried one by one."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search import Search
from optimizer.sites.location import facility_location, p_median
from schemas.plans.plan import SolverStatus
from tests.property.examples import examples

Matrix = list[list[float]]


@st.composite
def matrices(draw: st.DrawFn) -> Matrix:
    """Draw up to nine clients and seven sites, at whole or at any costs, with many ties."""
    clients, sites = draw(st.integers(1, 9)), draw(st.integers(1, 7))
    whole = st.integers(0, 20).map(float)
    cost = draw(st.sampled_from([whole, st.floats(0, 50, allow_subnormal=False)]))
    row = st.lists(cost, min_size=sites, max_size=sites)
    return draw(st.lists(row, min_size=clients, max_size=clients))


def served(costs: Matrix, sites: tuple[int, ...]) -> float:
    return sum(min(row[site] for site in sites) for row in costs)


@given(matrices(), st.data(), st.integers(0, 99))
@settings(max_examples=examples(150), deadline=None)
def test_p_median_is_the_best_of_all(costs: Matrix, data: st.DataObject, seed: int) -> None:
    count = len(costs[0])
    p = data.draw(st.integers(1, count))
    best = min(served(costs, chosen) for chosen in combinations(range(count), p))
    location = p_median(costs, p, Search(seed=seed, time_limit_s=30))
    assert location.status is SolverStatus.OPTIMAL
    assert abs(location.objective - best) <= 1e-9 * max(1.0, best)
    assert len(set(location.sites)) == p


@given(matrices(), st.data(), st.integers(0, 99))
@settings(max_examples=examples(150), deadline=None)
def test_p_median_counts_what_sites_cost_where_they_are_not_alike(
    costs: Matrix, data: st.DataObject, seed: int
) -> None:
    count = len(costs[0])
    p = data.draw(st.integers(1, count))
    opening = data.draw(st.lists(st.floats(0, 60), min_size=count, max_size=count))
    best = min(
        served(costs, chosen) + sum(opening[site] for site in chosen)
        for chosen in combinations(range(count), p)
    )
    location = p_median(costs, p, Search(seed=seed, time_limit_s=30), opening)
    assert location.status is SolverStatus.OPTIMAL
    assert abs(location.objective - best) <= 1e-9 * max(1.0, best)
    assert len(set(location.sites)) == p


@given(matrices(), st.data(), st.integers(0, 99))
@settings(max_examples=examples(150), deadline=None)
def test_facility_location_is_the_best_of_all(
    costs: Matrix, data: st.DataObject, seed: int
) -> None:
    count = len(costs[0])
    opening = data.draw(st.lists(st.floats(0, 60), min_size=count, max_size=count))
    best = min(
        served(costs, chosen) + sum(opening[site] for site in chosen)
        for size in range(1, count + 1)
        for chosen in combinations(range(count), size)
    )
    location = facility_location(costs, opening, Search(seed=seed, time_limit_s=30))
    assert location.status is SolverStatus.OPTIMAL
    assert abs(location.objective - best) <= 1e-9 * max(1.0, best)


@given(matrices(), st.integers(0, 99))
@settings(max_examples=examples(60), deadline=None)
def test_a_bound_is_never_above_the_optimum_however_early_it_ends(costs: Matrix, seed: int) -> None:
    count = len(costs[0])
    p = (count + 1) // 2
    best = min(served(costs, chosen) for chosen in combinations(range(count), p))
    for limit_s in (1e-9, 3e-4, 2e-3):
        location = p_median(costs, p, Search(seed=seed, time_limit_s=limit_s))
        assert location.bound <= best + 1e-9 * max(1.0, best)
        assert location.objective >= best - 1e-9 * max(1.0, best)
