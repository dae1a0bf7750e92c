"""What replayed weeks cost, in DKK and kg CO2e, from what happened in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from optimizer.backtest.replay import Replay, requested_class
from optimizer.costs import ORE_PER_DKK, relocation_ore, road_km
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, Vehicle
from schemas.fleet.vehicle_type import MOTOR


@dataclass(frozen=True, slots=True)
class Yard:
    """The depots and vehicles that weeks are replayed with, and where the vehicles stood before.

    A move is for good: weeks pay their share of its price, `days` of the horizon's.
    """

    depots: Mapping[str, Depot]
    vehicles: Mapping[str, Vehicle]
    stood_at: Mapping[str, str]
    zone: ZoneInfo
    days: int
    horizon_days: int
    costs: Costs

    def moves(self, placement: Mapping[str, str]) -> int:
        """Return how many vehicles stood elsewhere, or nowhere, before."""
        return sum(1 for vehicle_id, at in placement.items() if self.stood_at.get(vehicle_id) != at)

    def motor_vehicles_at(self, placement: Mapping[str, str]) -> Mapping[str, int]:
        """Return how many parking places a placement takes at each depot."""
        return Counter(
            at
            for vehicle_id, at in placement.items()
            if requested_class(self.vehicles[vehicle_id]) in MOTOR
        )

    def relocation_dkk(self, placement: Mapping[str, str]) -> float:
        """Return these days' share of what the moves cost; who stood nowhere comes for free."""
        moves_ore = sum(
            relocation_ore(
                self.vehicles[vehicle_id],
                self.depots[self.stood_at[vehicle_id]],
                self.depots[at],
                self.costs,
            )
            for vehicle_id, at in placement.items()
            if vehicle_id in self.stood_at
        )
        return moves_ore / ORE_PER_DKK * min(1.0, self.days / self.horizon_days)

    def charger_dkk(self, placement: Mapping[str, str]) -> float:
        """Return what electric cars and vans beyond their depots' chargers cost in these days."""
        electric = Counter(
            at
            for vehicle_id, at in placement.items()
            if self.vehicles[vehicle_id].energy_source is EnergySource.ELECTRICITY
            and requested_class(self.vehicles[vehicle_id]) in MOTOR
        )
        missing = sum(
            max(0, count - self.depots[at].charger_count) for at, count in electric.items()
        )
        return missing * self.days * self.costs.missing_charger_dkk_per_day


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """What driving, fetching and not being served costs."""

    unserved_dkk: float
    energy_dkk: float
    fetching_dkk: float
    co2e_kg: float
    co2e_dkk: float
    """CO2e at its price."""

    @property
    def total_dkk(self) -> float:
        """All of it."""
        return self.unserved_dkk + self.energy_dkk + self.fetching_dkk + self.co2e_dkk


def unserved_dkk(distance_m: float, costs: Costs) -> float:
    """Return the price of a request without a vehicle: the allowance, or the least price."""
    return max(costs.unserved_minimum_dkk, distance_m / 1000 * costs.own_car_dkk_per_km)


def replay_cost(replayed: Replay, yard: Yard) -> ReplayCost:
    """Return what happened in DKK and kg CO2e.

    A request without a vehicle is an own car's trip. Fetching costs somebody's time besides.
    """
    costs = yard.costs
    own_car_kg_per_km = costs.own_car_l_per_km * costs.petrol_co2e_kg_per_l
    energy_dkk = co2e_kg = fetching_dkk = lost_dkk = 0.0
    driven = [(who, request.distance_m / 1000) for request, who in replayed.served()]
    for fetched in replayed.fetched:
        away_km = road_km(
            yard.depots[fetched.from_depot_id], yard.depots[fetched.to_depot_id], costs
        )
        driven.append((fetched.vehicle_id, away_km))
        fetching_dkk += away_km / costs.relocation_speed_kmh * costs.staff_dkk_per_h
    for vehicle_id, km in driven:
        vehicle = yard.vehicles[vehicle_id]
        source = vehicle.energy_source
        energy_dkk += vehicle.consumption_per_km * km * costs.energy_dkk_per_unit(source)
        co2e_kg += vehicle.consumption_per_km * km * costs.co2e_kg_per_unit(source)
    for request in replayed.unserved():
        lost_dkk += unserved_dkk(request.distance_m, costs)
        co2e_kg += own_car_kg_per_km * request.distance_m / 1000
    return ReplayCost(
        lost_dkk, energy_dkk, fetching_dkk, co2e_kg, co2e_kg * costs.co2_price_dkk_per_kg
    )
