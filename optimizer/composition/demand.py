"""A depot's round trips as arrays: which kind can take which, for how long, at what yearly cost.

Whole øre and grams a year, whole seconds. A kind that charges is held until it is full again, as
if at its depot's power from the moment it is back: it leaves full, whatever it did before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from optimizer.costs import ORE_PER_DKK, ore, unserved_ore
from optimizer.work_budget import Bools, Ints
from schemas.fleet.costs import Costs
from schemas.fleet.vehicle_type import MOTOR, VehicleType
from schemas.plans.composition import (
    CARGO_ORDER,
    CompositionDepot,
    CompositionInputs,
    CompositionRoundTrip,
    CompositionRules,
    VehicleKind,
)

DAYS_OF_A_YEAR: Final = 365.0

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_S_PER_H: Final = 3600.0
_G_PER_KG: Final = 1000
_BICYCLES: Final = frozenset({VehicleType.BIKE, VehicleType.E_BIKE, VehicleType.CARGO_BIKE})


@dataclass(frozen=True, slots=True)
class DepotDemand:
    """Round trips of a depot by start (rows) and kinds (columns).

    `free_s` is when a vehicle of the kind can leave again; costs and grams are a year's.
    """

    depot: CompositionDepot
    kinds: tuple[VehicleKind, ...]
    trips: tuple[CompositionRoundTrip, ...]
    start_s: Ints
    free_s: Ints
    able: Bools
    drive_ore: Ints
    drive_g: Ints
    own_ore: Ints
    own_g: Ints
    costs: Costs
    must_serve: bool
    """Whether an own car is out of the question; its price is then beyond any fleet's."""

    @property
    def vehicle_ore(self) -> Ints:
        """What a vehicle of each kind costs a year."""
        return np.array([ore(kind.yearly_cost_dkk) for kind in self.kinds], dtype=np.int64)

    @property
    def motor(self) -> Bools:
        """Which kinds take a parking place."""
        return np.array([kind.vehicle_type in MOTOR for kind in self.kinds], dtype=bool)

    @property
    def electric(self) -> Bools:
        """Which kinds need a charger."""
        return np.array([kind.on_charger for kind in self.kinds], dtype=bool)

    def fleet_ore(self, counts: Sequence[int]) -> int:
        """Return what having so many of each kind costs a year, chargers that lack included."""
        electric = int(np.array(counts, dtype=np.int64)[self.electric].sum())
        lacking = max(0, electric - self.depot.charger_count)
        return int(self.vehicle_ore @ np.array(counts)) + lacking * ore(
            self.costs.charger_dkk_per_year
        )


def demands_of(inputs: CompositionInputs) -> tuple[DepotDemand, ...]:
    """Return the demand of each depot, also of those without round trips."""
    zone = ZoneInfo(inputs.timezone)
    scale = DAYS_OF_A_YEAR / inputs.observed_days
    by_depot: dict[str, list[CompositionRoundTrip]] = {
        depot.depot_id: [] for depot in inputs.depots
    }
    for trip in inputs.round_trips:
        by_depot[trip.depot_id].append(trip)
    return tuple(
        _demand(inputs, depot, by_depot[depot.depot_id], zone, scale) for depot in inputs.depots
    )


