"""How vehicles move: roads with corners and lights, and the physics of driving along them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_ACCELERATION: Final = 1.3
"""Metres/second² of a calm driver."""
_BRAKING: Final = 1.6
_CORNER_MPS: Final = 5.5
_CRUISE_KMH: Final = ((700.0, 32.0), (2_000.0, 42.0), (6_000.0, 58.0), (math.inf, 76.0))
"""Cruising speed by length of the road in metres."""
_LIGHT_EVERY_M: Final = 2_500.0
_MOST_LIGHTS: Final = 3
_LIGHT_S: Final = (20.0, 60.0)


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Return the metres of a degree of latitude and of longitude (series for WGS 84)."""
    phi = math.radians(lat)
    return (
        111_132.954 - 559.822 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi),
        111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi),
    )


def moved(lat: float, lon: float, east_m: float, north_m: float) -> tuple[float, float]:
    """Return the point so many metres east and north of another, in degrees."""
    lat_m, lon_m = metres_per_degree(lat)
    return lat + north_m / lat_m, lon + east_m / lon_m


def apart_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Return the distance of two points of one municipality in metres."""
    lat_m, lon_m = metres_per_degree((lat + other_lat) / 2)
    return math.hypot((other_lat - lat) * lat_m, (other_lon - lon) * lon_m)


@dataclass(frozen=True, slots=True)
class Motion:
    """The true movement of a vehicle on one day; times are seconds since the day began.

    Between two knots the acceleration is constant. `path_m` runs along the road, with the
    vertices `path_lat`, `path_lon`; `course_deg` belongs to the stretch after a vertex.
    """

    knot_s: Floats
    knot_m: Floats
    knot_mps: Floats
    knot_mps2: Floats
    path_m: Floats
    path_lat: Floats
    path_lon: Floats
    course_deg: Floats
    engine_s: Floats
    """When the engine changes; it is off before the first, on after it, and so on."""
    drives: tuple[tuple[float, float, float], ...]
    """Departure and arrival, seconds, and metres along the road."""
    lights: tuple[tuple[float, float], ...]
    corners: tuple[float, ...]

    def at(self, times_s: Floats) -> tuple[Floats, Floats]:
        """Return metres along the road and metres/second at instants of the day."""
        index = np.searchsorted(self.knot_s, times_s, side="right") - 1
        since = times_s - self.knot_s[index]
        speed = self.knot_mps[index]
        rise = self.knot_mps2[index]
        along = self.knot_m[index] + speed * since + rise * since * since / 2
        return along, np.maximum(0.0, speed + rise * since)

    def positions(self, along_m: Floats) -> tuple[Floats, Floats, Floats]:
        """Return latitude, longitude and course, all in degrees, of places on the road."""
        stretch = np.searchsorted(self.path_m, along_m, side="right") - 1
        return (
            np.interp(along_m, self.path_m, self.path_lat),
            np.interp(along_m, self.path_m, self.path_lon),
            self.course_deg[np.clip(stretch, 0, len(self.course_deg) - 1)],
        )

    def engine_on(self, times_s: Floats) -> npt.NDArray[np.bool_]:
        """Return whether the engine runs at instants of the day."""
        return np.asarray(np.searchsorted(self.engine_s, times_s, side="right") % 2 == 1)


@dataclass(slots=True)
class Driver:
    """Drives one vehicle through one day and writes down what truly happens."""

    lat: float
    lon: float
    rng: np.random.Generator
    top_mps: float | None = None
    """The usual speed of a bike; None for what the road allows a car."""
    at_s: float = 0.0
    _along_m: float = 0.0
    _knots: list[tuple[float, float, float, float]] = field(default_factory=list)
    _path: list[tuple[float, float, float, float]] = field(default_factory=list)
    _engine: list[float] = field(default_factory=list)
    _drives: list[tuple[float, float, float]] = field(default_factory=list)
    _lights: list[tuple[float, float]] = field(default_factory=list)
    _corners: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._knots.append((self.at_s, 0.0, 0.0, 0.0))

    def wait(self, duration_s: float) -> None:
        """Stand for a while."""
        self.at_s += duration_s

    def turn_key(self) -> None:
        """Switch the engine: on if it is off, off if it is on."""
        self._engine.append(self.at_s)

    @property
    def engine_on(self) -> bool:
        """Whether the engine runs now."""
        return len(self._engine) % 2 == 1

    def drive_to(self, lat: float, lon: float) -> float:
        """Drive to a point and come to rest there; return the metres driven."""
        departed_s, departed_m = self.at_s, self._along_m
        corners = self._road(lat, lon)
        length_m = self._along_m - departed_m
        cruise = self._cruise_mps(length_m)
        slow = [(departed_m, 0.0, 0.0)]
        slow += [(at_m, min(cruise, _CORNER_MPS), 0.0) for at_m in corners]
        if self.top_mps is None:
            count = min(_MOST_LIGHTS, int(self.rng.poisson(length_m / _LIGHT_EVERY_M)))
            slow += [
                (departed_m + length_m * place, 0.0, wait_s)
                for place, wait_s in zip(
                    self.rng.uniform(0.05, 0.95, count).tolist(),
                    self.rng.uniform(*_LIGHT_S, count).tolist(),
                    strict=True,
                )
            ]
        slow.append((self._along_m, 0.0, 0.0))
        slow.sort()
        self._pass_through(slow, cruise, frozenset(corners))
        self._drives.append((departed_s, self.at_s, length_m))
        self.lat, self.lon = lat, lon
        return length_m

    def motion(self) -> Motion:
        """Return the day so far; the vehicle stands where it is from now on."""
        knots = np.array(self._knots)
        path = np.array([*self._path, (self._along_m, self.lat, self.lon, 0.0)])
        course = path[:-1, 3] if len(path) > 1 else np.zeros(1)
        return Motion(
            knot_s=knots[:, 0],
            knot_m=knots[:, 1],
            knot_mps=knots[:, 2],
            knot_mps2=knots[:, 3],
            path_m=path[:, 0],
            path_lat=path[:, 1],
            path_lon=path[:, 2],
            course_deg=course,
            engine_s=np.array(self._engine, dtype=np.float64),
            drives=tuple(self._drives),
            lights=tuple(self._lights),
            corners=tuple(self._corners),
        )

    def _cruise_mps(self, length_m: float) -> float:
        if self.top_mps is not None:
            usual = self.top_mps
        else:
            usual = next(kmh for limit_m, kmh in _CRUISE_KMH if length_m <= limit_m) / 3.6
        return usual * float(self.rng.uniform(0.9, 1.06))

    def _road(self, lat: float, lon: float) -> list[float]:
        """Lay a road with one to three right-angled corners; return where they are in metres.

        Streets run at an angle of 8 to 40 degrees to the bee-line, so that the road is 1.13 to
        1.41 times as long.
        """
        lat_m, lon_m = metres_per_degree((self.lat + lat) / 2)
        east, north = (lon - self.lon) * lon_m, (lat - self.lat) * lat_m
        bee_m, bearing = math.hypot(east, north), math.atan2(north, east)
        tilt = math.radians(float(self.rng.uniform(8, 40)))
        turn = 1.0 if self.rng.random() < 0.5 else -1.0  # noqa: PLR2004
        first, second = bearing + turn * tilt, bearing - turn * (math.pi / 2 - tilt)
        forward_m, sideways_m = bee_m * math.cos(tilt), bee_m * math.sin(tilt)
        split = float(self.rng.uniform(0.3, 0.7))
        match int(self.rng.integers(1, 4)):
            case 1:
                stretches = [(first, forward_m), (second, sideways_m)]
            case 2:
                stretches = [
                    (first, forward_m * split),
                    (second, sideways_m),
                    (first, forward_m * (1 - split)),
                ]
            case _:
                stretches = [
                    (first, forward_m * split),
                    (second, sideways_m * (1 - split)),
                    (first, forward_m * (1 - split)),
                    (second, sideways_m * split),
                ]
        corners: list[float] = []
        x_m = y_m = 0.0
        for number, (angle, length_m) in enumerate(stretches):
            if number:
                corners.append(self._along_m)
            course = (90.0 - math.degrees(angle)) % 360.0
            at = (self._along_m, self.lat + y_m / lat_m, self.lon + x_m / lon_m, course)
            self._path.append(at)
            x_m += length_m * math.cos(angle)
            y_m += length_m * math.sin(angle)
            self._along_m += length_m
        return corners

    def _pass_through(
        self, slow: list[tuple[float, float, float]], cruise: float, corners: frozenset[float]
    ) -> None:
        """Drive over places that are passed slowly, or waited at: metres, metres/second, seconds.

        No place is passed faster than the ones before and after it allow.
        """
        speeds = [speed for _, speed, _ in slow]
        for index in range(1, len(slow)):
            gap_m = slow[index][0] - slow[index - 1][0]
            reachable = math.sqrt(speeds[index - 1] ** 2 + 2 * _ACCELERATION * gap_m)
            speeds[index] = min(speeds[index], reachable)
        for index in range(len(slow) - 2, -1, -1):
            gap_m = slow[index + 1][0] - slow[index][0]
            stoppable = math.sqrt(speeds[index + 1] ** 2 + 2 * _BRAKING * gap_m)
            speeds[index] = min(speeds[index], stoppable)
        for index, (at_m, _, wait_s) in enumerate(slow[:-1]):
            if at_m in corners:
                self._corners.append(self.at_s)
            if wait_s:
                self._knots.append((self.at_s, at_m, 0.0, 0.0))
                self._lights.append((self.at_s, self.at_s + wait_s))
                self.at_s += wait_s
            self._stretch(at_m, slow[index + 1][0], speeds[index], speeds[index + 1], cruise)
        self._knots.append((self.at_s, slow[-1][0], 0.0, 0.0))

    def _stretch(
        self, from_m: float, to_m: float, from_mps: float, to_mps: float, cruise: float
    ) -> None:
        """Accelerate, cruise and brake between two places."""
        length_m = to_m - from_m
        possible = (
            2 * _ACCELERATION * _BRAKING * length_m
            + _BRAKING * from_mps**2
            + _ACCELERATION * to_mps**2
        ) / (_ACCELERATION + _BRAKING)
        peak = max(from_mps, to_mps, min(cruise, math.sqrt(possible)))
        rising_s = (peak - from_mps) / _ACCELERATION
        falling_s = (peak - to_mps) / _BRAKING
        rising_m = (from_mps + peak) / 2 * rising_s
        falling_m = (peak + to_mps) / 2 * falling_s
        cruising_m = max(0.0, length_m - rising_m - falling_m)
        cruising_s = cruising_m / peak if peak > 0 else 0.0
        self._knots.append((self.at_s, from_m, from_mps, _ACCELERATION))
        self.at_s += rising_s
        self._knots.append((self.at_s, from_m + rising_m, peak, 0.0))
        self.at_s += cruising_s
        self._knots.append((self.at_s, to_m - falling_m, peak, -_BRAKING))
        self.at_s += falling_s
