"""Master data of a fleet: municipalities, depots and vehicles."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from schemas.ids import MunicipalityId, ScopedId
from schemas.rules import Rules


class VehicleType(StrEnum):
    """Class of a vehicle: what it can replace and be replaced by."""

    CAR = "car"
    VAN = "van"
    CARGO_BIKE = "cargo_bike"
    E_BIKE = "e_bike"
    BIKE = "bike"
    UNKNOWN = "unknown"


class EnergySource(StrEnum):
    """What a vehicle runs on; decides price and kg CO2e of a litre or kWh."""

    PETROL = "petrol"
    DIESEL = "diesel"
    HVO = "hvo"
    ELECTRICITY = "electricity"
    MUSCLE = "muscle"
    UNKNOWN = "unknown"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Municipality(_Row):
    """One of the municipalities that share the installation."""

    municipality_id: MunicipalityId
    name: str = Field(min_length=1)
    timezone: str = "Europe/Copenhagen"
    rules: Rules = Rules()


class Depot(_Row):
    """A place where vehicles stand, as a point with a home radius."""

    depot_id: ScopedId
    municipality_id: MunicipalityId
    name: str = Field(min_length=1)
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    radius_m: float = Field(default=200.0, gt=0)
    capacity: int = Field(ge=0, description="Parking places for our vehicles")
    charger_count: int = Field(default=0, ge=0)


class Vehicle(_Row):
    """A vehicle of the fleet and what it costs to own and to drive."""

    vehicle_id: ScopedId
    municipality_id: MunicipalityId
    name: str = Field(min_length=1)
    vehicle_type: VehicleType = VehicleType.UNKNOWN
    energy_source: EnergySource = EnergySource.UNKNOWN
    consumption_per_km: float = Field(
        default=0.0, ge=0, description="Litres of fuel, or kWh for an electric vehicle, per km"
    )
    yearly_cost_dkk: float = Field(default=0.0, ge=0, description="Ownership or lease, DKK a year")
    range_km: float | None = Field(default=None, gt=0)
    seats: int = Field(default=5, ge=1)
    home_depot_id: ScopedId | None = None
    lease_ends_on: date | None = None
