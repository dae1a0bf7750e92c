"""Classes of vehicles, and what they run on."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


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


MOTOR: Final = frozenset({VehicleType.CAR, VehicleType.VAN})
"""They take a parking place and, if electric, a charger; bicycles stand in a rack."""
