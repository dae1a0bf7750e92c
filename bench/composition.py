"""The front between cost and CO2e of a made-up municipality's fleet, and how much is unproven.

`python -m bench.composition` prints the front.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from optimizer.composition.catalogue import CATALOGUE
from optimizer.composition.solve import compose
from optimizer.search import Search
from schemas.plans.composition import (
    Cargo,
    CompositionDepot,
    CompositionInputs,
    CompositionProgress,
    CompositionRoundTrip,
    CompositionRules,
    PresentVehicle,
)

MONDAY: Final = datetime(2026, 3, 2, tzinfo=UTC)
DEPOTS: Final = 10
WEEKS: Final = 12
POINTS: Final = 5
SEARCH: Final = Search(seed=1, time_limit_s=120)

_WORKDAYS: Final = 5
_NEAR: Final = 0.3
_SHARES: Final = {"petrol-car": 17, "ev-car": 4, "diesel-van": 5, "ev-van": 1, "e-bike": 3}
"""Vehicles of a depot of thirty."""


def municipality(seed: int, depots: int = DEPOTS, weeks: int = WEEKS) -> CompositionInputs:
    """Return depots of thirty vehicles, whose round trips leave in the morning and after noon."""
    rng = random.Random(seed)
    names = [f"m/depot-{number:02d}" for number in range(depots)]
    vehicles = [
        PresentVehicle(vehicle_id=f"{name}-{kind}-{number:02d}", depot_id=name, kind_id=kind)
        for name in names
        for kind, count in _SHARES.items()
        for number in range(count)
    ]
    trips: list[CompositionRoundTrip] = []
    for name in names:
        for day in range(7 * weeks):
            mean = 45 if day % 7 < _WORKDAYS else 6
            trips += [_trip(rng, name, day) for _ in range(max(0, round(rng.gauss(mean, 5))))]
    return CompositionInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        observed_days=7 * weeks,
        kinds=CATALOGUE,
        depots=tuple(
            CompositionDepot(depot_id=name, name=name[2:], capacity=40, charger_count=6)
            for name in names
        ),
        vehicles=tuple(vehicles),
        rules=CompositionRules(points=POINTS),
        round_trips=tuple(
            composition_round_trip.model_copy(update={"round_trip_id": f"t{number:06d}"})
            for number, composition_round_trip in enumerate(trips)
        ),
    )


def _trip(rng: random.Random, depot_id: str, day: int) -> CompositionRoundTrip:
    hour = rng.choice([rng.gauss(7, 1), rng.gauss(11.5, 1.5), rng.uniform(5, 19)])
    start = MONDAY + timedelta(days=day, hours=hour)
    near = rng.random() < _NEAR
    length_h = rng.uniform(0.3, 2.5) if near else min(9.5, 0.3 + rng.expovariate(1 / 2.2))
    km = rng.uniform(2, 14) if near else rng.uniform(2, 12) * (1 + length_h)
    return CompositionRoundTrip(
        round_trip_id="?",
        depot_id=depot_id,
        started_at=start,
        ended_at=start + timedelta(hours=length_h),
        distance_m=1000 * km,
        seats=rng.choice([1, 1, 1, 2, 4]),
        cargo=rng.choice([Cargo.NONE] * 6 + [Cargo.SMALL] * 2 + [Cargo.LARGE] * 2),
    )


def composition_figures() -> dict[str, float]:
    """Return how many points the front has, the time it took and the worst gap of a point.

    `composition_saved_share` is what the cheapest point saves of the present fleet's cost.
    """
    inputs = municipality(1)
    began = time.process_time()
    plan = compose(inputs, SEARCH, _told)
    took_s = time.process_time() - began
    present_dkk = plan.present.cost_dkk if plan.present is not None else 0.0
    return {
        "composition_points": len(plan.points),
        "composition_gap": plan.gap,
        "composition_s": took_s,
        "composition_saved_share": 1 - plan.points[0].cost_dkk / present_dkk,
    }


def _told(progress: CompositionProgress) -> None:
    print(
        f"CO2e at {progress.co2e_price_dkk_per_kg:8.2f} DKK/kg, {progress.spent_s:5.1f} of "
        f"{progress.limit_s:.0f} s, cheapest so far {progress.cheapest_dkk:,.0f} DKK",
        file=sys.stderr,
        flush=True,
    )


def main() -> None:
    """Print the front of the made-up municipality."""
    began = time.process_time()
    plan = compose(municipality(1), SEARCH, _told)
    for point in plan.points:
        counts = {kind.kind_id: 0 for kind in CATALOGUE}
        for depot in point.depots:
            for kind, count in depot.counts.items():
                counts[kind] += count
        print(
            f"{point.cost_dkk:12,.0f} DKK {point.co2e_kg:10,.0f} kg  gap {point.gap:.4%}  {counts}"
        )
    print(plan.explanation)
    for proposal in plan.proposals[:8]:
        print(f"{proposal.action}: {proposal.reason}")
    print(f"{time.process_time() - began:.1f} s of one core")


if __name__ == "__main__":
    main()
