"""What things cost and emit: every constant of the cost model, each with its source.

A municipality may set any of them in its fleet file, under `costs`. They are part of the inputs of
every model, and so of their hash (law 5).
"""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from schemas.fleet.energy import CO2E_KG_PER_UNIT, assumed
from schemas.fleet.vehicle_type import EnergySource

_MOST: Final = 1e9
_Amount = Annotated[float, Field(ge=0, le=_MOST)]
_Positive = Annotated[float, Field(gt=0, le=_MOST)]


class Costs(BaseModel):
    """Prices, rates and emissions. In its row and in a file only what is given counts.

    OS2fleetoptimiser is the open result of the same municipal project; "ours" is an estimate that
    somebody who knows better should replace. Raises `pydantic.ValidationError` for an amount below
    0, and for a speed, factor or step of 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    own_car_dkk_per_km: _Amount = Field(
        default=3.70,
        description="Allowance for an employee's own car, the first 20,000 km of a year "
        "(OS2fleetoptimiser)",
    )
    unserved_minimum_dkk: _Amount = Field(
        default=50.0,
        description="Least price of a round trip without a vehicle: ten minutes of staff time to "
        "find another way (ours)",
    )
    own_car_l_per_km: _Amount = Field(
        default=0.06, description="Petrol of an employee's own car: some 17 km a litre (ours)"
    )
    staff_dkk_per_h: _Amount = Field(
        default=300.0,
        description="An hour of a municipal employee, overhead included (ours, rounded)",
    )
    relocation_dkk: _Amount = Field(
        default=500.0,
        description="Moving a vehicle for good: keys, calendar, signs and telling people (ours: "
        "under two hours)",
    )
    road_factor: _Positive = Field(
        default=1.3,
        description="Road kilometres for a kilometre as the crow flies (ours, usual for road "
        "networks)",
    )
    relocation_speed_kmh: _Positive = Field(
        default=50.0,
        description="Mean speed of motor vehicles on the road, as on the drive to a new depot "
        "(ours)",
    )
    walking_speed_kmh: _Positive = Field(
        default=5.0,
        description="Of an employee on foot to a neighbouring depot (ours, usual for adults)",
    )
    cycling_speed_kmh: _Positive = Field(
        default=15.0,
        description="The same by bicycle (ours: slower than a trip's, for it must be fetched and "
        "locked)",
    )
    lending_dkk: _Amount = Field(
        default=150.0,
        description="Arranging that a depot may fetch a certain vehicle of a neighbour's, once a "
        "plan (ours: half an hour of staff time). What saves less is not arranged",
    )
    missing_charger_dkk_per_day: _Amount = Field(
        default=50.0,
        description="An electric vehicle beyond its depot's chargers: ten minutes of staff time a "
        "day (ours). Priced and not forbidden: a fleet may already lack chargers",
    )
    changeover_s: _Amount = Field(
        default=300.0, description="Rest between two round trips of one vehicle (OS2fleetoptimiser)"
    )
    driving_step_ore_per_km: int = Field(
        default=20,
        ge=1,
        le=1_000,
        description="Placement tells what vehicles burn apart in such steps (ours: petrol, diesel "
        "and electricity lie further apart, and each step that a fleet has costs columns)",
    )
    charger_dkk_per_year: _Amount = Field(
        default=3_500.0,
        description="A charger beyond those that a depot has: 25,000 DKK over ten years, and "
        "service (ours)",
    )
    site_dkk_per_year: _Amount = Field(
        default=25_000.0,
        description="A site to have: ten parking places at 200 DKK a month, and a key cabinet's "
        "upkeep (ours)",
    )
    fitting_out_dkk_per_year: _Amount = Field(
        default=5_000.0,
        description="A new site beyond that: 50,000 DKK over ten years for signs, marking and a "
        "key cabinet (ours)",
    )
    co2_price_dkk_per_kg: _Amount = Field(
        default=1.5, description="A kilogram of CO2e: 1500 DKK a tonne (OS2fleetoptimiser)"
    )
    petrol_dkk_per_l: _Amount = Field(default=12.33, description="OS2fleetoptimiser")
    diesel_dkk_per_l: _Amount = Field(default=10.83, description="OS2fleetoptimiser")
    hvo_dkk_per_l: _Amount = Field(default=19.84, description="OS2fleetoptimiser")
    electricity_dkk_per_kwh: _Amount = Field(default=2.13, description="OS2fleetoptimiser")
    petrol_co2e_kg_per_l: _Amount = Field(
        default=CO2E_KG_PER_UNIT[EnergySource.PETROL],
        description="As in usage rows, which go on with the default (schemas.fleet.energy)",
    )
    diesel_co2e_kg_per_l: _Amount = Field(
        default=CO2E_KG_PER_UNIT[EnergySource.DIESEL], description="Likewise"
    )
    hvo_co2e_kg_per_l: _Amount = Field(
        default=CO2E_KG_PER_UNIT[EnergySource.HVO], description="Likewise"
    )
    electricity_co2e_kg_per_kwh: _Amount = Field(
        default=CO2E_KG_PER_UNIT[EnergySource.ELECTRICITY], description="Likewise"
    )

    def energy_dkk_per_unit(self, energy_source: EnergySource) -> float:
        """Return the price of a litre or kWh; muscle is free, and unknown counts as petrol."""
        return {
            EnergySource.PETROL: self.petrol_dkk_per_l,
            EnergySource.DIESEL: self.diesel_dkk_per_l,
            EnergySource.HVO: self.hvo_dkk_per_l,
            EnergySource.ELECTRICITY: self.electricity_dkk_per_kwh,
            EnergySource.MUSCLE: 0.0,
        }[assumed(energy_source)]

    def co2e_kg_per_unit(self, energy_source: EnergySource) -> float:
        """Return what a litre or kWh emits; muscle nothing, and unknown counts as petrol."""
        return {
            EnergySource.PETROL: self.petrol_co2e_kg_per_l,
            EnergySource.DIESEL: self.diesel_co2e_kg_per_l,
            EnergySource.HVO: self.hvo_co2e_kg_per_l,
            EnergySource.ELECTRICITY: self.electricity_co2e_kg_per_kwh,
            EnergySource.MUSCLE: 0.0,
        }[assumed(energy_source)]
