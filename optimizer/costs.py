"""What a placement costs, in øre: every constant of the cost model with its source.

What a vehicle costs to own does not depend on the depot it stands at: it is the same in every
placement and is left out. What is left is demand that no vehicle of the depot can take, what the
others burn, moving vehicles, and electric vehicles without a charger.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pyproj import Geod

from schemas.fleet.energy import CO2_PRICE_DKK_PER_KG, CO2E_KG_PER_UNIT, PRICE_DKK_PER_UNIT, assumed
from schemas.fleet.master_data import Depot, Vehicle

ORE_PER_DKK: Final = 100

OWN_CAR_DKK_PER_KM: Final = 3.70
"""Allowance for an employee's own car, the first 20,000 km of a year (OS2fleetoptimiser)."""

UNSERVED_MINIMUM_DKK: Final = 50.0
"""Least price of a round trip without a vehicle: ten minutes of staff time to find another way
(ours)."""

OWN_CAR_L_PER_KM: Final = 0.06
"""Petrol of an employee's own car: some 17 km a litre (ours)."""

STAFF_DKK_PER_H: Final = 300.0
"""An hour of a municipal employee, overhead included (ours, rounded)."""

RELOCATION_DKK: Final = 500.0
"""Moving a vehicle for good: keys, calendar, signs and telling people (ours: under two hours)."""

ROAD_FACTOR: Final = 1.3
"""Road kilometres for a kilometre as the crow flies (ours, usual for road networks)."""

RELOCATION_SPEED_KMH: Final = 50.0
"""Speed of the drive from the old depot to the new one (ours)."""

WALKING_SPEED_KMH: Final = 5.0
"""Of an employee on foot to a neighbouring depot (ours, usual for adults)."""

CYCLING_SPEED_KMH: Final = 15.0
"""The same by bicycle (ours: slower than a trip's, for it must be fetched and locked)."""

LENDING_DKK: Final = 150.0
"""Arranging that a depot may fetch a certain vehicle of a neighbour's, once a plan (ours: half an
hour of staff time). What saves less is not arranged."""

MISSING_CHARGER_DKK_PER_DAY: Final = 50.0
"""An electric vehicle beyond its depot's chargers: ten minutes of staff time a day (ours).

Priced and not forbidden: a fleet may already lack chargers, and must still get a plan."""

CHANGEOVER_S: Final = 300.0
"""Rest between two round trips of one vehicle (OS2fleetoptimiser)."""

DRIVING_STEP_ORE_PER_KM: Final = 20
"""Placement tells what vehicles burn apart in such steps (ours: petrol, diesel and electricity lie
further apart, and each step that a fleet has costs columns)."""

CHARGER_DKK_PER_YEAR: Final = 3_500.0
"""A charger beyond those that a depot has: 25,000 DKK over ten years, and service (ours)."""

SITE_DKK_PER_YEAR: Final = 25_000.0
"""A site to have: ten parking places at 200 DKK a month, and a key cabinet's upkeep (ours).

A place to begin with: a coordinator knows what each depot costs, and says so."""

FITTING_OUT_DKK_PER_YEAR: Final = 5_000.0
"""A new site beyond that: 50,000 DKK over ten years for signs, marking and a key cabinet (ours)."""

CONSTANTS: Final[Mapping[str, float]] = MappingProxyType(
    {
        "own_car_dkk_per_km": OWN_CAR_DKK_PER_KM,
        "unserved_minimum_dkk": UNSERVED_MINIMUM_DKK,
        "own_car_l_per_km": OWN_CAR_L_PER_KM,
        "staff_dkk_per_h": STAFF_DKK_PER_H,
        "relocation_dkk": RELOCATION_DKK,
        "road_factor": ROAD_FACTOR,
        "relocation_speed_kmh": RELOCATION_SPEED_KMH,
        "lending_dkk": LENDING_DKK,
        "walking_speed_kmh": WALKING_SPEED_KMH,
        "cycling_speed_kmh": CYCLING_SPEED_KMH,
        "missing_charger_dkk_per_day": MISSING_CHARGER_DKK_PER_DAY,
        "changeover_s": CHANGEOVER_S,
        "driving_step_ore_per_km": DRIVING_STEP_ORE_PER_KM,
        "charger_dkk_per_year": CHARGER_DKK_PER_YEAR,
        "site_dkk_per_year": SITE_DKK_PER_YEAR,
        "fitting_out_dkk_per_year": FITTING_OUT_DKK_PER_YEAR,
        "co2_price_dkk_per_kg": CO2_PRICE_DKK_PER_KG,
    }
    | {f"price_dkk_{source}": price for source, price in PRICE_DKK_PER_UNIT.items()}
    | {f"co2e_kg_{source}": emitted for source, emitted in CO2E_KG_PER_UNIT.items()}
)
"""All of them: they are part of a plan's inputs."""

_GEOD: Final = Geod(ellps="WGS84")


def ore(dkk: float) -> int:
    """Return DKK in whole øre."""
    return round(dkk * ORE_PER_DKK)


def unserved_ore(distance_m: float) -> int:
    """Return the price of a round trip that no vehicle of its depot could take."""
    return ore(max(UNSERVED_MINIMUM_DKK, distance_m / 1000 * OWN_CAR_DKK_PER_KM))


def energy_dkk_per_km(vehicle: Vehicle) -> float:
    """Return what a driven kilometre costs: energy, and its CO2e at the price of CO2."""
    source = assumed(vehicle.energy_source)
    return vehicle.consumption_per_km * (
        PRICE_DKK_PER_UNIT[source] + CO2E_KG_PER_UNIT[source] * CO2_PRICE_DKK_PER_KG
    )


def driving_ore_per_km(vehicle: Vehicle) -> int:
    """Return the same in steps for placement; at most what an own car's kilometre costs."""
    own_car = ore(OWN_CAR_DKK_PER_KM) // DRIVING_STEP_ORE_PER_KM
    steps = round(energy_dkk_per_km(vehicle) * ORE_PER_DKK / DRIVING_STEP_ORE_PER_KM)
    return min(steps, own_car) * DRIVING_STEP_ORE_PER_KM


def road_km(origin: Depot, destination: Depot) -> float:
    """Return the kilometres of road between two depots, reckoned from the straight line."""
    _, _, away_m = _GEOD.inv(origin.lon, origin.lat, destination.lon, destination.lat)
    return float(away_m) / 1000 * ROAD_FACTOR


def fetching_ore(way_min: float) -> int:
    """Return the price in staff time of going to another depot for a vehicle, and back after."""
    return ore(2 * way_min / 60 * STAFF_DKK_PER_H)


def relocation_ore(vehicle: Vehicle, origin: Depot, destination: Depot) -> int:
    """Return the price of moving a vehicle for good, the drive included; 0 where it stands."""
    if origin.depot_id == destination.depot_id:
        return 0
    staff_dkk_per_km = STAFF_DKK_PER_H / RELOCATION_SPEED_KMH
    away_km = road_km(origin, destination)
    return ore(RELOCATION_DKK + away_km * (energy_dkk_per_km(vehicle) + staff_dkk_per_km))


def missing_charger_ore(horizon_days: int) -> int:
    """Return the price of one electric vehicle without a charger over the horizon."""
    return ore(MISSING_CHARGER_DKK_PER_DAY * horizon_days)
