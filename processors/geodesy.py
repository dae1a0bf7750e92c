"""Points and distances on the WGS 84 ellipsoid."""

from __future__ import annotations

from typing import Final, NamedTuple

from pyproj import Geod

_GEOD: Final = Geod(ellps="WGS84")


class Point(NamedTuple):
    """A position in degrees."""

    lat: float
    lon: float


def distance_m(start: Point, end: Point) -> float:
    """Return the length of the geodesic between two points in metres."""
    if start == end:
        return 0.0
    _, _, length_m = _GEOD.inv(start.lon, start.lat, end.lon, end.lat)
    return float(length_m)