def _demand(
    inputs: CompositionInputs,
    depot: CompositionDepot,
    trips: Sequence[CompositionRoundTrip],
    zone: ZoneInfo,
    scale: float,
) -> DepotDemand:
    kinds, rules, costs = inputs.kinds, inputs.rules, inputs.costs
    shape = (len(trips), len(kinds))
    able = np.zeros(shape, dtype=bool)
    free_s, drive_ore, drive_g = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    for row, trip in enumerate(trips):
        for column, kind in enumerate(kinds):
            able[row, column] = can_take(trip, kind, rules, zone)
            free_s[row, column] = _seconds(trip.ended_at) + held_s(trip, kind, rules)
            dkk, kg = driving(trip, kind, rules, costs)
            drive_ore[row, column] = round(dkk * ORE_PER_DKK * scale)
            drive_g[row, column] = round(kg * _G_PER_KG * scale)
    own_kg_per_m = costs.own_car_l_per_km * costs.petrol_co2e_kg_per_l / 1000
    own_ore = [round(unserved_ore(trip.distance_m, costs) * scale) for trip in trips]
    demand = DepotDemand(
        depot,
        kinds,
        tuple(trips),
        np.array([_seconds(trip.started_at) for trip in trips], dtype=np.int64),
        free_s,
        able,
        drive_ore,
        drive_g,
        np.array(own_ore, dtype=np.int64),
        np.array(
            [round(trip.distance_m * own_kg_per_m * _G_PER_KG * scale) for trip in trips],
            dtype=np.int64,
        ),
        costs=costs,
        must_serve=not rules.own_cars,
    )
    if demand.must_serve and trips:
        # One more than what serving all could ever cost, so that nothing is left out to save.
        begun = np.arange(1, len(trips) + 1)
        together = int((begun - np.searchsorted(np.sort(free_s.max(axis=1)), demand.start_s)).max())
        most = demand.fleet_ore([together] * len(kinds)) + int(drive_ore.max(axis=1).sum()) + 1
        demand.own_ore[:] = most
    return demand


def _seconds(at: datetime) -> int:
    return (at - _EPOCH) // _SECOND


def can_take(
    trip: CompositionRoundTrip, kind: VehicleKind, rules: CompositionRules, zone: ZoneInfo
) -> bool:
    """Return whether a vehicle of a kind can take a round trip, apart from what else it does.

    Electric ones by their range in winter; bicycles by distance, and by local hours that they
    must be back within, slower as they are.
    """
    if kind.seats < trip.seats or CARGO_ORDER.index(kind.cargo) < CARGO_ORDER.index(trip.cargo):
        return False
    km = trip.distance_m / 1000
    if kind.range_km is not None:
        share = rules.winter_range_share if kind.on_charger else 1.0
        if km > kind.range_km * share:
            return False
    if kind.vehicle_type not in _BICYCLES:
        return True
    leaves = trip.started_at.astimezone(zone)
    back = (trip.ended_at + timedelta(seconds=slower_s(trip, kind, rules))).astimezone(zone)
    return (
        km <= rules.bicycle_max_km
        and leaves.date() == back.date()
        and rules.bicycles_from <= leaves.time()
        and back.time() <= rules.bicycles_until
    )


def slower_s(trip: CompositionRoundTrip, kind: VehicleKind, rules: CompositionRules) -> float:
    """Return how much longer a round trip takes with a kind than it took: bicycles are slower."""
    if kind.vehicle_type not in _BICYCLES:
        return 0.0
    e_bike = kind.vehicle_type is VehicleType.E_BIKE
    kmh = rules.e_bike_kmh if e_bike else rules.bicycle_kmh
    return max(0.0, trip.distance_m / 1000 * (1 / kmh - 1 / rules.town_kmh) * _S_PER_H)


def held_s(trip: CompositionRoundTrip, kind: VehicleKind, rules: CompositionRules) -> int:
    """Return how long after a round trip's end a vehicle cannot leave: changeover, or charging."""
    charge_s = 0.0
    if kind.on_charger and kind.charging_kw is not None:
        charge_s = trip.distance_m / 1000 * kind.consumption_per_km / kind.charging_kw * _S_PER_H
    return round(slower_s(trip, kind, rules) + max(rules.changeover_s, charge_s))


def driving(
    trip: CompositionRoundTrip, kind: VehicleKind, rules: CompositionRules, costs: Costs
) -> tuple[float, float]:
    """Return DKK and kg CO2e of a round trip: energy, and the staff time that a bicycle takes."""
    units = trip.distance_m / 1000 * kind.consumption_per_km
    source = kind.energy_source
    staff_dkk = slower_s(trip, kind, rules) / _S_PER_H * costs.staff_dkk_per_h
    energy_dkk = units * costs.energy_dkk_per_unit(source)
    return energy_dkk + staff_dkk, units * costs.co2e_kg_per_unit(source)
