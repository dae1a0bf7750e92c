"""How good routes are: ours beside PyVRP, against best known solutions.

Each gets the same instances and the same seconds on the clock: we two processes, as on a server of
two cores, PyVRP its one thread. `python -m bench.routes` prints a table, with `--json` one flat
object: `routes_worst_gap`, `routes_mean_gap` and a gap an instance; PyVRP's behind `pyvrp_`.
Instances are read from `../shared/data/vrp`, or another folder with `--folder`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyvrp
from pyvrp.constants import MAX_VALUE
from pyvrp.stop import MaxRuntime

from bench.vrplib_instances import DATA, Instance, instances, read
from optimizer.routes.problem import RouteProblem, route_problem_of, ways_of
from optimizer.routes.solve import plan_routes
from schemas.plans.routes import RouteSearch

SECONDS: Final = 30.0
CHAINS: Final = 2

_TENTHS: Final = 10
_HUNDREDTHS: Final = 100
"""PyVRP counts distances and costs in whole numbers."""
_LARGEST_PENALTY: Final = 1e7
_OVERHEAD_S: Final = 0.5
"""Of the seconds, for building models and the bound: the guard ends before."""


def ours(instance: Instance, seconds: float, seed: int) -> float:
    """Return our gap to the best known solution, everything within the seconds."""
    plan = plan_routes(
        instance.inputs,
        RouteSearch(
            seed=seed,
            time_limit_s=seconds,
            wall_limit_s=max(seconds / 2, seconds - _OVERHEAD_S),
            chains=CHAINS,
        ),
        instance.travel,
        clock=time.monotonic,
    )
    return plan.objective_dkk / instance.best_known_dkk - 1


def pyvrps(instance: Instance, seconds: float, seed: int) -> float:
    """Return PyVRP's gap on the same numbers; infinite without a feasible solution."""
    ways = ways_of(instance.inputs, instance.travel)
    problem = route_problem_of(instance.inputs, ways)
    result = pyvrp.solve(
        pyvrp_data(problem),
        stop=MaxRuntime(seconds),
        seed=seed,
        collect_stats=False,
        # Else it pays to overload a vehicle where fixed costs are thousands: nothing is feasible.
        params=pyvrp.SolveParams(penalty=pyvrp.PenaltyParams(max_penalty=_LARGEST_PENALTY)),
    )
    if not result.is_feasible():
        return float("inf")
    costs_per_dkk = 1 if problem.timed else _TENTHS * _HUNDREDTHS
    return float(result.cost()) / costs_per_dkk / instance.best_known_dkk - 1


def pyvrp_data(problem: RouteProblem) -> pyvrp.ProblemData:
    """Return a problem of one depot in PyVRP's words and whole numbers.

    A timed problem has whole metres and seconds at 1 DKK a metre. Else distances are in tenths,
    unit costs in hundredths, and costs in thousandths. Competences are profiles in which the way to
    whom a vehicle must not visit is as long as PyVRP allows, as its own reader of files has it.
    """
    scale = 1 if problem.timed else _TENTHS
    order = [problem.start[0], *range(problem.visits)]
    ways = np.rint(problem.distance_m[0][np.ix_(order, order)] * scale).astype(np.int64)
    crews = sorted({tuple(column) for column in problem.allowed.T.tolist()})
    profiles = []
    for crew in crews:
        profile = ways.copy()
        forbidden = np.flatnonzero(~np.array(crew)) + 1
        profile[:, forbidden] = profile[forbidden, :] = MAX_VALUE
        np.fill_diagonal(profile, 0)
        profiles.append(profile)
    windows: list[dict[str, Any]] = [
        {"tw_early": round(early_s), "tw_late": round(late_s)} if problem.timed else {}
        for early_s, late_s in zip(problem.earliest_s, problem.latest_s, strict=True)
    ]
    return pyvrp.ProblemData(
        locations=[pyvrp.Location(x=0, y=0) for _ in order],
        clients=[
            pyvrp.Client(
                location=visit + 1,
                delivery=[round(problem.demand[visit])],
                service_duration=round(problem.service_s[visit]),
                **windows[visit],
            )
            for visit in range(problem.visits)
        ],
        depots=[pyvrp.Depot(location=0)],
        vehicle_types=[_vehicle_type(problem, kind, crews) for kind in sorted(set(problem.kind))],
        distance_matrices=profiles,
        # As long as that in time, penalties overflow and PyVRP does not end.
        duration_matrices=[ways if problem.timed else np.zeros_like(ways)] * len(profiles),
    )


def _vehicle_type(
    problem: RouteProblem, kind: int, crews: Sequence[tuple[bool, ...]]
) -> pyvrp.VehicleType:
    vehicle = problem.kind.index(kind)
    metres, unit = (1, 1) if problem.timed else (_TENTHS, _HUNDREDTHS)
    shift: dict[str, Any] = {
        "tw_early": round(problem.shift_from_s[vehicle]),
        "tw_late": round(problem.shift_to_s[vehicle]),
        "shift_duration": round(problem.max_duration_s[vehicle]),
    }
    return pyvrp.VehicleType(
        num_available=problem.kind.count(kind),
        capacity=[round(problem.capacity[vehicle])],
        fixed_cost=round(problem.fixed_dkk[vehicle] * metres * unit),
        unit_distance_cost=round(problem.dkk_per_m[vehicle] * unit),
        profile=crews.index(tuple(problem.allowed[:, vehicle].tolist())),
        **(shift if problem.timed else {}),
    )


def run(
    folder: Path = DATA, *, seconds: float = SECONDS, seed: int = 1, rivals: bool = True
) -> dict[str, float]:
    """Return gaps to the best known solutions, ours and PyVRP's; nothing without instances."""
    solvers = {"": ours} | ({"pyvrp_": pyvrps} if rivals else {})
    figures: dict[str, float] = {}
    for prefix, solver in solvers.items():
        gaps = {}
        for path in instances(folder):
            gaps[path.stem] = solver(read(path), seconds, seed)
        if gaps:
            figures[f"{prefix}routes_worst_gap"] = max(gaps.values())
            figures[f"{prefix}routes_mean_gap"] = sum(gaps.values()) / len(gaps)
        figures |= {f"{prefix}routes_gap_{name}": gap for name, gap in gaps.items()}
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one flat object of figures")
    parser.add_argument("--folder", type=Path, default=DATA, help="of .vrp files with their .sol")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each instance")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    figures = run(asked.folder, seconds=asked.seconds, seed=asked.seed)
    if asked.json:
        print(json.dumps({name: round(value, 5) for name, value in figures.items()}))
        return
    if not figures:
        print(f"no figures: no instances in {asked.folder}")
        return
    names = [name for name in figures if not name.startswith("pyvrp_")]
    print(f"gap to the best known solution in {asked.seconds:.0f} s")
    print(f"{'':34}{'ours':>10}{'PyVRP':>10}")
    for name in names:
        print(f"{name:34}{figures[name]:10.4f}{figures[f'pyvrp_{name}']:10.4f}")


if __name__ == "__main__":
    main()
