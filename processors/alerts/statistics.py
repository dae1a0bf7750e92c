"""What alerts are evaluated on: a row a vehicle or depot, as the SQL of that name returns them.

The SQL stands in `infra.database.timeline.alerts`, by the name that `QUERY` has here. A row's
columns are the fields; `OF_DEPOTS` says whether a row, and its alert, is of a depot.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from schemas.fleet.master_data import EnergySource, VehicleType


@dataclass(frozen=True, slots=True)
class VehicleStats:
    """What one vehicle did in a window of observation that ends with its municipality's last fix.

    `observed_days` is how much of the window has passed since the vehicle's first fix, and
    `silent_h` how long before the window's end its last one was. `available_h` is what the calendar
    gave in these days, `used_available_h` how much of that the vehicle was on a trip.
    """

    QUERY: ClassVar[str] = "vehicles"
    OF_DEPOTS: ClassVar[bool] = False

    vehicle_id: str
    vehicle_class: VehicleType
    energy_source: EnergySource
    observed_days: float
    distance_km: float
    days_used: int
    engine_h: float
    idling_h: float
    silent_h: float
    available_h: float
    used_available_h: float
    odometer_km: float = 0.0
    odometer_gps_km: float = 0.0
    """What odometer and positions say of the trips on which both are known."""

    @property
    def subject_id(self) -> str:
        """Id of the vehicle."""
        return self.vehicle_id


@dataclass(frozen=True, slots=True)
class DepotStats:
    """What was out of one depot in a window of observation, and what is at home there.

    `days` are those with available time, `short_days` those of them on which as many vehicles as
    are at home there today, or more, were out at once, and more where that is one only; `peak_out`
    is the most that ever were.
    """

    QUERY: ClassVar[str] = "depots"
    OF_DEPOTS: ClassVar[bool] = True

    depot_id: str
    supply: int
    days: int
    short_days: int
    peak_out: int

    @property
    def subject_id(self) -> str:
        """Id of the depot."""
        return self.depot_id


@dataclass(frozen=True, slots=True)
class RetiredVehicleStats:
    """What a vehicle reported after its last day in service, until its municipality's last fix.

    `reporting_h` is the time from the end of that day to the vehicle's own last fix, negative where
    that came earlier; `silent_h` how long ago that fix was, `distance_km` what it drove since.
    """

    QUERY: ClassVar[str] = "retired-vehicles"
    OF_DEPOTS: ClassVar[bool] = False

    vehicle_id: str
    in_service_until: date
    reporting_h: float
    silent_h: float
    distance_km: float

    @property
    def subject_id(self) -> str:
        """Id of the vehicle."""
        return self.vehicle_id


@dataclass(frozen=True, slots=True)
class OtherVendorStats:
    """Fixes of a vehicle that wait, since their vendor is none of those that may report it."""

    QUERY: ClassVar[str] = "other-vendors"
    OF_DEPOTS: ClassVar[bool] = False

    vehicle_id: str
    vendors: tuple[str, ...]
    fixes: int

    @property
    def subject_id(self) -> str:
        """Id of the vehicle."""
        return self.vehicle_id
