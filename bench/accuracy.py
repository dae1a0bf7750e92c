"""How true trips, kilometres and idling are: ours beside a speed threshold and Traccar's rule.

On the simulator's truth, with noise, gaps in coverage, late stretches, duplicates and shuffling;
and on recorded vehicles against their own marks, where `../shared/data` is (`bench/recorded.py`).
`python -m bench.accuracy` prints tables, with `--json` one flat object: the simulator's figures
as they are, those of recordings behind `cabs_` and `van_`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

from pydantic import TypeAdapter

from bench.ours import Rule, in_order, ours
from bench.recorded import RECORDINGS, recorded
from bench.rivals import RIVALS
from schemas.events.fix import Fix
from schemas.fleet.rules import Rules
from schemas.ids import scoped
from stream.simulator.config import SimulationConfig
from stream.simulator.simulation import SimulatedDay, simulate
from tests.scenario.truth_score import Score, score_idling, score_trips

TOLERANCE_S: Final = 60.0
_FIXES: Final = TypeAdapter(list[Fix])
_RULES: Final = Rules()


def simulated() -> tuple[list[SimulatedDay], dict[str, list[Fix]]]:
    """Return days with their truth, and each vehicle's fixes in the order of their arrival."""
    fleet = simulate(
        SimulationConfig(
            start=date(2026, 3, 2),
            seed=11,
            days=10,
            municipalities=("syddjurs", "favrskov"),
            vehicles_per_municipality=30,
            gap_share=0.05,
            late_share=0.1,
            duplicate_share=0.02,
        )
    )
    days = list(fleet.days())
    events: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for day in days:
        for owner, event in day.fixes:
            vehicle_id = scoped(owner, event["vehicle_id"])
            events[vehicle_id].append({**event, "vehicle_id": vehicle_id})
    rng = random.Random(11)
    fixes = {vehicle_id: _FIXES.validate_python(reports) for vehicle_id, reports in events.items()}
    for reports in fixes.values():
        rng.shuffle(reports)
    return days, fixes


def on_truth(
    days: Sequence[SimulatedDay], fixes: dict[str, list[Fix]], rule: Rule
) -> tuple[Score, Score]:
    """Score a rule on trips and on idling."""
    trips, idling = Score(), Score()
    true_trips, true_idles = defaultdict(list), defaultdict(list)
    for day in days:
        for trip in day.truth.trips:
            true_trips[trip.vehicle_id].append(trip)
        for idle in day.truth.idles:
            true_idles[idle.vehicle_id].append(idle)
    for vehicle_id, reports in fixes.items():
        verdict = rule(in_order(reports))
        trips += score_trips(verdict.trips, true_trips[vehicle_id], tolerance_s=TOLERANCE_S)
        if any(fix.ignition is not None for fix in reports):
            idling += score_idling(
                verdict.idling,
                true_idles[vehicle_id],
                tolerance_s=TOLERANCE_S,
                longer_than_s=_RULES.idle_reported_after_s,
            )
    return trips, idling


def run() -> dict[str, float]:
    """Return the figures of ours and of the rivals on the simulator's truth."""
    days, fixes = simulated()
    figures: dict[str, float] = {}
    rules: dict[str, Rule] = {"": ours, **{f"{name}_": rule for name, rule in RIVALS.items()}}
    for prefix, rule in rules.items():
        trips, idling = on_truth(days, fixes, rule)
        figures |= {
            f"{prefix}trip_precision": trips.precision,
            f"{prefix}trip_recall": trips.recall,
            f"{prefix}km_error": abs(trips.error),
            f"{prefix}idle_error": abs(idling.error),
        }
    return figures


def table(title: str, names: Sequence[str], figures: dict[str, float], prefix: str = "") -> None:
    """Print figures, ours beside those of the rivals."""
    print(f"{title}\n{'':26}{'ours':>10}" + "".join(f"{name:>10}" for name in RIVALS))
    for name in names:
        row = [
            figures[f"{prefix}{rival}{name}"] for rival in ("", *(f"{other}_" for other in RIVALS))
        ]
        print(f"{name:26}" + "".join(f"{value:10.4f}" for value in row))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    as_json = parser.parse_args().json
    figures = {**run(), **recorded()}
    if as_json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))
        return
    names = ("trip_precision", "trip_recall", "km_error", "idle_error")
    table(f"on the simulator's truth, ends within {TOLERANCE_S:.0f} s", names, figures)
    for recording in RECORDINGS:
        if recording.file.exists():
            print()
            table(recording.title, recording.names, figures, f"{recording.name}_")
        else:
            print(f"\nno figures of {recording.name}: {recording.file} is not there")


if __name__ == "__main__":
    main()
