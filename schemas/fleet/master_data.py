"""Master data of a fleet: municipalities, depots and vehicles."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from math import cos, hypot, radians
from typing import Annotated, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.events.fix import UtcDatetime
from schemas.fleet.calendar import Calendar
from schemas.fleet.costs import Costs
from schemas.fleet.policy import PlacementPolicy
from schemas.fleet.rules import Rules
from schemas.fleet.vehicle_type import EnergySource, VehicleType
from schemas.ids import MunicipalityId, ScopedId, municipality_of
from schemas.local_time import DENMARK, Timezone

__all__ = [
    "Assignment",
    "Depot",
    "EnergySource",
    "EnteredVehicle",
    "FleetFile",
    "Home",
    "LastDay",
    "Municipality",
    "Vehicle",
    "VehicleType",
]

CORNERS_WITHIN_KM: Final = 10.0
"""A depot's polygon lies so near its point: what does not has lat and lon swapped."""

MAX_NAME_LENGTH: Final = 200
"""Characters of a name: it stands in tables and panels (ours)."""

MAX_PLACES: Final = 100_000
"""Parking places or chargers of a depot; a figure beyond that is a slip of the keyboard (ours)."""

SERVICE_FROM: Final = date(2000, 1, 1)
SERVICE_TO: Final = date(2099, 12, 31)
"""A vehicle's last day in service lies between these; another one is a slip of the keyboard."""

LastDay = Annotated[date, Field(ge=SERVICE_FROM, le=SERVICE_TO)]
"""The last local day on which a vehicle is of the fleet."""

_KM_PER_DEG: Final = 111.2
_MIN_CORNERS: Final = 3

