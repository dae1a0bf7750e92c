"""How true trips, kilometres and idling are: ours beside a speed threshold and Traccar's rule.

On the simulator's truth, with noise, gaps in coverage, late stretches, duplicates and shuffling;
and on recorded taxis against their own meters, where `../shared/data` is. `python -m
bench.accuracy` prints tables, with `--json` one flat object of the simulator's figures.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, Final

from pydantic import TypeAdapter

from bench.rivals import RIVALS, Found, Verdict
from processors.arrivals import Arrival, resolve
from processors.segments import SegmentState
from processors.vehicle import advance
from schemas.fix import Fix
from schemas.ids import scoped
from schemas.rules import Rules
from stream.simulator import SimulatedDay, SimulationConfig, simulate
from tests.scenario.test_real_data import CABS, cab_fixes
from tests.scenario.truth_score import Score, score_idling, score_trips
from tests.stream_harness import RECEIVED_AT

TOLERANCE_S: Final = 60.0
_FIXES: Final = TypeAdapter(list[Fix])
_RULES: Final = Rules()
Rule = Callable[[Sequence[Fix]], Verdict]


def ours(fixes: Sequence[Fix]) -> Verdict:
    """Fold the fixes as the worker does."""
    _, changes = advance(None, fixes, (), _RULES)
    return Verdict(
        [Found(one.started_at, one.ended_at, one.distance_m) for one in changes.trips.rows],
        [
            Found(one.started_at, one.ended_at)
            for one in changes.segments.rows
            if one.state is SegmentState.IDLING
        ],
    )


def in_order(arriving: Iterable[Fix]) -> list[Fix]:
    """Return what the stream folds, of fixes in any order: one an instant, by device time."""
    counting, _ = resolve(Arrival(fix, RECEIVED_AT) for fix in arriving)
    return [counting[at].fix for at in sorted(counting)]


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
        for whose, event in day.fixes:
            vehicle_id = scoped(whose, event["vehicle_id"])
            events[vehicle_id].append({**event, "vehicle_id": vehicle_id})
    rng = random.Random(11)
    fixes = {one: _FIXES.validate_python(reports) for one, reports in events.items()}
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


@dataclass(frozen=True, slots=True)
class Fare:
    """A passenger in a taxi, by its meter."""

    started_at: datetime
    ended_at: datetime


def fares() -> dict[str, list[Fare]]:
    """Return each recorded taxi's fares of two minutes or more."""
    found: defaultdict[str, list[Fare]] = defaultdict(list)
    with gzip.open(CABS, "rt", encoding="utf-8") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: (row["vehicle"], row["recorded_at"]))
    for (vehicle, occupied), run in groupby(rows, lambda row: (row["vehicle"], row["occupied"])):
        times = [datetime.fromisoformat(row["recorded_at"]) for row in run]
        if occupied == "1" and times[-1] - times[0] >= timedelta(minutes=2):
            found[f"recorded/{vehicle}"].append(Fare(times[0], times[-1]))
    return found


def on_taxis(rule: Rule) -> tuple[float, float]:
    """Return the share of fares that are mostly on a trip, and of fares' time that is."""
    fixes, met, total_s, covered_s, count = cab_fixes(), 0, 0.0, 0.0, 0
    for vehicle_id, its_fares in fares().items():
        trips = rule(in_order(fixes[vehicle_id])).trips
        for fare in its_fares:
            lasts_s = (fare.ended_at - fare.started_at).total_seconds()
            on_trip_s = sum(
                max(
                    0.0,
                    (
                        min(fare.ended_at, trip.ended_at) - max(fare.started_at, trip.started_at)
                    ).total_seconds(),
                )
                for trip in trips
            )
            count += 1
            met += on_trip_s >= lasts_s / 2
            total_s += lasts_s
            covered_s += on_trip_s
    return met / count, covered_s / total_s


def print_taxis() -> None:
    """Print how the rules do on recorded taxis, or why they are not tried."""
    if not CABS.exists():
        print(f"\nno recorded taxis: {CABS} is not there")
        return
    print("\non recorded taxis (fixes a minute apart, neither speed nor ignition)")
    results = [on_taxis(rule) for rule in (ours, *RIVALS.values())]
    for number, name in enumerate(("fares on a trip", "fare time on trip")):
        print(f"{name:18}" + "".join(f"{one[number]:10.4f}" for one in results))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    figures = run()
    if parser.parse_args().json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))
        return
    print(f"on the simulator's truth, ends within {TOLERANCE_S:.0f} s")
    names = ("trip_precision", "trip_recall", "km_error", "idle_error")
    print(f"{'':18}{'ours':>10}" + "".join(f"{name:>10}" for name in RIVALS))
    for name in names:
        row = [figures[name], *(figures[f"{rival}_{name}"] for rival in RIVALS)]
        print(f"{name:18}" + "".join(f"{value:10.4f}" for value in row))
    print_taxis()


if __name__ == "__main__":
    main()
