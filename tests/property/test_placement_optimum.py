"""The optimum is the one that trying every placement finds, with costs simulated afresh.

So it is with locks, lending and a share to be served, and when the relaxation picks the columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.costs import (
    driving_ore_per_km,
    fetching_ore,
    ore,
    relocation_ore,
    road_km,
    unserved_ore,
)
from optimizer.placement.cost_breakdown import placement_cost
from optimizer.placement.lending import lent as one_by_one
from optimizer.placement.problem import problem_of
from optimizer.placement.solve import solve
from optimizer.search import Search
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.fleet.policy import Fetching, PlacementPolicy
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.plan import SolverStatus

COSTS = Costs()

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
CHANGEOVER = timedelta(seconds=COSTS.changeover_s)
ALL_COLUMNS = 1_000
DEPOTS = ("m/a", "m/b", "m/c")
HORIZON_DAYS = 7  # a week is observed: each round trip counts once
BICYCLE_KMH = 15.0
LOCKS = [None, None, None, MONDAY.date() - timedelta(days=1), MONDAY.date() + timedelta(days=9)]
LEASES = [
    None,
    None,
    MONDAY.date() - timedelta(days=1),
    *(MONDAY.date() + timedelta(days=after) for after in (5, 300)),
]


@st.composite
def small_instances(draw: st.DrawFn) -> PlacementInputs:
    """Draw up to three depots and five vehicles, each with a few round trips in a week."""
    depot_ids = DEPOTS[: draw(st.integers(1, 3))]
    depots = [
        Depot(
            depot_id=depot_id,
            municipality_id="m",
            name=depot_id,
            lat=56.0 + 0.05 * number,
            lon=10.0,
            capacity=draw(st.integers(0, 4)),
            charger_count=draw(st.integers(0, 2)),
        )
        for number, depot_id in enumerate(depot_ids)
    ]
    vehicles = [
        Vehicle(
            vehicle_id=f"m/{number}",
            municipality_id="m",
            name=str(number),
            vehicle_type=draw(st.sampled_from(["car", "van", "bike"])),
            energy_source=draw(st.sampled_from(["petrol", "electricity"])),
            consumption_per_km=draw(st.sampled_from([0.05, 0.2])),
            home_depot_id=(home := draw(st.sampled_from([*depot_ids, None]))),
            locked_until=draw(st.sampled_from(LOCKS)) if home else None,
            lease_ends_on=draw(st.sampled_from(LEASES)),
        )
        for number in range(draw(st.integers(1, 5)))
    ]
    round_trips: list[ObservedRoundTrip] = []
    for vehicle in vehicles:
        hour = 0
        for _ in range(draw(st.integers(0, 4))):
            hour += draw(st.integers(1, 5))
            lasts_h = draw(st.integers(1, 6))
            depot_id = draw(st.sampled_from(depot_ids))
            round_trips.append(
                ObservedRoundTrip(
                    vehicle_id=vehicle.vehicle_id,
                    started_at=MONDAY + timedelta(hours=hour),
                    ended_at=MONDAY + timedelta(hours=hour + lasts_h),
                    start_depot_id=depot_id,
                    end_depot_id=depot_id,
                    distance_m=draw(st.integers(1, 400)) * 1000.0,
                )
            )
            hour += lasts_h
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=HORIZON_DAYS,
        round_trip_max_s=36_000,
        policy=PlacementPolicy(
            served_share=draw(st.sampled_from([None, None, 0.5, 0.8, 1.0])),
            lending_within_min=draw(st.sampled_from([0, 30, 60])),
            fetching=Fetching.BY_BICYCLE,
        ),
        depots=tuple(depots),
        vehicles=tuple(vehicles),
        round_trips=tuple(round_trips),
    )


@dataclass(frozen=True)
class Verdict:
    """What a placement with lendings costs, and by how many round trips it misses the share."""

    cost_ore: int
    short: int


def turned_away(round_trips: list[ObservedRoundTrip], vehicles: int) -> list[ObservedRoundTrip]:
    """Simulate first come, first served: who finds all of a depot's vehicles out or just back."""
    away: list[datetime] = []
    lost: list[ObservedRoundTrip] = []
    for round_trip in sorted(
        round_trips, key=lambda trip: (trip.started_at, -trip.distance_m, trip.ended_at)
    ):
        away = [until for until in away if until > round_trip.started_at]
        if len(away) < vehicles:
            away.append(round_trip.ended_at + CHANGEOVER)
        else:
            lost.append(round_trip)
    return lost


def driving_ore(round_trips: list[ObservedRoundTrip], prices: list[int]) -> int:
    """Simulate who drives what: the cheapest vehicle that is in; in øre, rounded by vehicle."""
    back = [datetime.min.replace(tzinfo=UTC)] * len(prices)
    driven_m = [0.0] * len(prices)
    for round_trip in sorted(
        round_trips, key=lambda trip: (trip.started_at, -trip.distance_m, trip.ended_at)
    ):
        free = [number for number, at in enumerate(back) if at <= round_trip.started_at]
        if free:
            cheapest = min(free, key=lambda number: (prices[number], number))
            back[cheapest] = round_trip.ended_at + CHANGEOVER
            driven_m[cheapest] += round_trip.distance_m
    return sum(round(metres / 1000 * price) for metres, price in zip(driven_m, prices, strict=True))


