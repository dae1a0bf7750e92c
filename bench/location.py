"""Our p-median and facility location beside known answers, and the whole model by spopt and HiGHS.

spopt gets problems of up to 200 nodes, since of larger ones it spends its time on writing the
model, and 20 s for each. Its gap is measured against our proven optimum, and its time is that of
the model and the solver; ours on the same problems stands beside it.
"""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Final

import numpy as np

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
from optimizer.work_budget import Floats

SEARCH: Final = Search(seed=1, time_limit_s=55)
_SPOPT_LIMIT_S: Final = 20.0
_SPOPT_NODES: Final = 200
_OPEN: Final = 0.5
_SAME: Final = 1e-6

Figures = dict[str, float]


def _check(file: Path, location: Location) -> None:
    """Raise `RuntimeError` when an answer contradicts what is published."""
    published = OPTIMA.get(file.stem)
    if published is None:
        return
    beyond = location.bound > published * (1 + _SAME) or location.objective < published * (
        1 - _SAME
    )
    if beyond:
        raise RuntimeError(
            f"{file.stem}: found {location.objective} with bound {location.bound}, "
            f"published is {published}"
        )


def p_median_figures() -> Figures:
    """Return the worst gap and time over the files that are there; nothing without files."""
    files = p_median_files()
    if not files:
        print(f"no figures of p-median: no files in {P_MEDIAN.name} of the shared data")
        return {}
    gaps: list[float] = []
    took_s: list[float] = []
    small: list[float] = []
    spopt_gaps: list[float] = []
    spopt_s: list[float] = []
    for file in files:
        costs, p = read_p_median(file)
        began = time.perf_counter()
        location = p_median(costs, p, SEARCH)
        took_s.append(time.perf_counter() - began)
        gaps.append(location.gap)
        _check(file, location)
        if len(costs) <= _SPOPT_NODES:
            small.append(took_s[-1])
            cost, seconds = _spopt(costs, p)
            spopt_gaps.append((cost - location.bound) / cost if cost else 1.0)
            spopt_s.append(seconds)
    figures = {"pmedian_worst_gap": max(gaps), "pmedian_worst_s": max(took_s)}
    if small:
        figures |= {
            "pmedian_worst_s_to_200_nodes": max(small),
            "spopt_pmedian_worst_s_to_200_nodes": max(spopt_s),
            "spopt_pmedian_worst_gap_to_200_nodes": max(spopt_gaps),
        }
    return figures


def _spopt(costs: Floats, p: int) -> tuple[float, float]:
    """Return the cost that spopt finds, 0 when it finds none, and the seconds that it took."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what spopt's own dependencies deprecate
        import pulp  # noqa: PLC0415 - slow to load, and only here
        from spopt.locate import PMedian  # noqa: PLC0415

        began = time.perf_counter()
        model = PMedian.from_cost_matrix(costs, np.ones(len(costs)), p_facilities=p)
        model.problem.solve(pulp.HiGHS(msg=False, timeLimit=_SPOPT_LIMIT_S, threads=2))
    took_s = time.perf_counter() - began
    chosen = [
        site for site, variable in enumerate(model.fac_vars) if (variable.value() or 0.0) > _OPEN
    ]
    if len(chosen) != p:
        return 0.0, took_s
    return float(costs[:, chosen].min(axis=1).sum()), took_s


def facility_figures() -> Figures:
    """Return the worst gap and time over the files that are there; nothing without files."""
    files = facility_files()
    if not files:
        print(f"no figures of facility location: no files in {FACILITY.name} of the shared data")
        return {}
    gaps: list[float] = []
    took_s: list[float] = []
    for file in files:
        costs, opening = read_facility(file)
        began = time.perf_counter()
        location = facility_location(costs, opening, SEARCH)
        took_s.append(time.perf_counter() - began)
        gaps.append(location.gap)
        _check(file, location)
    return {"facility_worst_gap": max(gaps), "facility_worst_s": max(took_s)}
