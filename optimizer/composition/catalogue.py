"""Kinds of vehicles that a municipality can choose from unless it names its own.

All numbers are ours: usual ones of recent models in Denmark, those that the simulator takes too.
Yearly costs are ownership or lease with service, insurance and tax, without energy, which has its
price in `schemas.fleet.energy`. No public price list stands behind them: a municipality that knows
its own prices gives a file.
"""

from __future__ import annotations

from typing import Final

from schemas.fleet.master_data import EnergySource
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.composition import Cargo, VehicleKind

CHARGING_KW: Final = 11.0
"""At a depot's charger: three phases of 16 A at 230 V (the usual wall box)."""

CATALOGUE: Final = (
    VehicleKind(
        kind_id="petrol-car",
        vehicle_type=VehicleType.CAR,
        energy_source=EnergySource.PETROL,
        consumption_per_km=0.055,
        yearly_cost_dkk=38_000,
        cargo=Cargo.SMALL,
    ),
    VehicleKind(
        kind_id="ev-car",
        vehicle_type=VehicleType.CAR,
        energy_source=EnergySource.ELECTRICITY,
        consumption_per_km=0.16,
        yearly_cost_dkk=46_000,
        cargo=Cargo.SMALL,
        range_km=330,
        charging_kw=CHARGING_KW,
    ),
    VehicleKind(
        kind_id="diesel-van",
        vehicle_type=VehicleType.VAN,
        energy_source=EnergySource.DIESEL,
        consumption_per_km=0.085,
        yearly_cost_dkk=62_000,
        seats=3,
        cargo=Cargo.LARGE,
    ),
    VehicleKind(
        kind_id="ev-van",
        vehicle_type=VehicleType.VAN,
        energy_source=EnergySource.ELECTRICITY,
        consumption_per_km=0.25,
        yearly_cost_dkk=70_000,
        seats=3,
        cargo=Cargo.LARGE,
        range_km=250,
        charging_kw=CHARGING_KW,
    ),
    VehicleKind(
        kind_id="cargo-bike",
        vehicle_type=VehicleType.CARGO_BIKE,
        energy_source=EnergySource.ELECTRICITY,
        consumption_per_km=0.012,
        yearly_cost_dkk=6_500,
        seats=1,
        cargo=Cargo.SMALL,
    ),
    VehicleKind(
        kind_id="e-bike",
        vehicle_type=VehicleType.E_BIKE,
        energy_source=EnergySource.ELECTRICITY,
        consumption_per_km=0.008,
        yearly_cost_dkk=5_500,
        seats=1,
    ),
)