def taken_by(round_trips: list[ObservedRoundTrip], number: int) -> list[ObservedRoundTrip]:
    """Return what one vehicle more serves: what is lost with one less, and not with it."""
    lost = turned_away(round_trips, number)
    return [
        observed_round_trip
        for observed_round_trip in turned_away(round_trips, number - 1)
        if observed_round_trip not in lost
    ]


def lent(
    wanted: list[ObservedRoundTrip], own: list[ObservedRoundTrip], price_ore: int
) -> list[ObservedRoundTrip]:
    """Return what the lender's vehicle can do besides its own, where that is cheaper."""
    return [
        observed_round_trip
        for observed_round_trip in wanted
        if unserved_ore(observed_round_trip.distance_m, COSTS) > price_ore
        and all(
            observed_round_trip.ended_at + CHANGEOVER <= other.started_at
            or other.ended_at + CHANGEOVER <= observed_round_trip.started_at
            for other in own
        )
    ]


def lendings(
    demand: Mapping[str, list[ObservedRoundTrip]],
    has: Mapping[str, int],
    way_ore: Mapping[tuple[str, str], int],
    ore_per_km: int,
) -> Iterator[tuple[int, int]]:
    """Yield what each choice of lendings within a class saves in øre, and its round trips.

    What is lent is driven at so many øre a kilometre.
    """
    lacking = [
        (depot_id, taken)
        for depot_id, trips in demand.items()
        for number in range(has[depot_id] + 1, len(trips) + 1)
        if (taken := taken_by(trips, number))
    ]
    lenders = [
        (depot_id, taken_by(demand[depot_id], number))
        for depot_id in has
        for number in range(1, has[depot_id] + 1)
    ]

    def choose(first: int, free: frozenset[int]) -> Iterator[tuple[int, int]]:
        if first == len(lacking):
            yield 0, 0
            return
        yield from choose(first + 1, free)
        borrower, wanted = lacking[first]
        for number in free:
            lender, own = lenders[number]
            if (borrower, lender) not in way_ore:
                continue
            price_ore = way_ore[borrower, lender]
            served = lent(wanted, own, price_ore)
            saved = sum(
                unserved_ore(observed_round_trip.distance_m, COSTS) - price_ore
                for observed_round_trip in served
            )
            saved -= round(
                sum(observed_round_trip.distance_m for observed_round_trip in served)
                / 1000
                * ore_per_km
            )
            if saved > ore(COSTS.lending_dkk):
                for more, trips in choose(first + 1, free - {number}):
                    yield saved - ore(COSTS.lending_dkk) + more, len(served) + trips

    yield from choose(0, frozenset(range(len(lenders))))


def stays(inputs: PlacementInputs, vehicle: Vehicle) -> bool:
    """Return whether a vehicle may not leave its home."""
    if vehicle.home_depot_id is None:
        return False
    if not inputs.round_trips:
        return vehicle.locked_until is not None
    today = (
        max(round_trip.ended_at for round_trip in inputs.round_trips).astimezone(COPENHAGEN).date()
    )
    if vehicle.locked_until is not None and vehicle.locked_until >= today:
        return True
    ends_on = vehicle.lease_ends_on
    return ends_on is not None and 0 <= (ends_on - today).days <= HORIZON_DAYS


def verdicts(inputs: PlacementInputs, placement: Mapping[str, str]) -> list[Verdict]:
    """Return what a placement can come to, by lending; nothing where it is not allowed."""
    depots = {depot.depot_id: depot for depot in inputs.depots}
    if any(
        stays(inputs, vehicle) and placement[vehicle.vehicle_id] != vehicle.home_depot_id
        for vehicle in inputs.vehicles
    ):
        return []
    left = Counter(
        (round_trip.vehicle_id, round_trip.start_depot_id) for round_trip in inputs.round_trips
    )
    cost = 0
    for depot_id, depot in depots.items():
        here = [vehicle for vehicle in inputs.vehicles if placement[vehicle.vehicle_id] == depot_id]
        motor = [vehicle for vehicle in here if vehicle.vehicle_type is not VehicleType.BIKE]
        if len(motor) > depot.capacity:
            return []
        electric = [
            vehicle for vehicle in motor if vehicle.energy_source is EnergySource.ELECTRICITY
        ]
        missing = max(0, len(electric) - depot.charger_count)
        cost += missing * ore(COSTS.missing_charger_dkk_per_day * HORIZON_DAYS)
    for vehicle in inputs.vehicles:
        most = max(
            depots, key=lambda depot: (left[vehicle.vehicle_id, depot], [-ord(c) for c in depot])
        )
        origin = vehicle.home_depot_id or (most if left[vehicle.vehicle_id, most] else None)
        if origin is not None:
            cost += relocation_ore(
                vehicle, depots[origin], depots[placement[vehicle.vehicle_id]], COSTS
            )
    entries = [Verdict(cost, 0)]
    for vehicle_class in {vehicle.vehicle_type for vehicle in inputs.vehicles}:
        of_class = set(class_verdicts(inputs, placement, vehicle_class))
        entries = [
            Verdict(before.cost_ore + more.cost_ore, before.short + more.short)
            for before in entries
            for more in of_class
        ]
    return entries