Corner = tuple[
    Annotated[float, Field(ge=-90, le=90)],
    Annotated[float, Field(ge=-180, le=180)],
]
"""Latitude and longitude in degrees, in this order."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Municipality(_Row):
    """One of the municipalities that share the installation."""

    municipality_id: MunicipalityId
    name: str = Field(min_length=1)
    timezone: Timezone = DENMARK
    rules: Rules = Rules()
    calendar: Calendar = Calendar()
    planning: PlacementPolicy = Field(
        default=PlacementPolicy(),
        description="What its plans are made for; what is left out is as FLEETPULSE_PLANNER_… say",
    )
    costs: Costs = Field(
        default=Costs(), description="Its own prices and rates; what is left out has a default"
    )


class Depot(_Row):
    """A place where vehicles stand: a point with a home radius, or what a polygon encloses.

    With a polygon the radius does not count. Raises `pydantic.ValidationError` for a polygon of
    fewer than three different corners, one that crosses or touches itself, and one that is not
    at its point.
    """

    depot_id: ScopedId
    municipality_id: MunicipalityId
    name: str = Field(min_length=1)
    lat: float = Field(ge=-90, le=90)
    lon: float = Field(ge=-180, le=180)
    radius_m: float = Field(default=200.0, gt=0)
    polygon: tuple[Corner, ...] | None = Field(
        default=None, description="Corners as (lat, lon); the last is joined to the first"
    )
    capacity: int = Field(ge=0, le=MAX_PLACES, description="Parking places for our vehicles")
    charger_count: int = Field(default=0, ge=0, le=MAX_PLACES)

    @model_validator(mode="after")
    def _polygon_is_one_place(self) -> Self:
        if self.polygon is not None:
            _check_polygon(self.depot_id, self.polygon, (self.lat, self.lon))
        return self


class Vehicle(_Row):
    """A vehicle of the fleet and what it costs to own and to drive."""

    vehicle_id: ScopedId
    municipality_id: MunicipalityId
    name: str = Field(min_length=1)
    vehicle_type: VehicleType = VehicleType.UNKNOWN
    energy_source: EnergySource = EnergySource.UNKNOWN
    consumption_per_km: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Litres of fuel, or kWh for an electric vehicle, per km",
    )
    yearly_cost_dkk: float = Field(
        default=0.0, ge=0, le=1e9, description="Ownership or lease, DKK a year"
    )
    range_km: float | None = Field(default=None, gt=0)
    seats: int = Field(default=5, ge=1, le=1_000)
    home_depot_id: ScopedId | None = None
    lease_ends_on: date | None = None
    locked_until: date | None = Field(
        default=None,
        description="By lease or agreement it stays at its home depot up to and on this day",
    )
    in_service_until: LastDay | None = Field(
        default=None,
        description="Sold or handed back: of the fleet up to and on this local day; none: no end",
    )

    @model_validator(mode="after")
    def _lock_has_a_depot(self) -> Self:
        if self.locked_until is not None and self.home_depot_id is None:
            raise ValueError(
                f"{self.vehicle_id} is locked until {self.locked_until} to no depot; give its "
                "home_depot_id, or no locked_until"
            )
        return self


class EnteredVehicle(Vehicle):
    """A vehicle as a file holds it: with the instant from which it is at home where it is.

    Without one, a home that changes does so now, and the first one has always been the home. Where
    a file says nothing of `in_service_until`, it stays as it is: a file from before a vehicle was
    retired does not bring it back.
    """

    home_since: UtcDatetime | None = None

    @model_validator(mode="after")
    def _since_when_is_where(self) -> Self:
        if self.home_since is not None and "home_depot_id" not in self.model_fields_set:
            raise ValueError(
                f"{self.vehicle_id} has home_since {self.home_since.isoformat()} and no "
                "home_depot_id; say where it is at home since then, or null for nowhere"
            )
        return self


class Home(NamedTuple):
    """Where a vehicle was at home, from an instant until before another; None is no end."""

    depot_id: str
    since: datetime | None
    until: datetime | None


class Assignment(NamedTuple):
    """Which vehicle a tracker was in, from an instant until before another; None is no end."""

    vehicle_id: str
    since: datetime
    until: datetime | None


class FleetFile(_Row):
    """Master data to enter together, as a file holds them. Ids are `<municipality>/<own id>`.

    Raises `pydantic.ValidationError` for an id that is not its municipality's own, for one that
    comes twice, and for a name that is too long or has characters that cannot be shown.
    """

    municipalities: tuple[Municipality, ...] = ()
    depots: tuple[Depot, ...] = ()
    vehicles: tuple[EnteredVehicle, ...] = ()

    @model_validator(mode="after")
    def _ids_are_own_and_unique(self) -> Self:
        ids = [municipality.municipality_id for municipality in self.municipalities]
        for depot in self.depots:
            _check_own(depot.depot_id, depot.municipality_id)
            ids.append(depot.depot_id)
        for vehicle in self.vehicles:
            _check_own(vehicle.vehicle_id, vehicle.municipality_id)
            if vehicle.home_depot_id is not None:
                _check_own(vehicle.home_depot_id, vehicle.municipality_id)
            ids.append(f"vehicle {vehicle.vehicle_id}")
        twice = sorted(name for name, count in Counter(ids).items() if count > 1)
        if twice:
            raise ValueError(f"{', '.join(twice)} comes twice; keep one of each")
        return self

    @model_validator(mode="after")
    def _names_can_be_shown(self) -> Self:
        names = [municipality.name for municipality in self.municipalities]
        names += [depot.name for depot in self.depots]
        names += [vehicle.name for vehicle in self.vehicles]
        for name in names:
            if not name.isprintable():
                raise ValueError(
                    f"name {name!r} has a character that cannot be shown, such as a tab or a line "
                    "break; leave it out"
                )
            if len(name) > MAX_NAME_LENGTH:
                raise ValueError(
                    f"name {name[:40]!r}... has {len(name)} characters; "
                    f"the limit is {MAX_NAME_LENGTH}"
                )
        return self


def _check_polygon(depot_id: str, polygon: tuple[Corner, ...], point: tuple[float, float]) -> None:
    # It brings numpy along: only who draws polygons waits for that.
    from shapely import Polygon, is_valid_reason  # noqa: PLC0415

    corners = set(polygon)
    if len(corners) < _MIN_CORNERS:
        raise ValueError(
            f"polygon of {depot_id} has {len(corners)} different corners; give at least "
            f"{_MIN_CORNERS}"
        )
    for lat, lon in polygon:
        north_km = (lat - point[0]) * _KM_PER_DEG
        east_km = (lon - point[1]) * _KM_PER_DEG * cos(radians(point[0]))
        away_km = hypot(north_km, east_km)
        if away_km > CORNERS_WITHIN_KM:
            raise ValueError(
                f"polygon of {depot_id} has corner ({lat}, {lon}), {away_km:.0f} km from the "
                f"depot's point ({point[0]}, {point[1]}); the limit is {CORNERS_WITHIN_KM:.0f} km; "
                "give each corner as (lat, lon)"
            )
    drawn = Polygon([(lon, lat) for lat, lon in polygon])
    if not drawn.is_valid:
        raise ValueError(
            f"polygon of {depot_id} crosses or touches itself (lon, lat: "
            f"{is_valid_reason(drawn)}); give its corners in the order in which they are walked"
        )


def _check_own(scoped_id: str, municipality_id: str) -> None:
    if municipality_of(scoped_id) != municipality_id:
        raise ValueError(
            f"{scoped_id} does not belong to municipality {municipality_id}; its id must begin "
            f"with {municipality_id}/"
        )
