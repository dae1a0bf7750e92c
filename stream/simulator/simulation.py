"""The simulation itself: a fleet's days, one after the other, from the plan to the fixes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from schemas.fleet.energy import idle_fuel_l_per_h
from schemas.fleet.master_data import Depot, EnteredVehicle, FleetFile, Municipality, Vehicle
from stream.simulator.config import SimulationConfig
from stream.simulator.day import Dispatcher
from stream.simulator.drive import Driver, Motion, moved
from stream.simulator.fleet import Member, Roster, make_roster, rng_of
from stream.simulator.noise import Observed, TankLevels, Tracked, observe
from stream.simulator.outings import SimulatedOuting, SimulatedVisit
from stream.simulator.truth import DayTruth, TrueIdle, TrueTrip, driving_s, idles_of, trips_of

_CHARGER_KW: Final = 11.0
_EV_AUXILIARY_KW: Final = 1.0
"""Heating and electronics of an electric vehicle that stands switched on."""
_REFUEL_BELOW: Final = 0.2
_REFUEL_S: Final = 300.0
_KEY_S: Final = (5.0, 20.0)
"""From switching the engine on to moving off, without a warm-up."""
_OFF_S: Final = (4.0, 14.0)
"""From coming to rest at a depot to switching off."""
_CYCLING_KMH: Final = (14.0, 19.0)
_E_CYCLING_KMH: Final = (18.0, 24.0)
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class SimulatedDay:
    """A local calendar day: what vendors send, in the order sent, and what truly happened.

    `fixes` are pairs of municipality and native event. Without late stretches and duplicates they
    are sorted by `recorded_at` over all vehicles.
    """

    date: date
    fixes: list[tuple[str, dict[str, Any]]]
    truth: DayTruth


@dataclass(frozen=True, slots=True)
class SimulatedFleet:
    """Master data of all municipalities, and the days of their vehicles."""

    config: SimulationConfig
    rosters: tuple[Roster, ...]

    @property
    def municipalities(self) -> tuple[Municipality, ...]:
        """All municipalities, in the order of the configuration."""
        return tuple(roster.municipality for roster in self.rosters)

    @property
    def depots(self) -> tuple[Depot, ...]:
        """All depots."""
        return tuple(depot for roster in self.rosters for depot in roster.depots)

    @property
    def vehicles(self) -> tuple[Vehicle, ...]:
        """All vehicles."""
        return tuple(member.vehicle for roster in self.rosters for member in roster.members)

    @property
    def master_data(self) -> FleetFile:
        """All of them, to be entered as a coordinator would."""
        return FleetFile(
            # Rules that are entered already stay: a simulation has none of its own.
            municipalities=self.municipalities,
            depots=self.depots,
            vehicles=tuple(EnteredVehicle(**vehicle.model_dump()) for vehicle in self.vehicles),
        )

    def days(self) -> Iterator[SimulatedDay]:
        """Yield day after day; each call starts from the first one and yields the same."""
        yield from Simulation(self)


class Simulation:
    """A fleet on its way through its days, once: iterate to live them one by one."""

    def __init__(self, fleet: SimulatedFleet) -> None:
        self._config = fleet.config
        self._courses = [_Course(fleet.config, roster) for roster in fleet.rosters]

    def __iter__(self) -> Iterator[SimulatedDay]:
        """Yield the days that are left; not to be called twice."""
        for day in range(self._config.days):
            on = self._config.start + timedelta(days=day)
            yield _merged(on, [course.day(day, on) for course in self._courses])

    def rehome(self, vehicle_id: str, depot_id: str) -> None:
        """Have a vehicle at home at another depot from the next day on.

        Raises `ValueError` for a vehicle or a depot that is not there.
        """
        if not any(course.rehome(vehicle_id, depot_id) for course in self._courses):
            raise ValueError(f"no municipality has both {vehicle_id} and {depot_id}")


def simulate(config: SimulationConfig) -> SimulatedFleet:
    """Return the fleet of a configuration.

    Raises `ValueError` for a municipality that is not known.
    """
    return SimulatedFleet(
        config, tuple(make_roster(config, municipality) for municipality in config.municipalities)
    )


@dataclass(slots=True)
class _Condition:
    """How a vehicle was left the day before: place, odometer, tank or battery."""

    lat: float
    lon: float
    odometer_m: float
    fraction: float


@dataclass(slots=True)
class _Part:
    """One municipality's share of a day."""

    municipality_id: str
    observed: list[Observed]
    trips: list[TrueTrip]
    idles: list[TrueIdle]
    driving_s: dict[str, float]