def class_verdicts(
    inputs: PlacementInputs, placement: Mapping[str, str], vehicle_class: VehicleType
) -> Iterator[Verdict]:
    """Yield what one class's unserved round trips can come to."""
    depots = {depot.depot_id: depot for depot in inputs.depots}
    kind = {vehicle.vehicle_id: vehicle.vehicle_type for vehicle in inputs.vehicles}
    has = {
        depot_id: sum(
            1
            for name, stands_at in placement.items()
            if stands_at == depot_id and kind[name] is vehicle_class
        )
        for depot_id in depots
    }
    demand = {
        depot_id: [
            round_trip
            for round_trip in inputs.round_trips
            if round_trip.start_depot_id == depot_id
            and kind[round_trip.vehicle_id] is vehicle_class
        ]
        for depot_id in depots
    }
    lost = [
        observed_round_trip
        for depot_id in depots
        for observed_round_trip in turned_away(demand[depot_id], has[depot_id])
    ]
    lost_ore = sum(
        unserved_ore(observed_round_trip.distance_m, COSTS) for observed_round_trip in lost
    )
    lost_ore += sum(
        driving_ore(
            demand[depot_id],
            sorted(
                driving_ore_per_km(vehicle, COSTS)
                for vehicle in inputs.vehicles
                if placement[vehicle.vehicle_id] == depot_id
                and vehicle.vehicle_type is vehicle_class
            ),
        )
        for depot_id in depots
    )
    total = sum(map(len, demand.values()))
    share = inputs.policy.served_share
    may_lack = total if share is None else int(total * (1 - share) + 1e-6)
    dearest = max(
        driving_ore_per_km(vehicle, COSTS)
        for vehicle in inputs.vehicles
        if vehicle.vehicle_type is vehicle_class
    )
    for saved_ore, served in lendings(demand, has, ways(inputs), dearest):
        yield Verdict(lost_ore - saved_ore, max(0, len(lost) - served - may_lack))


def ways(inputs: PlacementInputs) -> dict[tuple[str, str], int]:
    """Return the price of fetching a vehicle, between depots that are near enough."""
    return {
        (depot.depot_id, other.depot_id): fetching_ore(way_min, COSTS)
        for depot in inputs.depots
        for other in inputs.depots
        if depot is not other
        and (way_min := road_km(depot, other, COSTS) / BICYCLE_KMH * 60)
        <= inputs.policy.lending_within_min
    }


@given(small_instances(), st.sampled_from([ALL_COLUMNS, ALL_COLUMNS, 1, 4, 10]))
@settings(max_examples=120, deadline=None)
def test_the_optimum_is_the_cheapest_of_all_placements(
    inputs: PlacementInputs, columns_at_most: int
) -> None:
    ids = [vehicle.vehicle_id for vehicle in inputs.vehicles]
    possible = [
        verdict
        for chosen in product([depot.depot_id for depot in inputs.depots], repeat=len(ids))
        for verdict in verdicts(inputs, dict(zip(ids, chosen, strict=True)))
    ]
    costs = [verdict.cost_ore for verdict in possible if not verdict.short]
    problem = problem_of(inputs)
    solution = solve(problem, Search(seed=1, time_limit_s=10), columns_at_most)
    if not costs:
        assert solution.status is SolverStatus.INFEASIBLE
        if possible and columns_at_most == ALL_COLUMNS:
            assert solution.nearest is not None
            reached = verdicts(inputs, solution.nearest.placement)
            assert min(verdict.short for verdict in reached) == min(
                verdict.short for verdict in possible
            )
        return
    assert solution.bound_ore <= min(costs) <= solution.objective_ore
    if columns_at_most == ALL_COLUMNS:
        assert solution.status is SolverStatus.OPTIMAL
        assert solution.gap == 0
    assert (solution.status is SolverStatus.OPTIMAL) == (
        solution.bound_ore == solution.objective_ore
    )
    assert solution.objective_ore in {
        verdict.cost_ore for verdict in verdicts(inputs, solution.placement) if not verdict.short
    }
    assert (
        placement_cost(problem, solution.placement, solution.lendings).total_ore
        == solution.objective_ore
    )


@given(small_instances())
@settings(max_examples=100, deadline=None)
def test_lendings_of_whole_depots_are_those_of_one_outing_after_another(
    inputs: PlacementInputs,
) -> None:
    problem = problem_of(inputs)
    for lending, lending_gain in problem.lendings.items():
        way_min = problem.ways_min[lending.borrower_id, lending.lender_id]
        assert lending_gain == one_by_one(problem.levels, way_min, lending, COSTS)
