"""Travel without a road service: the geodesic, a road factor, and a speed for each type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from pyproj import Geod

from optimizer.work_budget import Floats
from schemas.fleet.costs import Costs
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.travel import Place, TravelMatrix

_BICYCLE_KMH: Final[Mapping[VehicleType, float]] = MappingProxyType(
    {VehicleType.CARGO_BIKE: 20.0, VehicleType.BIKE: 20.0, VehicleType.E_BIKE: 30.0}
)
"""Mean speed of bicycles on the road (OS2fleetoptimiser)."""

_DEFAULTS: Final = Costs()
_GEOD: Final = Geod(ellps="WGS84")


def speed_kmh(vehicle_type: VehicleType, costs: Costs) -> float:
    """Return the mean speed of a type on the road."""
    return _BICYCLE_KMH.get(vehicle_type, costs.relocation_speed_kmh)


def roads_m(origins: Sequence[Place], destinations: Sequence[Place], costs: Costs) -> Floats:
    """Return metres as the crow flies times the road factor, origins x destinations."""
    shape = (len(origins), len(destinations))
    rows, columns = (side.ravel() for side in np.indices(shape))
    start = np.array(origins, dtype=np.float64).reshape(-1, 2)[rows]
    end = np.array(destinations, dtype=np.float64).reshape(-1, 2)[columns]
    _, _, length_m = _GEOD.inv(start[:, 1], start[:, 0], end[:, 1], end[:, 0])
    return np.asarray(length_m, dtype=np.float64).reshape(shape) * costs.road_factor


class Geodesic:
    """Ways as the crow flies times the road factor, at the type's mean speed."""

    def __init__(self, costs: Costs = _DEFAULTS) -> None:
        self._costs = costs

    def matrix(self, places: Sequence[Place], vehicle_type: VehicleType) -> TravelMatrix:
        """Return the ways between all places; there always is one."""
        distance_m = roads_m(places, places, self._costs)
        duration_s = distance_m / (speed_kmh(vehicle_type, self._costs) / 3.6)
        return TravelMatrix(distance_m.tolist(), duration_s.tolist())
