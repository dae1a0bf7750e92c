"""How good routes are: ours, which PyVRP searches for, against best known solutions.

Each instance gets the same seconds of one core, as `plan_routes` counts them. `python -m
bench.routes` prints a table, with `--json` one flat object: `routes_worst_gap`,
`routes_mean_gap`, `routes_worst_cpu_s`, and a gap an instance. Instances are read from
`../shared/data/vrp`, or another folder with `--folder`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Final

from bench.vrplib_instances import DATA, instances, read
from optimizer.routes.solve import plan_routes
from schemas.plans.routes import RouteSearch

SECONDS: Final = 15.0


def run(
    folder: Path = DATA, *, seconds: float = SECONDS, seed: int = 1, starts: int = 1
) -> dict[str, float]:
    """Return gaps to the best known solutions and CPU seconds; nothing without instances."""
    gaps: dict[str, float] = {}
    cpu_s: list[float] = []
    for path in instances(folder):
        instance = read(path)
        search = RouteSearch(seed=seed, time_limit_s=seconds / starts, chains=starts)
        began_s = time.process_time()
        plan = plan_routes(instance.inputs, search, instance.travel)
        cpu_s.append(time.process_time() - began_s)
        gaps[f"routes_gap_{path.stem}"] = plan.objective_dkk / instance.best_known_dkk - 1
    if not gaps:
        return {}
    return {
        "routes_worst_gap": max(gaps.values()),
        "routes_mean_gap": sum(gaps.values()) / len(gaps),
        "routes_worst_cpu_s": max(cpu_s),
    } | gaps


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    parser.add_argument("--folder", type=Path, default=DATA, help="of .vrp files with their .sol")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="CPU for each instance")
    parser.add_argument("--starts", type=int, default=1, help="searches that share the seconds")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    figures = run(asked.folder, seconds=asked.seconds, seed=asked.seed, starts=asked.starts)
    if asked.json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))
        return
    if not figures:
        print(f"no figures: no instances in {asked.folder}")
    for name, value in figures.items():
        print(f"{name:34}{value:10.4f}")


if __name__ == "__main__":
    main()
