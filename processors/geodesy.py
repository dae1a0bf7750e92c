"""Points and distances on the WGS 84 ellipsoid."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

_GEOD: Final = Geod(ellps="WGS84")


class Point(NamedTuple):
    """A position in degrees."""

    lat: float
    lon: float


_MIN_M_PER_DEG: Final = 110_500.0
_MOST_M_PER_DEG: Final = 111_700.0
"""A degree of latitude is never shorter or longer, and one of longitude never longer."""


def is_within(start: Point, end: Point, limit_m: float) -> bool:
    """Return whether `distance_m` of two points is at most a limit.

    Most pairs are told by their degrees alone: the geodesic is as long as the way north at least,
    and no longer than the way north and then east.
    """
    north, east = abs(start[0] - end[0]), abs(start[1] - end[1])
    if north * _MIN_M_PER_DEG > limit_m:
        return False
    if (north + east) * _MOST_M_PER_DEG <= limit_m:
        return True
    return distance_m(start, end) <= limit_m


def lengths_m(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return `distance_m` of each point from the one before it; of the first one 0."""
    lengths = np.zeros(len(lat))
    if len(lat) > 1:
        _, _, lengths[1:] = _GEOD.inv(lon[:-1], lat[:-1], lon[1:], lat[1:])
        lengths[1:][(lat[:-1] == lat[1:]) & (lon[:-1] == lon[1:])] = 0.0
    return lengths


def distance_m(start: Point, end: Point) -> float:
    """Return the length of the geodesic between two points in metres."""
    if start == end:
        return 0.0
    _, _, length_m = _GEOD.inv(start.lon, start.lat, end.lon, end.lat)
    return float(length_m)
