"""Cost constants are inputs: whichever is changed, the hash of the inputs and the costs follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from optimizer.assignment.inputs import assignment_inputs
from optimizer.assignment.solve import inputs_hash as assignment_hash
from optimizer.backtest.cost_breakdown import Yard, replay_cost
from optimizer.backtest.replay import nights_of, replay, requests_of
from optimizer.backtest.run import yard_of
from optimizer.carpool.inputs import carpool_inputs
from optimizer.carpool.solve import plan_carpool
from optimizer.composition.demand import demands_of
from optimizer.composition.inputs import composition_inputs
from optimizer.composition.solve import inputs_hash as composition_hash
from optimizer.placement.cost_breakdown import placement_cost
from optimizer.placement.problem import inputs_hash, problem_of
from optimizer.search import Search
from optimizer.sites.inputs import sites_inputs
from optimizer.sites.solve import inputs_hash as sites_hash
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, FleetFile, Vehicle, VehicleType
from schemas.fleet.policy import Fetching, PlacementPolicy
from schemas.plans.composition import CompositionRules
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.journeys import DrivenRoundTrip, DrivenTrip, JourneyRows

MONDAY = datetime(2026, 3, 2, 7, tzinfo=UTC)
HALL, SCHOOL = "m/hall", "m/school"
DEPOTS = tuple(
    Depot(depot_id=depot_id, municipality_id="m", name="d", lat=lat, lon=10.5, capacity=9)
    for depot_id, lat in ((HALL, 56.30), (SCHOOL, 56.31))
)
VEHICLES = tuple(
    Vehicle(
        vehicle_id=f"m/{name}",
        municipality_id="m",
        name=name,
        vehicle_type=kind,
        energy_source=source,
        consumption_per_km=consumption,
        home_depot_id=depot_id,
    )
    for name, kind, source, consumption, depot_id in (
        ("petrol", VehicleType.CAR, EnergySource.PETROL, 0.06, HALL),
        ("diesel", VehicleType.CAR, EnergySource.DIESEL, 0.05, SCHOOL),
        ("electric", VehicleType.CAR, EnergySource.ELECTRICITY, 0.18, SCHOOL),
        ("hvo", VehicleType.VAN, EnergySource.HVO, 0.08, SCHOOL),
        ("guest", VehicleType.CAR, EnergySource.PETROL, 0.06, SCHOOL),
    )
)
CHANGED = sorted(Costs.model_fields)


def round_trips() -> tuple[ObservedRoundTrip, ...]:
    """Return a fortnight of driving; the guest's trips from the hall need a second car there."""
    trips = []
    for day in range(14):
        for vehicle, depot_id, start_min, end_min, km in (
            ("petrol", HALL, 0, 60, 30.0),
            ("petrol", HALL, 67, 120, 30.0),
            ("guest", HALL, 5, 50, 120.0),
            ("guest", HALL, 70, 100, 3.0),
            ("electric", SCHOOL, 180, 240, 20.0),
            ("diesel", SCHOOL, 300, 400, 25.0),
            ("hvo", SCHOOL, 0, 60, 20.0),
        ):
            at = MONDAY + timedelta(days=day)
            trips.append(
                ObservedRoundTrip(
                    vehicle_id=f"m/{vehicle}",
                    started_at=at + timedelta(minutes=start_min),
                    ended_at=at + timedelta(minutes=end_min),
                    start_depot_id=depot_id,
                    end_depot_id=depot_id,
                    distance_m=km * 1000,
                )
            )
    return tuple(trips)


def placement_inputs(costs: Costs, fetching: Fetching = Fetching.ON_FOOT) -> PlacementInputs:
    return PlacementInputs(
        municipality_id="m",
        costs=costs,
        timezone="Europe/Copenhagen",
        horizon_days=28,
        round_trip_max_s=86_400,
        policy=PlacementPolicy(lending_within_min=60, fetching=fetching),
        depots=DEPOTS,
        vehicles=VEHICLES,
        round_trips=round_trips(),
    )


