"""Travel without a road service: the geodesic, a road factor, and a speed for each type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from pyproj import Geod

from optimizer.costs import RELOCATION_SPEED_KMH, ROAD_FACTOR
from optimizer.work_budget import Floats
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.travel import Place, TravelMatrix

SPEED_KMH: Final[Mapping[VehicleType, float]] = MappingProxyType(
    {
        VehicleType.CAR: RELOCATION_SPEED_KMH,
        VehicleType.VAN: RELOCATION_SPEED_KMH,
        VehicleType.UNKNOWN: RELOCATION_SPEED_KMH,
        VehicleType.CARGO_BIKE: 20.0,
        VehicleType.BIKE: 20.0,
        VehicleType.E_BIKE: 30.0,
    }
)
"""Mean speed on the road: bicycles as OS2fleetoptimiser has them, motor vehicles ours."""

_GEOD: Final = Geod(ellps="WGS84")


def roads_m(origins: Sequence[Place], destinations: Sequence[Place]) -> Floats:
    """Return metres as the crow flies times `ROAD_FACTOR`, origins x destinations."""
    shape = (len(origins), len(destinations))
    rows, columns = (side.ravel() for side in np.indices(shape))
    start = np.array(origins, dtype=np.float64).reshape(-1, 2)[rows]
    end = np.array(destinations, dtype=np.float64).reshape(-1, 2)[columns]
    _, _, length_m = _GEOD.inv(start[:, 1], start[:, 0], end[:, 1], end[:, 0])
    return np.asarray(length_m, dtype=np.float64).reshape(shape) * ROAD_FACTOR


class Geodesic:
    """Ways as the crow flies times `optimizer.costs.ROAD_FACTOR`, at the type's mean speed."""

    def matrix(self, places: Sequence[Place], vehicle_type: VehicleType) -> TravelMatrix:
        """Return the ways between all places; there always is one."""
        distance_m = roads_m(places, places)
        duration_s = distance_m / (SPEED_KMH[vehicle_type] / 3.6)
        return TravelMatrix(distance_m.tolist(), duration_s.tolist())
