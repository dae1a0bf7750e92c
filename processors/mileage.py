"""Mileage: how far a trip went, by the odometer where it can be believed, else by GPS.

Positions cut corners, the more the fewer there are; odometers stand still, jump back, or count in
whole kilometres. So the readings count as long as they agree with the positions, and where they do
not, the positions do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from processors.legs import Leg
from schemas.rules import Rules


class DistanceSource(StrEnum):
    """What the distance of a trip was counted by."""

    GPS = "gps"
    ODOMETER = "odometer"
    MIXED = "mixed"


class Mileage(NamedTuple):
    """What a trip's driven legs amount to, in metres.

    `gps_m` are their geodesics, `odometer_m` is the difference of the trip's last and first reading
    (None before there are two), `by_odometer_m` is that part of `counted_m` which the odometer
    decided. The rest belongs to the stretch since `mark_m`, the reading from which on odometer and
    positions are compared: what they say since then, and what was counted.
    """

    counted_m: float = 0.0
    by_odometer_m: float = 0.0
    gps_m: float = 0.0
    first_m: float | None = None
    last_m: float | None = None
    mark_m: float | None = None
    gps_since_m: float = 0.0
    counted_since_m: float = 0.0

    @property
    def odometer_m(self) -> float | None:
        """What the odometer says of the whole trip; below 0 where it jumped back."""
        if self.first_m is None or self.last_m is None:
            return None
        return self.last_m - self.first_m

    @property
    def source(self) -> DistanceSource:
        """What the distance was counted by."""
        if self.by_odometer_m == 0:
            return DistanceSource.GPS
        if self.by_odometer_m == self.counted_m:
            return DistanceSource.ODOMETER
        return DistanceSource.MIXED

    def driven(self, leg: Leg, rules: Rules) -> Mileage:
        """Return the mileage with one more leg driven.

        Since the mark, as much is counted as the odometer says while it agrees with the positions.
        Once it does not, as much as the positions say, and the mark moves on. Either way sums are
        compared and not legs, so that a coarse or a belated reading does no harm.
        """
        start_m, reading_m = leg.start_odometer_m, leg.end_odometer_m
        gps_m = self.gps_m + leg.distance_m
        first_m, last_m = self._readings(start_m, reading_m)
        mark_m = start_m if self.mark_m is None else self.mark_m
        gps_since_m = self.gps_since_m + leg.distance_m
        if mark_m is None:
            counted_m = self.counted_m + leg.distance_m
            return Mileage(counted_m, self.by_odometer_m, gps_m, first_m, last_m, reading_m)
        said_m = gps_since_m if reading_m is None else reading_m - mark_m
        believed = reading_m is not None and _agree(said_m, gps_since_m, rules)
        more_m = max(0.0, (said_m if believed else gps_since_m) - self.counted_since_m)
        so_far = Mileage(
            self.counted_m + more_m,
            self.by_odometer_m + (more_m if believed else 0.0),
            gps_m,
            first_m,
            last_m,
        )
        if reading_m is not None and not believed:
            return so_far._replace(mark_m=reading_m)
        return so_far._replace(
            mark_m=mark_m, gps_since_m=gps_since_m, counted_since_m=self.counted_since_m + more_m
        )

    def _readings(
        self, start_m: float | None, end_m: float | None
    ) -> tuple[float | None, float | None]:
        """Return the first reading and the last one at the end of a leg after it."""
        if self.first_m is not None:
            return self.first_m, self.last_m if end_m is None else end_m
        if start_m is not None:
            return start_m, end_m
        return end_m, None


def _agree(odometer_m: float, gps_m: float, rules: Rules) -> bool:
    """Return whether the shorter is not too far below the longer."""
    least = 1 - rules.odometer_tolerance
    shorter_m, longer_m = min(odometer_m, gps_m), max(odometer_m, gps_m)
    return shorter_m >= least * longer_m - rules.odometer_slack_m
