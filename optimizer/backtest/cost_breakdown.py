"""What replayed weeks cost, in DKK and kg CO2e, from what happened in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from optimizer.backtest.replay import Replay, requested_class
from optimizer.costs import (
    MISSING_CHARGER_DKK_PER_DAY,
    ORE_PER_DKK,
    OWN_CAR_DKK_PER_KM,
    OWN_CAR_L_PER_KM,
    RELOCATION_SPEED_KMH,
    STAFF_DKK_PER_H,
    UNSERVED_MINIMUM_DKK,
    relocation_ore,
    road_km,
)
from schemas.fleet.energy import CO2_PRICE_DKK_PER_KG, CO2E_KG_PER_UNIT, PRICE_DKK_PER_UNIT, assumed
from schemas.fleet.master_data import Depot, EnergySource, Vehicle
from schemas.fleet.vehicle_type import MOTOR

_OWN_CAR_CO2E_KG_PER_KM: Final = OWN_CAR_L_PER_KM * CO2E_KG_PER_UNIT[EnergySource.PETROL]


@dataclass(frozen=True, slots=True)
class Yard:
    """The depots and vehicles that weeks are replayed with, and where the vehicles stood before.

    A move is for good: weeks pay their share of its price, `days` of the horizon's.
    """

    depots: Mapping[str, Depot]
    vehicles: Mapping[str, Vehicle]
    stood_at: Mapping[str, str]
    zone: ZoneInfo
    days: int
    horizon_days: int

    def moves(self, placement: Mapping[str, str]) -> int:
        """Return how many vehicles stood elsewhere, or nowhere, before."""
        return sum(1 for vehicle_id, at in placement.items() if self.stood_at.get(vehicle_id) != at)

    def motor_vehicles_at(self, placement: Mapping[str, str]) -> Mapping[str, int]:
        """Return how many parking places a placement takes at each depot."""
        return Counter(
            at
            for vehicle_id, at in placement.items()
            if requested_class(self.vehicles[vehicle_id]) in MOTOR
        )

    def relocation_dkk(self, placement: Mapping[str, str]) -> float:
        """Return these days' share of what the moves cost; who stood nowhere comes for free."""
        moves_ore = sum(
            relocation_ore(
                self.vehicles[vehicle_id], self.depots[self.stood_at[vehicle_id]], self.depots[at]
            )
            for vehicle_id, at in placement.items()
            if vehicle_id in self.stood_at
        )
        return moves_ore / ORE_PER_DKK * min(1.0, self.days / self.horizon_days)

    def charger_dkk(self, placement: Mapping[str, str]) -> float:
        """Return what electric cars and vans beyond their depots' chargers cost in these days."""
        electric = Counter(
            at
            for vehicle_id, at in placement.items()
            if self.vehicles[vehicle_id].energy_source is EnergySource.ELECTRICITY
            and requested_class(self.vehicles[vehicle_id]) in MOTOR
        )
        missing = sum(
            max(0, count - self.depots[at].charger_count) for at, count in electric.items()
        )
        return missing * self.days * MISSING_CHARGER_DKK_PER_DAY


@dataclass(frozen=True, slots=True)
class Bill:
    """What driving, fetching and not being served costs."""

    unserved_dkk: float
    energy_dkk: float
    fetching_dkk: float
    co2e_kg: float

    @property
    def co2e_dkk(self) -> float:
        """CO2e at its price."""
        return self.co2e_kg * CO2_PRICE_DKK_PER_KG

    @property
    def total_dkk(self) -> float:
        """All of it."""
        return self.unserved_dkk + self.energy_dkk + self.fetching_dkk + self.co2e_dkk


def unserved_dkk(distance_m: float) -> float:
    """Return the price of a request without a vehicle: the allowance, or the least price."""
    return max(UNSERVED_MINIMUM_DKK, distance_m / 1000 * OWN_CAR_DKK_PER_KM)


def bill(replayed: Replay, yard: Yard) -> Bill:
    """Return what happened in DKK and kg CO2e.

    A request without a vehicle is an own car's trip. Fetching costs somebody's time besides.
    """
    energy_dkk = co2e_kg = fetching_dkk = lost_dkk = 0.0
    driven = [(who, request.distance_m / 1000) for request, who in replayed.served()]
    for fetched in replayed.fetched:
        away_km = road_km(yard.depots[fetched.from_depot_id], yard.depots[fetched.to_depot_id])
        driven.append((fetched.vehicle_id, away_km))
        fetching_dkk += away_km / RELOCATION_SPEED_KMH * STAFF_DKK_PER_H
    for vehicle_id, km in driven:
        vehicle = yard.vehicles[vehicle_id]
        source = assumed(vehicle.energy_source)
        energy_dkk += vehicle.consumption_per_km * km * PRICE_DKK_PER_UNIT[source]
        co2e_kg += vehicle.consumption_per_km * km * CO2E_KG_PER_UNIT[source]
    for request in replayed.unserved():
        lost_dkk += unserved_dkk(request.distance_m)
        co2e_kg += _OWN_CAR_CO2E_KG_PER_KM * request.distance_m / 1000
    return Bill(lost_dkk, energy_dkk, fetching_dkk, co2e_kg)
