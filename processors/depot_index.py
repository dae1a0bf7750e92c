"""Where depots are: which one holds a point, at next to no cost for a point that is far from all.

Depots are looked up in cells of a hundredth of a degree. Only a point in a cell that a depot
touches is looked at closer, and only one near the rim of a circle costs a geodesic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import cos, floor, radians
from typing import Any, Final, NamedTuple, overload

import shapely

from processors.geodesy import Point, distance_m
from schemas.fleet.master_data import Depot

_CELLS_PER_DEG: Final = 100
_MOST_CELLS: Final = 400
"""A depot that touches more is looked at for every point: some 20 km across."""
_SHORTEST_DEG_M: Final = 110_500.0
"""No degree of latitude is shorter, and none of longitude, times the cosine of its latitude."""
_LONGEST_DEG_M: Final = 111_800.0
"""Neither is longer."""
_SURELY_INSIDE: Final = 0.7
"""A square of so many radii to each side lies within the circle."""
_FLAT_M: Final = 10_000.0
"""Up to here a circle on the ellipsoid is one on paper, within a hundredth."""


class _Place(NamedTuple):
    """A depot, the rectangle that it lies in, and one that lies in it, in degrees."""

    depot_id: str
    centre: Point
    radius_m: float
    polygon: Any
    """A prepared shapely polygon of (lon, lat), or None."""
    south: float
    north: float
    west: float
    east: float
    inner_lat: float
    inner_lon: float
    """Half of the inner rectangle's sides; below 0 where there is none."""

    def holds(self, lat: float, lon: float) -> bool:
        """Return whether a point of its rectangle lies in the depot; its rim is part of it."""
        if self.polygon is not None:
            return bool(shapely.intersects_xy(self.polygon, lon, lat))
        centre_lat, centre_lon = self.centre
        if abs(lat - centre_lat) <= self.inner_lat and abs(lon - centre_lon) <= self.inner_lon:
            return True
        return distance_m(self.centre, Point(lat, lon)) <= self.radius_m


class DepotIndex(Sequence[Depot]):
    """Depots in a form that answers quickly which of them holds a point."""

    def __init__(self, depots: Iterable[Depot] = ()) -> None:
        self._depots = tuple(depots)
        cells: defaultdict[tuple[int, int], list[_Place]] = defaultdict(list)
        wide = []
        for place in map(_placed, self._depots):
            rows = range(_cell(place.south), _cell(place.north) + 1)
            columns = range(_cell(place.west), _cell(place.east) + 1)
            if len(rows) * len(columns) > _MOST_CELLS:
                wide.append(place)
                continue
            for row in rows:
                for column in columns:
                    cells[row, column].append(place)
        self._wide = tuple(wide)
        self._cells = {cell: (*there, *wide) for cell, there in cells.items()}

    @overload
    def __getitem__(self, index: int) -> Depot: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Depot]: ...
    def __getitem__(self, index: int | slice) -> Depot | Sequence[Depot]:
        return self._depots[index]

    def __len__(self) -> int:
        return len(self._depots)

    def __iter__(self) -> Iterator[Depot]:
        return iter(self._depots)

    def at(self, point: Point) -> str | None:
        """Return the depot that holds a point; None where none does.

        Of several, one with a polygon comes first, since somebody has drawn it with care; then
        the one whose point is nearest; then the first id.
        """
        lat, lon = point
        near = self._cells.get(
            (floor(lat * _CELLS_PER_DEG), floor(lon * _CELLS_PER_DEG)), self._wide
        )
        if not near:
            return None
        places = [
            place
            for place in near
            # Most that are near are ruled out here, without a call.
            if place.south <= lat <= place.north
            and place.west <= lon <= place.east
            and place.holds(lat, lon)
        ]
        if len(places) <= 1:
            return places[0].depot_id if places else None
        return min(
            (place.polygon is None, distance_m(place.centre, point), place.depot_id)
            for place in places
        )[2]


def index_depots(depots: Sequence[Depot]) -> DepotIndex:
    """Return depots as places; the same object where they are."""
    return depots if isinstance(depots, DepotIndex) else DepotIndex(depots)


def _cell(degrees: float) -> int:
    return floor(degrees * _CELLS_PER_DEG)


def _placed(depot: Depot) -> _Place:
    centre = Point(depot.lat, depot.lon)
    if depot.polygon is not None:
        polygon = shapely.Polygon([(lon, lat) for lat, lon in depot.polygon])
        shapely.prepare(polygon)
        west, south, east, north = polygon.bounds
        return _Place(
            depot.depot_id, centre, depot.radius_m, polygon, south, north, west, east, -1.0, -1.0
        )
    radius_m = depot.radius_m
    rise = radius_m / _SHORTEST_DEG_M
    south, north = depot.lat - rise, depot.lat + rise
    # The circle's widest parallel lies towards the pole: its rectangle is that of the shortest.
    shortest = cos(radians(min(90.0, abs(depot.lat) + rise)))
    reach = radius_m / (_SHORTEST_DEG_M * shortest) if shortest > 1e-9 else 360.0  # noqa: PLR2004
    west, east = depot.lon - reach, depot.lon + reach
    if west < -180.0 or east > 180.0:  # noqa: PLR2004 - it reaches across the date line
        west, east = -180.0, 180.0
    inner_lat = inner_lon = -1.0
    if radius_m <= _FLAT_M and shortest > 0.1:  # noqa: PLR2004 - not near a pole
        inner_lat = _SURELY_INSIDE * radius_m / _LONGEST_DEG_M
        longest = cos(radians(max(0.0, abs(depot.lat) - rise)))
        inner_lon = _SURELY_INSIDE * radius_m / (_LONGEST_DEG_M * longest)
    return _Place(
        depot.depot_id,
        centre,
        radius_m,
        None,
        south,
        north,
        west,
        east,
        inner_lat,
        inner_lon,
    )
