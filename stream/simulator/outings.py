"""What vehicles leave a depot for: home care, errands, meetings, deliveries, bicycle tours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from schemas.fleet.master_data import Depot
from stream.simulator.drive import apart_m, moved
from stream.simulator.towns import Town

_MINUTE: Final = 60.0
_HOUR: Final = 3600.0
_SUMMER: Final = range(5, 10)
_WARM_UP: Final = 0.35
"""Chance that somebody warms the engine up before an outing."""
_WARM_UP_IN_SUMMER: Final = 0.1
_ENGINE_LEFT_ON: Final = 0.12
"""Chance that the engine runs on for minutes on a visit."""
_AFTERNOON_ROUND: Final = 0.75
_OTHER_TOWN: Final = 0.4
"""Chance that an errand leads to the middle of a town."""
_QUICK: Final = 0.25
"""Share of a van's halts that take about a minute, with the engine on."""
_CLEAR_OF_DEPOTS_M: Final = 500.0
_APART_M: Final = 400.0
"""Nearer than this one would walk."""
_MEETING_BEGINS_H: Final = (9.0, 9.5, 13.0)
_EXPECTED_MPS: Final = 13.0
"""As the crow flies: what somebody allows who must be there in time."""
_EARLY_S: Final = 600.0
_TRIES: Final = 30


@dataclass(frozen=True, slots=True)
class SimulatedVisit:
    """A halt on an outing: where, how long, and how long the engine runs on after arrival."""

    lat: float
    lon: float
    stay_s: float
    engine_on_s: float


