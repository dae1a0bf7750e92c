"""Master data of a fleet: municipalities, depots and vehicles."""

from __future__ import annotations

from collections import Counter
from datetime import date
from enum import StrEnum
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.calendar import Calendar
from schemas.ids import MunicipalityId, ScopedId, municipality_of
from schemas.rules import Rules
from schemas.vehicle_type import VehicleType

__all__ = ["Depot", "EnergySource", "MasterData", "Municipality", "Vehicle", "VehicleType"]


class EnergySource(StrEnum):
    """What a vehicle runs on; decides price and kg CO2e of a litre or kWh."""

    PETROL = "petrol"
    DIESEL = "diesel"
    HVO = "hvo"
    ELECTRICITY = "electricity"
    MUSCLE = "muscle"
    UNKNOWN = "unknown"


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"no time zone {name!r}; give an IANA name such as Europe/Copenhagen"
        ) from error
    return name


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Municipality(_Row):
    """One of the municipalities that share the installation."""

    municipality_id: MunicipalityId
    name: str = Field(min_length=1)
    timezone: Annotated[str, AfterValidator(_known_zone)] = "Europe/Copenhagen"
    rules: Rules = Rules()
    calendar: Calendar = Calendar()


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


class MasterData(_Row):
    """Master data to enter together, as a file holds them. Ids are `<municipality>/<own id>`.

    Raises `pydantic.ValidationError` for an id that is not its municipality's own, and for one
    that comes twice.
    """

    municipalities: tuple[Municipality, ...] = ()
    depots: tuple[Depot, ...] = ()
    vehicles: tuple[Vehicle, ...] = ()

    @model_validator(mode="after")
    def _ids_are_own_and_unique(self) -> Self:
        ids = [one.municipality_id for one in self.municipalities]
        for depot in self.depots:
            _check_own(depot.depot_id, depot.municipality_id)
            ids.append(depot.depot_id)
        for vehicle in self.vehicles:
            _check_own(vehicle.vehicle_id, vehicle.municipality_id)
            if vehicle.home_depot_id is not None:
                _check_own(vehicle.home_depot_id, vehicle.municipality_id)
            ids.append(f"vehicle {vehicle.vehicle_id}")
        twice = sorted(one for one, count in Counter(ids).items() if count > 1)
        if twice:
            raise ValueError(f"{', '.join(twice)} comes twice; keep one of each")
        return self


def _check_own(scoped_id: str, municipality_id: str) -> None:
    if municipality_of(scoped_id) != municipality_id:
        raise ValueError(
            f"{scoped_id} does not belong to municipality {municipality_id}; its id must begin "
            f"with {municipality_id}/"
        )
