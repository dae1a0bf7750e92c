"""Readers of OR-Library's location problems (Beasley 1990), and their published optima."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from optimizer.work_budget import Floats

DATA: Final = Path(__file__).resolve().parents[1].parent / "shared" / "data"
P_MEDIAN: Final = DATA / "pmedian"
FACILITY: Final = DATA / "facility"

OPTIMA: Final[Mapping[str, float]] = {
    "pmed1": 5819,
    "pmed6": 7824,
    "pmed11": 7696,
    "pmed16": 8162,
    "pmed21": 9138,
    "pmed26": 9917,
    "pmed31": 10086,
    "pmed35": 10400,
    "pmed40": 5128,
    "cap71": 932615.750,
    "cap72": 977799.400,
    "cap73": 1010641.450,
    "cap74": 1034976.975,
    "cap101": 796648.437,
    "cap131": 793439.562,
}
"""By the file's name without its ending; of a file that is not here nothing is known to us."""


def p_median_files() -> list[Path]:
    """Return the p-median files that are there, the smallest first."""
    return sorted(P_MEDIAN.glob("pmed*.txt"), key=lambda path: (path.stat().st_size, path.name))


def facility_files() -> list[Path]:
    """Return the facility location files that are there, by name."""
    return sorted(FACILITY.glob("cap*.txt"))


def read_p_median(file: Path) -> tuple[Floats, int]:
    """Return shortest distances between all nodes, and p.

    Where an edge is listed twice the last line counts.
    """
    numbers = file.read_text().split()
    nodes, edges, p = (int(number) for number in numbers[:3])
    distance = np.full((nodes, nodes), np.inf)
    np.fill_diagonal(distance, 0)
    for edge in range(edges):
        index, other, length = (int(text) for text in numbers[3 + 3 * edge : 6 + 3 * edge])
        distance[index - 1, other - 1] = distance[other - 1, index - 1] = length
    for via in range(nodes):
        np.minimum(distance, distance[:, via, None] + distance[None, via], out=distance)
    return distance, p


def read_facility(file: Path) -> tuple[Floats, Floats]:
    """Return what serving each customer from each site costs, and what opening each site costs.

    Raises `ValueError` where a capacity could bind: splitting customers is not ours.
    """
    numbers = iter(file.read_text().split())
    sites, customers = int(next(numbers)), int(next(numbers))
    capacity, opening = np.zeros(sites), np.zeros(sites)
    for site in range(sites):
        capacity[site], opening[site] = float(next(numbers)), float(next(numbers))
    demand, costs = np.zeros(customers), np.zeros((customers, sites))
    for customer in range(customers):
        demand[customer] = float(next(numbers))
        costs[customer] = [float(next(numbers)) for _ in range(sites)]
    if capacity.min() < demand.sum():
        raise ValueError(
            f"{file.name}: a site takes {capacity.min():g} of a demand of {demand.sum():g}; give "
            "a file whose capacities do not bind"
        )
    return costs, opening