def journeys(costs: Costs) -> JourneyRows:
    """Return the same as journeys, each to a far stop and back."""
    return JourneyRows(
        municipality_id="m",
        costs=costs,
        timezone="Europe/Copenhagen",
        horizon_days=28,
        depots=DEPOTS,
        vehicles=VEHICLES,
        round_trips=tuple(
            DrivenRoundTrip(
                vehicle_id=trip.vehicle_id,
                depot_id=trip.start_depot_id,
                home_depot_id=trip.start_depot_id,
                started_at=trip.started_at,
                ended_at=trip.ended_at,
                distance_m=trip.distance_m,
                trips=(
                    DrivenTrip(
                        started_at=trip.started_at,
                        ended_at=trip.started_at + timedelta(minutes=10),
                        end_lat=56.4,
                        end_lon=10.6,
                    ),
                    DrivenTrip(
                        started_at=trip.ended_at - timedelta(minutes=10),
                        ended_at=trip.ended_at,
                        end_lat=56.3,
                        end_lon=10.5,
                    ),
                ),
            )
            for trip in round_trips()
        ),
    )


def changed(name: str) -> Costs:
    return Costs(**{name: 2 * getattr(Costs(), name)})


def composition(costs: Costs) -> Any:
    return composition_inputs(placement_inputs(costs), CompositionRules()).inputs


def hashes(costs: Costs) -> dict[str, str]:
    return {
        "placement": inputs_hash(placement_inputs(costs)),
        "assignment": assignment_hash(assignment_inputs(placement_inputs(costs)).inputs),
        "composition": composition_hash(composition(costs)),
        "sites": sites_hash(sites_inputs(journeys(costs)).inputs),
        "carpool": plan_carpool(carpool_inputs(journeys(costs)).inputs, Search(1, 1.0)).inputs_hash,
    }


@pytest.mark.parametrize("name", CHANGED)
def test_every_constant_is_in_the_hash_of_every_model(name: str) -> None:
    before, after = hashes(Costs()), hashes(changed(name))
    assert not [model for model in before if before[model] == after[model]]


def placed(costs: Costs, fetching: Fetching) -> tuple[Any, ...]:
    """Return what a placement costs that moves the guest to where its trips are, and lends."""
    problem = problem_of(placement_inputs(costs, fetching))
    stands = problem.as_it_stands()
    return (
        placement_cost(problem, stands),
        placement_cost(problem, stands | {"m/guest": HALL}),
        max((problem.saved_ore(*item) for item in problem.lendings.items()), default=None),
    )


def replayed(costs: Costs) -> tuple[Any, ...]:
    """Return what the same weeks cost when they are replayed, fetching over night included."""
    inputs = placement_inputs(costs)
    stands = {vehicle.vehicle_id: vehicle.home_depot_id or HALL for vehicle in VEHICLES}
    yard: Yard = yard_of(inputs, stands, 14)
    requests = requests_of(inputs.round_trips, VEHICLES, costs)
    nights = nights_of(requests, yard.zone)
    return (
        replay_cost(replay(requests, VEHICLES, stands, nights, costs), yard),
        yard.charger_dkk(stands),
        yard.relocation_dkk(stands | {"m/guest": HALL}),
    )


def composed(costs: Costs) -> tuple[Any, ...]:
    return tuple(
        (
            demand.fleet_ore([3] * len(demand.kinds)),
            demand.drive_ore.tolist(),
            demand.own_ore.tolist(),
            demand.own_g.tolist(),
        )
        for demand in demands_of(composition(costs))
    )


def sited(costs: Costs) -> tuple[Any, ...]:
    inputs = sites_inputs(journeys(costs)).inputs
    return tuple(site.dkk_per_year for site in inputs.sites), inputs.round_trips


def figures(costs: Costs) -> tuple[Any, ...]:
    return (
        placed(costs, Fetching.ON_FOOT),
        placed(costs, Fetching.BY_BICYCLE),
        replayed(costs),
        composed(costs),
        sited(costs),
    )


@pytest.mark.parametrize("name", CHANGED)
def test_the_costs_follow_every_constant(name: str) -> None:
    assert figures(changed(name)) != figures(Costs())


def test_each_constant_says_where_it_is_from() -> None:
    assert not [name for name, field in Costs.model_fields.items() if not field.description]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"staff_dkk_per_h": -1}, "greater than or equal to 0"),
        ({"road_factor": 0}, "greater than 0"),
        ({"staff_dkk": 300}, "Extra inputs"),
        ({"diesel_dkk_per_l": "inf"}, "finite"),
    ],
)
def test_costs_that_cannot_be_meant_are_refused(given: dict[str, Any], fault: str) -> None:
    file = {"municipalities": [{"municipality_id": "m", "name": "M", "costs": given}]}
    with pytest.raises(ValidationError, match=fault):
        FleetFile.model_validate({**file, "depots": [], "vehicles": []})