class _Course:
    """One municipality on its way through the days."""

    def __init__(self, config: SimulationConfig, roster: Roster) -> None:
        self._config = config
        self._roster = roster
        self._dispatcher = Dispatcher(config, roster)
        self._zone = ZoneInfo(roster.municipality.timezone)
        rng = rng_of(config, roster.municipality.municipality_id, 2)
        self._conditions = [
            _Condition(
                *self._slot(member, member.home),
                odometer_m=float(rng.uniform(2_000_000, 120_000_000)),
                fraction=float(rng.uniform(0.5, 1.0)),
            )
            for member in roster.members
        ]

    def rehome(self, vehicle_id: str, depot_id: str) -> bool:
        """Have a vehicle at home at a depot; return whether both are of this municipality."""
        vehicles = [member.vehicle.vehicle_id for member in self._roster.members]
        depots = [depot.depot_id for depot in self._roster.depots]
        if vehicle_id not in vehicles or depot_id not in depots:
            return False
        self._dispatcher.rehome(vehicles.index(vehicle_id), depots.index(depot_id))
        return True

    def day(self, day: int, on: date) -> _Part:
        """Drive through one day."""
        municipality_id = self._roster.municipality.municipality_id
        began = datetime.combine(on, time(), self._zone).astimezone(UTC)
        ended = datetime.combine(on + timedelta(days=1), time(), self._zone).astimezone(UTC)
        length_s = (ended - began).total_seconds()
        part = _Part(municipality_id, [], [], [], {})
        for number, outings in enumerate(self._dispatcher.plan(day, on)):
            member, condition = self._roster.members[number], self._conditions[number]
            rng = rng_of(self._config, municipality_id, 3, day, number)
            # Clocks change before dawn: by the wall, work begins at seven all the same.
            motion = self._drive(member, condition, outings, length_s - _DAY_S, rng)
            levels = _levels(member, motion, condition.fraction, length_s)
            tracked = Tracked(member, motion, levels, condition.odometer_m, began, length_s)
            part.observed.append(observe(self._config, tracked, rng))
            vehicle_id = member.vehicle.vehicle_id
            part.trips += trips_of(motion, vehicle_id, began)
            part.idles += idles_of(motion, vehicle_id, began)
            part.driving_s[vehicle_id] = driving_s(motion)
            condition.odometer_m += float(motion.path_m[-1])
            condition.fraction = float(levels.fraction[-1])
        return part

    def _slot(self, member: Member, depot: int) -> tuple[float, float]:
        place = self._roster.depots[depot]
        return moved(place.lat, place.lon, *member.slot_m)

    def _drive(
        self,
        member: Member,
        condition: _Condition,
        outings: list[SimulatedOuting],
        clock_change_s: float,
        rng: np.random.Generator,
    ) -> Motion:
        usual = None
        if member.is_cycle:
            kmh = _E_CYCLING_KMH if member.is_electric else _CYCLING_KMH
            usual = float(rng.uniform(*kmh)) / 3.6
        driver = Driver(condition.lat, condition.lon, rng, usual)
        for outing in outings:
            starts_s = outing.starts_s + clock_change_s
            driver.wait(max(starts_s - driver.at_s, 600.0 if driver.at_s else 0.0))
            self._go(member, driver, outing, rng)
        condition.lat, condition.lon = driver.lat, driver.lon
        return driver.motion()

    def _go(
        self, member: Member, driver: Driver, outing: SimulatedOuting, rng: np.random.Generator
    ) -> None:
        has_engine = not member.is_cycle
        if has_engine:
            driver.turn_key()
            driver.wait(max(outing.warm_up_s, float(rng.uniform(*_KEY_S))))
        back = SimulatedVisit(
            *self._slot(member, outing.to_depot), 60.0, float(rng.uniform(*_OFF_S))
        )
        for visit in (*outing.visits, back):
            driver.drive_to(visit.lat, visit.lon)
            if not has_engine or visit.engine_on_s >= visit.stay_s:
                driver.wait(visit.stay_s)
                continue
            driver.wait(visit.engine_on_s)
            driver.turn_key()
            if visit is not back:
                starting_s = float(rng.uniform(*_KEY_S))
                driver.wait(max(1.0, visit.stay_s - visit.engine_on_s - starting_s))
                driver.turn_key()
                driver.wait(starting_s)


