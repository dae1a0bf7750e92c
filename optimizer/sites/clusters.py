"""Places that round trips go to, gathered by the cells of a grid.

A grid and not k-means or the like: which cell a stop is in depends on nothing but where it is. No
start, no seed and no other stop has a say, so that the same rows give the same places in whatever
order they are read, and a week more moves no border between them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from math import cos, floor, radians
from typing import Final, NamedTuple

from schemas.plans.travel import Place

STOP_CELL_M: Final = 500.0
"""Side of a cell of stops: some minutes on foot, which no choice of a site hangs on (ours)."""

SITE_CELL_M: Final = 2_000.0
"""Side of a cell that may have a site: a part of town (ours). Finer than the hundredth of a degree
that people are shown would say no more, and single addresses are no sites."""

STOP_DECIMALS: Final = 3
"""About 100 m, as carpooling has it: the same address is one stop."""

_M_PER_DEG: Final = 111_200.0
_MIN_COS: Final = 0.01


class GridCell(NamedTuple):
    """A cell's row from the equator, and its column from Greenwich in that row."""

    row: int
    column: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a vehicle stopped."""

    lat: float
    lon: float
    vehicle_id: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """The stops of a cell: their mean, how many, and of how many vehicles."""

    place: Place
    stops: int
    vehicles: int


def cell_of(lat: float, lon: float, cell_m: float) -> GridCell:
    """Return the cell of a position: rows of equal height, columns as wide as their row's middle.

    `lat` and `lon` are degrees, `cell_m` is the side of a cell in metres.
    """
    height_deg = cell_m / _M_PER_DEG
    row = floor(lat / height_deg)
    # At the poles a column is a hundred times as wide rather than endless.
    width_deg = height_deg / max(_MIN_COS, cos(radians((row + 0.5) * height_deg)))
    return GridCell(row, floor(lon / width_deg))


def clusters_of(stops: Iterable[Stop], cell_m: float) -> dict[GridCell, Cluster]:
    """Return the cells that have stops, in the order of cells.

    Stops count to `STOP_DECIMALS`, and in whole steps of that, whose sums no order changes.
    """
    gathered: defaultdict[GridCell, list[tuple[int, int, str]]] = defaultdict(list)
    for stop in stops:
        step = _steps(stop.lat), _steps(stop.lon), stop.vehicle_id
        gathered[cell_of(stop.lat, stop.lon, cell_m)].append(step)
    return {cell: _cluster(gathered[cell]) for cell in sorted(gathered)}


def _steps(degrees: float) -> int:
    return round(degrees * 10**STOP_DECIMALS)


def _cluster(stops: Collection[tuple[int, int, str]]) -> Cluster:
    count = len(stops)
    steps = count * 10**STOP_DECIMALS
    return Cluster(
        Place(sum(lat for lat, _, _ in stops) / steps, sum(lon for _, lon, _ in stops) / steps),
        count,
        len({vehicle_id for _, _, vehicle_id in stops}),
    )
