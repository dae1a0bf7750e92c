"""What a placement costs, in øre, by a municipality's constants (`schemas.fleet.costs`).

What a vehicle costs to own does not depend on the depot it stands at: it is the same in every
placement and is left out. What is left is demand that no vehicle of the depot can take, what the
others burn, moving vehicles, and electric vehicles without a charger.
"""

from __future__ import annotations

from typing import Final

from pyproj import Geod

from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, Vehicle

ORE_PER_DKK: Final = 100
_GEOD: Final = Geod(ellps="WGS84")


def ore(dkk: float) -> int:
    """Return DKK in whole øre."""
    return round(dkk * ORE_PER_DKK)


def unserved_ore(distance_m: float, costs: Costs) -> int:
    """Return the price of a round trip that no vehicle of its depot could take."""
    return ore(max(costs.unserved_minimum_dkk, distance_m / 1000 * costs.own_car_dkk_per_km))


def energy_dkk_per_km(vehicle: Vehicle, costs: Costs) -> float:
    """Return what a driven kilometre costs: energy, and its CO2e at the price of CO2."""
    source = vehicle.energy_source
    co2e_dkk = costs.co2e_kg_per_unit(source) * costs.co2_price_dkk_per_kg
    return vehicle.consumption_per_km * (costs.energy_dkk_per_unit(source) + co2e_dkk)


def driving_ore_per_km(vehicle: Vehicle, costs: Costs) -> int:
    """Return the same in steps for placement; at most what an own car's kilometre costs."""
    step = costs.driving_step_ore_per_km
    own_car = ore(costs.own_car_dkk_per_km) // step
    steps = round(energy_dkk_per_km(vehicle, costs) * ORE_PER_DKK / step)
    return min(steps, own_car) * step


def road_km(origin: Depot, destination: Depot, costs: Costs) -> float:
    """Return the kilometres of road between two depots, estimated from the straight line."""
    _, _, away_m = _GEOD.inv(origin.lon, origin.lat, destination.lon, destination.lat)
    return float(away_m) / 1000 * costs.road_factor


def fetching_ore(way_min: float, costs: Costs) -> int:
    """Return the price in staff time of going to another depot for a vehicle, and back after."""
    return ore(2 * way_min / 60 * costs.staff_dkk_per_h)


def relocation_ore(vehicle: Vehicle, origin: Depot, destination: Depot, costs: Costs) -> int:
    """Return the price of moving a vehicle for good, the drive included; 0 where it stands."""
    if origin.depot_id == destination.depot_id:
        return 0
    staff_dkk_per_km = costs.staff_dkk_per_h / costs.relocation_speed_kmh
    dkk_per_km = energy_dkk_per_km(vehicle, costs) + staff_dkk_per_km
    return ore(costs.relocation_dkk + road_km(origin, destination, costs) * dkk_per_km)


def missing_charger_ore(horizon_days: int, costs: Costs) -> int:
    """Return the price of one electric vehicle without a charger over the horizon."""
    return ore(costs.missing_charger_dkk_per_day * horizon_days)