@dataclass(frozen=True, slots=True)
class SimulatedOuting:
    """Visits one after the other, and then to a depot, by index.

    `starts_s` are seconds from midnight by the clock on the wall.
    """

    starts_s: float
    warm_up_s: float
    visits: tuple[SimulatedVisit, ...]
    to_depot: int


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where people of all depots are expected at the same time, by the clock on the wall."""

    lat: float
    lon: float
    begins_s: float
    lasts_s: float


@dataclass(frozen=True, slots=True)
class Outings:
    """Draws the outings of one day in one municipality."""

    towns: Sequence[Town]
    depots: Sequence[Depot]
    on: date
    rng: np.random.Generator

    def home_care(self, depot: int) -> list[SimulatedOuting]:
        """Return a morning round and mostly an afternoon round of visits to people at home."""
        rounds = [self._round(depot, 7.0, 7.6, int(self.rng.integers(5, 11)))]
        if self.rng.random() < _AFTERNOON_ROUND:
            rounds.append(self._round(depot, 12.2, 13.0, int(self.rng.integers(5, 8))))
        return rounds

    def errands(self, depot: int, count: int) -> list[SimulatedOuting]:
        """Return errands to one to three places each, also in other towns."""
        starts = np.sort(self.rng.uniform(8.0, 14.5, count)).tolist()
        return [
            self._outing(
                depot,
                start,
                [self._errand_place(depot) for _ in range(int(self.rng.integers(1, 4)))],
                (15.0, 60.0),
            )
            for start in starts
        ]

    def meeting(self) -> Meeting:
        """Return the day's meeting: of a team, a course, a hearing, in the middle of a town."""
        town = self.towns[int(self.rng.integers(len(self.towns)))]
        return Meeting(
            *self._around(town.lat, town.lon, 0.0, 1.5),
            float(self.rng.choice(_MEETING_BEGINS_H)) * _HOUR,
            float(self.rng.uniform(60.0, 120.0)) * _MINUTE,
        )

    def attend(self, depot: int, meeting: Meeting) -> SimulatedOuting:
        """Return the drive to a meeting, some minutes early, and back once it is over."""
        home = self.depots[depot]
        away_m = apart_m(home.lat, home.lon, meeting.lat, meeting.lon)
        early_s = float(self.rng.uniform(0.0, _EARLY_S))
        visit = SimulatedVisit(meeting.lat, meeting.lon, meeting.lasts_s + early_s, 8.0)
        return SimulatedOuting(
            meeting.begins_s - early_s - away_m / _EXPECTED_MPS, 0.0, (visit,), depot
        )

    def deliveries(self, depot: int) -> list[SimulatedOuting]:
        """Return two tours of a van: meals, linen, tools, repairs."""
        return [
            self._outing(
                depot,
                float(self.rng.uniform(early_h, late_h)),
                [self._near(depot, 0.8, 7.0) for _ in range(int(self.rng.integers(4, 9)))],
                (4.5, 16.0),
                quick=_QUICK,
            )
            for early_h, late_h in ((6.9, 7.5), (12.0, 12.8))
        ]

    def cycling(self, depot: int, *, electric: bool) -> list[SimulatedOuting]:
        """Return one to three short tours, begun from seven on and done by half past three."""
        starts = np.sort(self.rng.uniform(7.2, 13.5, int(self.rng.integers(1, 4)))).tolist()
        return [
            self._outing(
                depot,
                start,
                [
                    self._near(depot, 0.6, 2.2 if electric else 1.6)
                    for _ in range(int(self.rng.integers(1, 4)))
                ],
                (8.0, 20.0),
            )
            for start in starts
        ]

    def transfer(self, to_depot: int, early_h: float, late_h: float) -> SimulatedOuting:
        """Return the drive to another depot, where the vehicle stays."""
        return SimulatedOuting(float(self.rng.uniform(early_h, late_h)) * _HOUR, 0.0, (), to_depot)

    def _round(self, depot: int, early_h: float, late_h: float, visits: int) -> SimulatedOuting:
        lat, lon = self._near(depot, 1.2, 6.0)
        places = [self._around(lat, lon, 0.0, 1.8) for _ in range(visits)]
        return self._outing(depot, float(self.rng.uniform(early_h, late_h)), places, (10.0, 25.0))

    def _outing(
        self,
        depot: int,
        start_h: float,
        places: Sequence[tuple[float, float]],
        stay_min: tuple[float, float],
        *,
        quick: float = 0.0,
    ) -> SimulatedOuting:
        """Return an outing that ends at the depot where it starts."""
        visits = tuple(
            self._visit(lat, lon, stay_min, quick=quick) for lat, lon in _spread_out(places)
        )
        chance = _WARM_UP_IN_SUMMER if self.on.month in _SUMMER else _WARM_UP
        warm_up_s = float(self.rng.uniform(60, 420)) if self.rng.random() < chance else 0.0
        return SimulatedOuting(start_h * _HOUR, warm_up_s, visits, depot)

    def _visit(
        self, lat: float, lon: float, stay_min: tuple[float, float], *, quick: float
    ) -> SimulatedVisit:
        if self.rng.random() < quick:
            stay_s = float(self.rng.uniform(40, 100))
            return SimulatedVisit(lat, lon, stay_s, stay_s)
        stay_s = float(self.rng.uniform(*stay_min)) * _MINUTE
        engine_on_s = float(self.rng.uniform(4, 14))
        if self.rng.random() < _ENGINE_LEFT_ON:
            engine_on_s = min(float(self.rng.uniform(4, 15)) * _MINUTE, stay_s - 15)
        return SimulatedVisit(lat, lon, stay_s, engine_on_s)

    def _errand_place(self, depot: int) -> tuple[float, float]:
        if self.rng.random() >= _OTHER_TOWN:
            return self._near(depot, 1.0, 7.0)
        home = self.depots[depot]
        drawn = [self.towns[int(self.rng.integers(len(self.towns)))] for _ in range(2)]
        nearer = min(drawn, key=lambda town: apart_m(home.lat, home.lon, town.lat, town.lon))
        return self._around(nearer.lat, nearer.lon, 0.6, 1.5)

    def _near(self, depot: int, from_km: float, to_km: float) -> tuple[float, float]:
        home = self.depots[depot]
        return self._around(home.lat, home.lon, from_km, to_km)

    def _around(self, lat: float, lon: float, from_km: float, to_km: float) -> tuple[float, float]:
        """Return a place in a ring around another, clear of every depot."""
        for _ in range(_TRIES):
            away_m = 1000 * float(self.rng.uniform(from_km, to_km))
            angle = float(self.rng.uniform(0, 2 * math.pi))
            place = moved(lat, lon, away_m * math.cos(angle), away_m * math.sin(angle))
            if all(
                apart_m(*place, depot.lat, depot.lon) >= _CLEAR_OF_DEPOTS_M for depot in self.depots
            ):
                return place
        raise AssertionError(f"no place {from_km} to {to_km} km from {lat}, {lon} is clear")


def _spread_out(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Leave out each place that one would walk to from the one before."""
    kept = list(places[:1])
    for place in places[1:]:
        if apart_m(*kept[-1], *place) >= _APART_M:
            kept.append(place)
    return kept
