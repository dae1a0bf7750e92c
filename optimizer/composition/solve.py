"""Composition: a front of fleets between cost and CO2e, and what leads to the chosen one.

Counts and allotments are found depot by depot at prices of CO2e (`counts`, `allotment`), and put
together within limits of CO2e (`front`). Same inputs and limit, same plan: all work is counted.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from optimizer.composition.allocation_lp import OWN_CAR, Weights
from optimizer.composition.counts import DepotCounts, DepotFleet
from optimizer.composition.demand import demands_of
from optimizer.composition.explanation import by_own_car, explanation, proposals, shortage
from optimizer.composition.front import CHEAPEST, FrontPoint, front
from optimizer.costs import ORE_PER_DKK
from optimizer.search import Search
from optimizer.work_budget import WorkBudget
from schemas.fleet.costs import Costs
from schemas.plans.composition import (
    CompositionInputs,
    CompositionPlan,
    CompositionPoint,
    CompositionProgress,
    DepotComposition,
)
from schemas.plans.plan import SolverStatus

CompositionCallback = Callable[[CompositionProgress], None]

_G_PER_KG: Final = 1000


def _priced(costs: Costs) -> Weights:
    """Return an øre as a thousand, a gram as much as its price."""
    return Weights(1000, round(costs.co2_price_dkk_per_kg * ORE_PER_DKK))


def inputs_hash(inputs: CompositionInputs) -> str:
    """Return the SHA-256, in hexadecimal, of the sorted inputs, the cost constants among them."""
    return hashlib.sha256(inputs.model_dump_json().encode()).hexdigest()


def compose(
    inputs: CompositionInputs, search: Search, progress: CompositionCallback | None = None
) -> CompositionPlan:
    """Return the front, and proposals for the point that is cheapest with CO2e at its price.

    The limit is deterministic time, shared by all points; reading the inputs, a first fleet and
    the proposals are not limited. `progress` is called before each price of CO2e that is tried.
    The seed orders nothing here and is kept with the plan.
    """
    effort = WorkBudget(search.time_limit_s)
    depots = [DepotCounts(demand) for demand in demands_of(inputs)]
    present = [_first(inputs, depot) for depot in depots]

    def told(weights: Weights, cheapest_ore: int) -> None:
        if progress is not None:
            progress(
                CompositionProgress(
                    limit_s=effort.limit_s,
                    spent_s=effort.spent_s,
                    co2e_price_dkk_per_kg=weights.dkk_per_kg,
                    cheapest_dkk=cheapest_ore / ORE_PER_DKK,
                )
            )

    points = front(depots, inputs.rules.points, effort, told)
    if not inputs.rules.own_cars:
        unserved = [depot.best(CHEAPEST) for depot in depots]
        if any(map(_leaves_out, unserved)):
            return _unservable(inputs, search, depots, unserved)
        points = tuple(
            point
            for point in points
            if not any((f.allotment.kind == OWN_CAR).any() for f in point.fleets)
        )
    return _plan(inputs, search, depots, present, points)


def _leaves_out(fleet: DepotFleet) -> bool:
    return bool((fleet.allotment.kind == OWN_CAR).any())


def _first(inputs: CompositionInputs, depot: DepotCounts) -> DepotFleet:
    """Try a depot without vehicles and with those of now; return the latter."""
    kinds = Counter(
        vehicle.kind_id
        for vehicle in inputs.vehicles
        if vehicle.depot_id == depot.demand.depot.depot_id
    )
    counts = [kinds[kind.kind_id] for kind in depot.demand.kinds]
    unlimited = WorkBudget(1e12)
    depot.try_counts([0] * len(counts), CHEAPEST, unlimited)
    return depot.try_counts(counts, _priced(inputs.costs), unlimited, close=True)


def _plan(
    inputs: CompositionInputs,
    search: Search,
    depots: Sequence[DepotCounts],
    present: Sequence[DepotFleet],
    points: Sequence[FrontPoint],
) -> CompositionPlan:
    described = tuple(_described(depots, point) for point in points)
    priced = _priced(inputs.costs)
    chosen = min(
        range(len(points)),
        key=lambda index: priced.ore * points[index].ore + priced.g * points[index].g,
    )
    picked = points[chosen]
    counts = np.array([fleet.counts for fleet in picked.fleets], dtype=np.int64).sum(axis=0)
    listed = ", ".join(
        f"{count} {kind.kind_id}" for count, kind in zip(counts, inputs.kinds, strict=True) if count
    )
    now = FrontPoint(tuple(present), sum(fleet.g for fleet in present), 0)
    serves_all = inputs.rules.own_cars or not any(
        (fleet.allotment.kind == OWN_CAR).any() for fleet in present
    )
    proven = all(point.status is SolverStatus.OPTIMAL for point in described)
    return CompositionPlan(
        municipality_id=inputs.municipality_id,
        inputs_hash=inputs_hash(inputs),
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status=SolverStatus.OPTIMAL if proven else SolverStatus.FEASIBLE,
        bound_dkk=described[0].bound_dkk,
        gap=max(point.gap for point in described),
        present=_described(depots, now) if serves_all else None,
        points=described,
        chosen=chosen,
        proposals=proposals(inputs, depots, picked.fleets, priced),
        explanation=explanation(
            inputs,
            (now.ore, now.g) if serves_all else None,
            (picked.ore, picked.g),
            listed or "no vehicles",
        )
        + by_own_car(inputs, picked.fleets, present if serves_all else None),
    )


def _described(depots: Sequence[DepotCounts], point: FrontPoint) -> CompositionPoint:
    bound_ore = min(point.bound_ore, point.ore)
    return CompositionPoint(
        co2e_limit_kg=point.limit_g / _G_PER_KG,
        cost_dkk=point.ore / ORE_PER_DKK,
        co2e_kg=point.g / _G_PER_KG,
        status=SolverStatus.OPTIMAL if bound_ore == point.ore else SolverStatus.FEASIBLE,
        bound_dkk=bound_ore / ORE_PER_DKK,
        gap=(point.ore - bound_ore) / point.ore if point.ore else 0.0,
        depots=tuple(_at(depot, fleet) for depot, fleet in zip(depots, point.fleets, strict=True)),
    )


def _at(depot: DepotCounts, fleet: DepotFleet) -> DepotComposition:
    ids = [kind.kind_id for kind in depot.demand.kinds]
    taken = Counter(fleet.allotment.kind.tolist())
    return DepotComposition(
        depot_id=depot.demand.depot.depot_id,
        counts=dict(zip(ids, fleet.counts, strict=True)),
        served={round_trip_id: taken[column] for column, round_trip_id in enumerate(ids)},
        own_car=taken[OWN_CAR],
    )


def _unservable(
    inputs: CompositionInputs,
    search: Search,
    depots: Sequence[DepotCounts],
    fleets: Sequence[DepotFleet],
) -> CompositionPlan:
    """Return a plan without a front: infeasible where the bound proves it, else unknown."""
    proven = any(_proven(depot) for depot in depots)
    words = shortage(inputs, depots, fleets)
    if not proven:
        words += " It is not proven that nothing better exists: raise the time limit to know."
    return CompositionPlan(
        municipality_id=inputs.municipality_id,
        inputs_hash=inputs_hash(inputs),
        seed=search.seed,
        time_limit_s=search.time_limit_s,
        status=SolverStatus.INFEASIBLE if proven else SolverStatus.UNKNOWN,
        bound_dkk=0.0,
        gap=1.0,
        present=None,
        points=(),
        chosen=None,
        proposals=(),
        explanation=words,
    )


def _proven(depot: DepotCounts) -> bool:
    """Return whether a depot's bound is beyond what any fleet that serves all costs."""
    demand = depot.demand
    if not demand.trips:
        return False
    if not demand.able.any(axis=1).all():
        return True
    served_g = int(demand.drive_g.max(axis=1).sum())
    most_ore = int(demand.own_ore.max()) - 1
    return depot.limit(CHEAPEST) > CHEAPEST.ore * most_ore + CHEAPEST.g * served_g
