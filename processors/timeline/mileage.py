"""Mileage: how far a trip went, by the odometer where it can be believed, else by GPS.

Positions cut corners, the more the fewer there are; odometers stand still, jump back, or count in
whole kilometres. So the readings count as long as they agree with the positions, and where they do
not, the positions do.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from schemas.fleet.rules import Rules


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

    def driven(
        self,
        lengths_m: Iterable[float],
        start_m: float | None,
        readings_m: Iterable[float | None],
        rules: Rules,
    ) -> tuple[Mileage, list[float]]:
        """Return the mileage with more legs driven, one after the other, and how far each counts.

        `start_m` is the reading at the first leg's start, `readings_m` are those at their ends.

        Since the mark, as much is counted as the odometer says while it agrees with the positions.
        Once it does not, as much as the positions say, and the mark moves on. Either way sums are
        compared and not legs, so that a coarse or a belated reading does no harm.
        """
        counted, by_odometer, gps, first, last, mark, gps_since, counted_since = self
        least, slack_m = 1 - rules.odometer_tolerance, rules.odometer_slack_m
        metres: list[float] = []
        for length_m, reading in zip(lengths_m, readings_m, strict=True):
            gps += length_m
            if first is not None:
                last = last if reading is None else reading
            elif start_m is not None:
                first, last = start_m, reading
            else:
                first, last = reading, None
            before = counted
            if mark is None:
                mark = start_m
            if mark is None:
                counted += length_m
                mark = reading
            else:
                gps_since += length_m
                gps_m = gps_since
                believed = False
                if reading is not None:
                    gps_m = reading - mark
                    # The shorter may not be too far below the longer.
                    shorter, longer = (
                        (gps_m, gps_since) if gps_m < gps_since else (gps_since, gps_m)
                    )
                    believed = shorter >= least * longer - slack_m
                more = max(0.0, (gps_m if believed else gps_since) - counted_since)
                counted += more
                if believed:
                    by_odometer += more
                if reading is None or believed:
                    counted_since += more
                else:
                    mark, gps_since, counted_since = reading, 0.0, 0.0
            metres.append(counted - before)
            start_m = reading
        return (
            Mileage(counted, by_odometer, gps, first, last, mark, gps_since, counted_since),
            metres,
        )
