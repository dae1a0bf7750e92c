"""How far and how long it is between places: what a road service or the geodesic says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from schemas.errors import OutageError
from schemas.fleet.vehicle_type import VehicleType


class TravelError(OutageError):
    """Distances or times could not be had; the message names the service and the remedy."""


class Place(NamedTuple):
    """A position in degrees (WGS 84)."""

    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class TravelMatrix:
    """Metres and seconds from each place (row) to each place (column); `inf` where no way is.

    Raises `ValueError` for rows that are not square, and for a value that is no distance or time.
    """

    distance_m: Sequence[Sequence[float]]
    duration_s: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        size = len(self.distance_m)
        for name, rows in (("distance_m", self.distance_m), ("duration_s", self.duration_s)):
            lengths = sorted({len(row) for row in rows})
            if len(rows) != size or (size and lengths != [size]):
                raise ValueError(
                    f"{name} has {len(rows)} rows of {lengths} values; give {size} rows of {size}"
                )
            for number, row in enumerate(rows):
                if row and not min(row) >= 0:
                    raise ValueError(
                        f"{name} has {min(row)} in row {number}; give values from 0, inf for no way"
                    )


class Travel(Protocol):
    """Where distances and times come from."""

    def matrix(self, places: Sequence[Place], vehicle_type: VehicleType) -> TravelMatrix:
        """Return the ways between all places for a type of vehicle.

        Raises `TravelError` when the source cannot tell.
        """
        ...
