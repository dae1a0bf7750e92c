"""Sites for clients: published answers, refusals in words, and what a tiny limit still gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.orlib import (
    FACILITY,
    OPTIMA,
    P_MEDIAN,
    facility_files,
    p_median_files,
    read_facility,
    read_p_median,
)
from optimizer.search import Search
from optimizer.sites.location import Location, facility_location, p_median
from schemas.plans.plan import SolverStatus

SEARCH = Search(seed=1, time_limit_s=60)
ABSENT = "no OR-Library files in ../shared/data"


def plane(seed: int, clients: int, sites: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    there, wanted = rng.random((sites, 2)), rng.random((clients, 2))
    away = np.linalg.norm(wanted[:, None] - there[None], axis=2)
    return np.asarray(np.rint(away * 1000))


def assert_consistent(location: Location, costs: np.ndarray, opening: np.ndarray) -> None:
    """Price the answer afresh: nearest open sites, and a bound that is one."""
    nearest = [min(float(row[site]) for site in location.sites) for row in costs]
    served = [float(row[site]) for row, site in zip(costs, location.serves, strict=True)]
    price = sum(float(opening[site]) for site in location.sites)
    assert served == nearest
    assert set(location.serves) <= set(location.sites)
    assert location.objective == pytest.approx(sum(served) + price)
    assert 0 <= location.bound <= location.objective
    assert location.gap == pytest.approx((location.objective - location.bound) / location.objective)


@pytest.mark.skipif(not P_MEDIAN.exists(), reason=ABSENT)
@pytest.mark.parametrize("file", p_median_files()[:4], ids=lambda file: file.stem)
def test_p_median_proves_the_published_optimum(file: Path) -> None:
    costs, p = read_p_median(file)
    location = p_median(costs, p, SEARCH)
    assert location.status is SolverStatus.OPTIMAL
    assert location.objective == location.bound == OPTIMA[file.stem]
    assert len(set(location.sites)) == p
    assert_consistent(location, costs, np.zeros(len(costs)))


@pytest.mark.skipif(not FACILITY.exists(), reason=ABSENT)
@pytest.mark.parametrize("file", facility_files(), ids=lambda file: file.stem)
def test_facility_location_proves_the_published_optimum(file: Path) -> None:
    costs, opening = read_facility(file)
    location = facility_location(costs, opening, SEARCH)
    assert location.status is SolverStatus.OPTIMAL
    assert location.objective == pytest.approx(OPTIMA[file.stem], rel=1e-9)
    assert location.gap == 0
    assert_consistent(location, costs, opening)


def test_a_tiny_limit_still_gives_sites_and_an_honest_bound() -> None:
    costs = plane(3, 120, 120)
    best = p_median(costs, 12, SEARCH)
    cut = p_median(costs, 12, Search(seed=1, time_limit_s=1e-9))
    assert best.status is SolverStatus.OPTIMAL
    assert cut.status is SolverStatus.FEASIBLE
    assert len(set(cut.sites)) == 12
    assert cut.bound <= best.objective <= cut.objective
    assert 0 < cut.gap < 1
    assert_consistent(cut, costs, np.zeros(120))


def test_more_time_never_gives_less() -> None:
    costs = plane(5, 150, 150)
    locations = [
        p_median(costs, 15, Search(seed=2, time_limit_s=limit)) for limit in (0.001, 0.05, 60)
    ]
    costs_found = [location.objective for location in locations]
    bounds = [location.bound for location in locations]
    assert costs_found == sorted(costs_found, reverse=True)
    assert bounds == sorted(bounds)


def test_the_same_seed_gives_the_same_answer() -> None:
    costs = plane(7, 100, 100)
    search = Search(seed=11, time_limit_s=0.03)
    assert p_median(costs, 10, search) == p_median(costs, 10, search)
    opening = np.full(100, 900.0)
    assert facility_location(costs, opening, search) == facility_location(costs, opening, search)


@pytest.mark.parametrize(
    ("costs", "p", "words"),
    [
        (np.ones((4, 3)), 4, "p = 4 of 3 sites; give a p from 1 to 3"),
        (np.ones((4, 3)), 0, "p = 0 of 3 sites"),
        (np.full((2, 2), np.inf), 1, "costs have inf; give finite numbers"),
        (np.full((2, 2), -1.0), 1, r"costs have -1\.0"),
        (np.ones((0, 3)), 1, "at least one each"),
        (np.ones(3), 1, "clients x sites"),
    ],
)
def test_what_cannot_be_is_refused_in_words(costs: np.ndarray, p: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        p_median(costs, p, SEARCH)


def test_opening_costs_must_be_one_a_site_and_a_limit_more_than_nothing() -> None:
    with pytest.raises(ValueError, match=r"shape \(2,\) for 3 sites"):
        facility_location(np.ones((4, 3)), np.ones(2), SEARCH)
    with pytest.raises(ValueError, match="time limit of 0 s"):
        p_median(np.ones((4, 3)), 1, Search(seed=1, time_limit_s=0))


def test_every_site_may_be_open_and_one_may_do() -> None:
    costs = np.array([[0.0, 5.0], [7.0, 0.0]])
    assert p_median(costs, 2, SEARCH).objective == 0
    assert p_median(costs, 1, SEARCH).objective == 5
    assert facility_location(costs, [1.0, 100.0], SEARCH).sites == (0,)
    assert facility_location(costs, [1.0, 1.0], SEARCH).sites == (0, 1)
