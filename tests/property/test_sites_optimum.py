"""Proposed sites are the best of all subsets, and the numbers of each reason are the change's."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search import Search
from optimizer.sites.solve import plan_sites
from schemas.plans.plan import SolverStatus
from schemas.plans.sites import CandidateSite, SiteFinding, SiteRoundTrip, SitesInputs
from tests.property.examples import examples
from tests.sites_town import Position, a_year, cost_dkk, driving_dkk, site, trip, way_km

NAMES = ("hall", "school", "yard", "place 1", "place 2", "place 3")
SEARCH = Search(1, 30.0)
AT = st.tuples(
    st.integers(0, 6).map(lambda step: 56.30 + step / 100),
    st.integers(0, 6).map(lambda step: 10.50 + step / 50),
)


@st.composite
def round_trips(draw: st.DrawFn, depots: int) -> SiteRoundTrip:
    first: Position = draw(AT)
    return trip(
        draw(st.sampled_from(NAMES[:depots])),
        first,
        draw(st.one_of(st.just(first), AT)),
        draw(st.integers(0, 200)),
        draw(st.sampled_from([0.5, 1.0, 7.0])),
    )


@st.composite
def towns(draw: st.DrawFn) -> SitesInputs:
    """Draw a town of some kilometres: up to six sites, up to nine round trips, with ties."""
    depots = draw(st.integers(1, 3))
    names = NAMES[:depots] + NAMES[3 : 3 + draw(st.integers(0, 3))]
    dkk = st.sampled_from([0.0, 500.0, 3_000.0, 25_000.0])
    sites = tuple(
        site(name, draw(AT), draw(dkk), stay=name in NAMES[:3] and not draw(st.integers(0, 3)))
        for name in names
    )
    staying = sum(entry.must_stay for entry in sites)
    return SitesInputs(
        municipality_id="m",
        observed_days=draw(st.integers(1, 30)),
        sites=sites,
        round_trips=tuple(draw(st.lists(round_trips(depots), min_size=1, max_size=9))),
        count=draw(st.one_of(st.none(), st.integers(max(1, staying), len(sites)))),
    )


def allowed(inputs: SitesInputs) -> list[tuple[CandidateSite, ...]]:
    """Return every choice of sites that the question allows."""
    sizes = range(1, len(inputs.sites) + 1) if inputs.count is None else (inputs.count,)
    staying = {entry.site_id for entry in inputs.sites if entry.must_stay}
    return [
        chosen
        for size in sizes
        for chosen in combinations(inputs.sites, size)
        if staying <= {candidate_site.site_id for candidate_site in chosen}
    ]


@given(towns(), st.integers(0, 99))
@settings(max_examples=examples(150), deadline=None)
def test_the_proposal_is_the_best_of_all_subsets(inputs: SitesInputs, seed: int) -> None:
    plan = plan_sites(inputs, Search(seed, 30.0))
    best = min(cost_dkk(inputs, chosen) for chosen in allowed(inputs))
    assert plan.status is SolverStatus.OPTIMAL
    assert plan.objective_dkk == pytest.approx(best, rel=1e-8, abs=1e-6)
    assert plan.bound_dkk == plan.objective_dkk
    opened = {entry.site_id for entry in plan.sites if entry.is_open}
    chosen = tuple(entry for entry in inputs.sites if entry.site_id in opened)
    assert cost_dkk(inputs, chosen) == pytest.approx(plan.objective_dkk, rel=1e-9, abs=1e-6)
    assert chosen in allowed(inputs)


@given(towns())
@settings(max_examples=examples(100), deadline=None)
def test_what_a_year_costs_now_is_told_beside_it(inputs: SitesInputs) -> None:
    plan = plan_sites(inputs, SEARCH)
    depots = [entry for entry in inputs.sites if entry.depot_id is not None]
    of = {depot.depot_id: depot for depot in depots}
    ways_km = [way_km(round_trip, of[round_trip.depot_id]) for round_trip in inputs.round_trips]
    driven = sum(
        driving_dkk(inputs, round_trip, of[round_trip.depot_id])
        for round_trip in inputs.round_trips
    )
    rent = sum(depot.dkk_per_year for depot in depots)
    assert plan.as_driven.cost_dkk == pytest.approx(rent + driven)
    assert plan.as_driven.distance_m == pytest.approx(1000 * sum(ways_km) * a_year(inputs))
    assert plan.as_driven.co2e_kg == pytest.approx(0.15 * sum(ways_km) * a_year(inputs))
    assert plan.nearest.cost_dkk == pytest.approx(cost_dkk(inputs, depots))
    for cost in (plan.as_driven, plan.nearest, plan.proposed):
        parts = cost.sites_dkk + cost.energy_dkk + cost.co2e_dkk + cost.staff_dkk
        assert cost.cost_dkk == pytest.approx(parts)
    assert plan.nearest.cost_dkk <= plan.as_driven.cost_dkk + 1e-6
    if inputs.count is None:
        assert plan.proposed.cost_dkk <= plan.nearest.cost_dkk * (1 + 1e-9) + 1e-6


@given(towns())
@settings(max_examples=examples(100), deadline=None)
def test_each_reason_tells_what_this_one_change_would_do(inputs: SitesInputs) -> None:
    plan = plan_sites(inputs, SEARCH)
    opened = {entry.site_id for entry in plan.sites if entry.is_open}
    assert sorted(entry.site_id for entry in plan.sites) == sorted(
        entry.site_id for entry in inputs.sites
    )
    for finding in plan.sites:
        of = next(entry for entry in inputs.sites if entry.site_id == finding.site_id)
        others = [
            entry
            for entry in inputs.sites
            if entry.site_id in opened and entry.site_id != of.site_id
        ]
        if others:
            _check_change(inputs, finding, of, others)
        else:
            assert finding.driving_dkk is None
            assert "It is the only site" in finding.reason


def _check_change(
    inputs: SitesInputs, finding: SiteFinding, of: CandidateSite, others: list[CandidateSite]
) -> None:
    without, with_it = cost_dkk(inputs, others), cost_dkk(inputs, [*others, of])
    assert finding.driving_dkk == pytest.approx(without - with_it + of.dkk_per_year, abs=1e-4)
    further_km = [
        min(way_km(round_trip, other) for other in others) - way_km(round_trip, of)
        for round_trip in inputs.round_trips
    ]
    gained = [km for km in further_km if km > 1e-6]
    if not gained:
        assert finding.driving_dkk == pytest.approx(0, abs=1e-4)
        return
    assert finding.further_m == pytest.approx(1000 * sum(gained) / len(gained) / 2)
    assert f"{len(gained) * a_year(inputs):,.0f} round trips a year" in finding.reason
    assert f" {sum(gained) / len(gained) / 2:,.1f} km " in finding.reason
    assert f"{of.dkk_per_year:,.0f}" in finding.reason
    assert f"{without - with_it + of.dkk_per_year:,.0f} DKK of driving" in finding.reason


@given(towns(), st.randoms(use_true_random=False))
@settings(max_examples=examples(30), deadline=None)
def test_the_order_of_rows_changes_nothing(inputs: SitesInputs, order: Random) -> None:
    mixed = list(inputs.round_trips)
    order.shuffle(mixed)
    again = SitesInputs.model_validate({**dict(inputs), "round_trips": tuple(mixed)})
    assert plan_sites(again, SEARCH) == plan_sites(inputs, SEARCH)
