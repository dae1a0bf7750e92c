"""Sites of a municipality: which depots to keep and which places to open, proven where time allows.

Without a count this is facility location, what sites cost beside what is driven from the nearest
one; with a count it is p-median, which then counts what sites cost too, for depots cost not alike.
Both are exact for depots that must stay: in the first they open for nothing and are paid after; in
the second nobody is served dearer than from one of them, and the rest is chosen.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import numpy as np

from optimizer.search import ProgressCallback, Search
from optimizer.sites.cost_breakdown import YearlySitesCost
from optimizer.sites.explanation import explanation, reason, shown_place
from optimizer.sites.location import facility_location, p_median
from optimizer.work_budget import Floats, Ints
from schemas.plans.plan import SolverStatus
from schemas.plans.sites import CandidateSite, SiteFinding, SiteKind, SitesInputs, SitesPlan

_NO_COST: Final = 0.0


class _Chosen(NamedTuple):
    """Open sites, and a proven lower bound of what any such choice costs."""

    sites: Ints
    bound_dkk: float
    is_proven: bool


def inputs_hash(inputs: SitesInputs) -> str:
    """Return the SHA-256, in hexadecimal, of the sorted inputs, the cost constants among them."""
    return hashlib.sha256(inputs.model_dump_json().encode()).hexdigest()


def plan_sites(
    inputs: SitesInputs, search: Search, progress: ProgressCallback | None = None
) -> SitesPlan:
    """Return which sites to have, with the reason of each.

    Same inputs, seed and limit (deterministic time, of the choice alone), same plan; at the limit
    it is the best found so far. `progress` is called before the choice and after.
    """
    bill = YearlySitesCost(inputs)
    clients, sites = bill.driving_dkk.shape
    if progress is not None:
        progress(0.0, f"{sites} sites for {clients} ways")
    staying = np.flatnonzero([site.must_stay for site in inputs.sites])
    if inputs.count is None:
        chosen = _as_many_as_pay(bill, staying, search)
    else:
        chosen = _so_many(bill, staying, inputs.count, search)
    plan = _described(inputs, search, bill, chosen)
    if progress is not None:
        progress(1.0, f"{plan.objective_dkk:,.0f} DKK a year")
    return plan


def _as_many_as_pay(bill: YearlySitesCost, staying: Ints, search: Search) -> _Chosen:
    opening = bill.site_dkk.copy()
    opening[staying] = _NO_COST
    location = facility_location(bill.driving_dkk, opening, search)
    return _Chosen(
        np.union1d(np.array(location.sites, dtype=np.int64), staying),
        location.bound + float(bill.site_dkk[staying].sum()),
        location.status is SolverStatus.OPTIMAL,
    )


def _so_many(bill: YearlySitesCost, staying: Ints, count: int, search: Search) -> _Chosen:
    paid_dkk = float(bill.site_dkk[staying].sum())
    costs: Floats = bill.driving_dkk
    left = count - len(staying)
    if not left:
        return _Chosen(staying, paid_dkk + float(costs[:, staying].min(axis=1).sum()), True)
    if len(staying):
        costs = np.minimum(costs, costs[:, staying].min(axis=1)[:, None])
    free = np.setdiff1d(np.arange(costs.shape[1]), staying)
    location = p_median(costs[:, free], left, search, opening=bill.site_dkk[free])
    return _Chosen(
        np.union1d(free[list(location.sites)], staying),
        location.bound + paid_dkk,
        location.status is SolverStatus.OPTIMAL,
    )


def _described(
    inputs: SitesInputs, search: Search, bill: YearlySitesCost, chosen: _Chosen
) -> SitesPlan:
    depots = np.flatnonzero([site.kind is SiteKind.DEPOT for site in inputs.sites])
    as_driven = bill.cost(depots, bill.left)
    nearest = bill.cost(depots, bill.nearest(depots)[bill.client])
    proposal = _Proposal(bill, chosen.sites, bill.nearest(chosen.sites)[bill.client])
    proposed = bill.cost(proposal.sites, proposal.of_trip)
    findings = _findings(inputs, proposal)
    objective_dkk = proposed.cost_dkk
    bound_dkk = objective_dkk if chosen.is_proven else min(objective_dkk, chosen.bound_dkk)
    return SitesPlan(
        municipality_id=inputs.municipality_id,
        inputs_hash=inputs_hash(inputs),
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status=SolverStatus.OPTIMAL if chosen.is_proven else SolverStatus.FEASIBLE,
        objective_dkk=objective_dkk,
        bound_dkk=bound_dkk,
        gap=(objective_dkk - bound_dkk) / objective_dkk if objective_dkk else 0.0,
        count=inputs.count,
        as_driven=as_driven,
        nearest=nearest,
        proposed=proposed,
        sites=findings,
        explanation=explanation(findings, as_driven, nearest, proposed, inputs.count),
    )


class _Proposal(NamedTuple):
    """Open sites, and the one that each round trip is served from."""

    bill: YearlySitesCost
    sites: Ints
    of_trip: Ints


def _findings(inputs: SitesInputs, proposal: _Proposal) -> tuple[SiteFinding, ...]:
    """Return the depots, then the places; of each kind the open ones first."""
    findings = [_finding(site, number, proposal) for number, site in enumerate(inputs.sites)]
    return tuple(
        sorted(findings, key=lambda finding: (finding.kind is SiteKind.PLACE, not finding.is_open))
    )


def _finding(site: CandidateSite, number: int, proposal: _Proposal) -> SiteFinding:
    others = proposal.sites[proposal.sites != number]
    is_open = len(others) < len(proposal.sites)
    change = proposal.bill.change(number, others) if len(others) else None
    round_trips, way_m, at_once = proposal.bill.served(proposal.of_trip, number)
    if not is_open and change is not None:
        round_trips = change.round_trips
        way_m = change.way_m if change.round_trips else None
    place = shown_place(site)
    return SiteFinding(
        site_id=site.site_id,
        kind=site.kind,
        depot_id=site.depot_id,
        lat=place.lat,
        lon=place.lon,
        is_open=is_open,
        must_stay=site.must_stay,
        dkk_per_year=site.dkk_per_year,
        round_trips_per_year=round_trips,
        way_m=way_m,
        further_m=change.further_m if change is not None and change.round_trips else None,
        driving_dkk=None if change is None else change.driving_dkk,
        vehicles_at_once=at_once,
        capacity=site.capacity,
        reason=reason(site, change, is_open=is_open, round_trips=round_trips, at_once=at_once),
    )
