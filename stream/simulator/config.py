"""What to simulate: one frozen set of parameters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from schemas.errors import UserError

_SHARES: Final = (
    "imbalance",
    "demand_shift_share",
    "gap_share",
    "no_ignition_share",
    "duplicate_share",
    "late_share",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulationConfig:
    """The fleet, its days, and how well it is observed. Equal configurations give equal fleets.

    Shares run from 0 to 1. `demand_shift_day` counts days from `start`, the first is 0.
    Raises `ValueError` for a value out of bounds.
    """

    start: date
    seed: int = 1
    days: int = 10
    municipalities: tuple[str, ...] = ("syddjurs",)
    vehicles_per_municipality: int = 40
    imbalance: float = 0.14
    """Share of the fleet that is at home at the crowded depot and missing at the short one."""
    demand_shift_day: int | None = None
    """From this day on a good part of the busiest depot's demand arises at another one."""
    demand_shift_share: float = 0.85
    """How much of it."""
    noise_m: float = 4.0
    """Standard deviation of a position along each axis."""
    gap_share: float = 0.0
    """Chance that a vehicle is without coverage for 20 to 150 minutes of a day."""
    no_ignition_share: float = 0.0
    """Share of cars and vans whose tracker never reports the ignition."""
    duplicate_share: float = 0.0
    """Share of fixes that are sent twice."""
    late_share: float = 0.0
    """Chance that a vehicle holds back up to two hours of a day and sends them newest first."""
    driving_interval_s: float = 10.0
    idling_interval_s: float = 60.0
    parked_interval_s: float = 900.0

    def __post_init__(self) -> None:
        for name in _SHARES:
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise UserError(f"{name} is {share}; it must lie between 0 and 1")
        for name in ("driving_interval_s", "idling_interval_s", "parked_interval_s"):
            interval_s = getattr(self, name)
            if interval_s < 1.0:
                raise UserError(f"{name} is {interval_s} s; a tracker needs at least 1 s")
        for name in ("seed", "days", "vehicles_per_municipality", "noise_m"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must not be negative")
        if len(set(self.municipalities)) != len(self.municipalities):
            raise UserError(f"{self.municipalities} names a municipality twice; name each once")
