"""What a litre or a kWh emits, and what an idling engine burns: the only such numbers.

Prices are a matter of the municipality: `schemas.fleet.costs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from schemas.fleet.vehicle_type import EnergySource, VehicleType

CO2E_KG_PER_UNIT: Final[Mapping[EnergySource, float]] = MappingProxyType(
    {
        EnergySource.PETROL: 2.52,
        EnergySource.DIESEL: 2.98,
        EnergySource.HVO: 0.894,
        EnergySource.ELECTRICITY: 0.09,
        EnergySource.MUSCLE: 0.0,
    }
)
"""Kilograms of CO2e for a litre of fuel or a kWh (OS2fleetoptimiser)."""

_IDLE_FUEL_L_PER_H: Final[Mapping[VehicleType, float]] = MappingProxyType(
    {
        VehicleType.CAR: 0.64,  # 0.17 US gallons: a compact car (Argonne National Laboratory)
        VehicleType.VAN: 1.0,  # ours: between that car and Argonne's delivery truck
        VehicleType.UNKNOWN: 0.64,
    }
)
_BURNS_FUEL: Final = frozenset(
    {EnergySource.PETROL, EnergySource.DIESEL, EnergySource.HVO, EnergySource.UNKNOWN}
)


def assumed(energy_source: EnergySource) -> EnergySource:
    """Return the source to calculate with: a vehicle of unknown source counts as petrol."""
    return EnergySource.PETROL if energy_source is EnergySource.UNKNOWN else energy_source


def idle_fuel_l_per_h(vehicle_type: VehicleType, energy_source: EnergySource) -> float:
    """Return the litres that an idling engine burns in an hour; 0 where nothing burns fuel."""
    if energy_source not in _BURNS_FUEL:
        return 0.0
    return _IDLE_FUEL_L_PER_H.get(vehicle_type, 0.0)
