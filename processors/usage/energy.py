"""Litres, kWh and kg CO2e of driving and idling, from a vehicle's master data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from schemas.fleet.energy import CO2E_KG_PER_UNIT, assumed, idle_fuel_l_per_h
from schemas.fleet.master_data import EnergySource, Vehicle

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Consumption:
    """What was used and emitted."""

    fuel_l: float
    energy_kwh: float
    co2e_kg: float


def consumption(vehicle: Vehicle, *, distance_m: float, idling: timedelta) -> Consumption:
    """Return what a vehicle used to drive so far and to idle so long.

    Driving takes the vehicle's own consumption per km, 0 where none is entered. Idling burns what
    `schemas.fleet.energy` states for its type; electric drives idle for nothing.
    """
    source = assumed(vehicle.energy_source)
    driven = vehicle.consumption_per_km * distance_m / 1000
    idled_l = idle_fuel_l_per_h(vehicle.vehicle_type, vehicle.energy_source) * (idling / _HOUR)
    co2e_kg = (driven + idled_l) * CO2E_KG_PER_UNIT[source]
    if source is EnergySource.ELECTRICITY:
        return Consumption(0.0, driven, co2e_kg)
    return Consumption(driven + idled_l, 0.0, co2e_kg)