def _levels(member: Member, motion: Motion, fraction: float, length_s: float) -> TankLevels:
    """Return how full tank or battery is over a day that begins with a fraction.

    An electric vehicle charges whenever it stands switched off before its first drive and after
    its last one; a tank that is low is filled before the first drive.
    """
    capacity = member.kind.capacity
    if not capacity or member.is_cycle:
        return TankLevels(np.zeros(1), np.zeros(1))
    if not motion.drives:
        at_s, left = [0.0], [fraction]
        if member.is_electric:
            at_s, left = _charged(at_s, left, length_s, capacity)
        return TankLevels(np.array(at_s), np.array(left))
    first_s, last_s = motion.drives[0][0], motion.drives[-1][1]
    at_s, left = [0.0], [fraction]
    if member.is_electric:
        at_s, left = _charged(at_s, left, first_s, capacity)
    elif fraction < _REFUEL_BELOW:
        at_s, left = [0.0, first_s - _REFUEL_S, first_s], [fraction, fraction, 1.0]
    per_h = (
        _EV_AUXILIARY_KW
        if member.is_electric
        else idle_fuel_l_per_h(member.kind.vehicle_type, member.kind.energy_source)
    )
    per_km = member.vehicle.consumption_per_km
    switches = [edge for edge in motion.engine_s.tolist() if at_s[-1] < edge < last_s]
    for edge in sorted({*switches, *(edge for drive in motion.drives for edge in drive[:2])}):
        before_s = at_s[-1]
        if edge <= before_s:
            continue
        (start_m, end_m), _ = motion.at(np.array([before_s, edge]))
        running = bool(motion.engine_on(np.array([(before_s + edge) / 2]))[0])
        used = (end_m - start_m) / 1000 * per_km
        used += (edge - before_s) / 3600 * per_h if running and end_m == start_m else 0.0
        at_s.append(edge)
        left.append(max(0.02, left[-1] - float(used) / capacity))
    if member.is_electric:
        at_s, left = _charged(at_s, left, length_s, capacity)
    return TankLevels(np.array(at_s), np.array(left))


def _charged(
    at_s: list[float], left: list[float], until_s: float, capacity_kwh: float
) -> tuple[list[float], list[float]]:
    """Charge from the last instant until another, at most until full."""
    missing_s = (1.0 - left[-1]) * capacity_kwh / _CHARGER_KW * 3600
    charging_s = min(missing_s, max(0.0, until_s - at_s[-1]))
    gained = charging_s / 3600 * _CHARGER_KW / capacity_kwh
    full_s, full = at_s[-1] + charging_s, min(1.0, left[-1] + gained)
    return [*at_s, full_s, max(full_s, until_s)], [*left, full, full]


def _merged(on: date, parts: list[_Part]) -> SimulatedDay:
    """Return what all municipalities' vehicles send, in the order sent."""
    owned = [
        (part.municipality_id, event)
        for part in parts
        for observed in part.observed
        for event in observed.events
    ]
    sent_ms = [observed.sent_ms for part in parts for observed in part.observed]
    order = np.argsort(np.concatenate([np.zeros(0, np.int64), *sent_ms]), kind="stable")
    return SimulatedDay(
        date=on,
        fixes=[owned[index] for index in order.tolist()],
        truth=DayTruth(
            trips=tuple(trip for part in parts for trip in part.trips),
            idles=tuple(idle for part in parts for idle in part.idles),
            driving_s={
                vehicle_id: seconds
                for part in parts
                for vehicle_id, seconds in part.driving_s.items()
            },
        ),
    )
