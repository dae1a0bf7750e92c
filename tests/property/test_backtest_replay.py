"""The replay against a calculation of its own, and what more vehicles must never do."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.backtest.cost_breakdown import Yard
from optimizer.backtest.greedy import Greedy
from optimizer.backtest.replay import Request, nights_of, replay, requests_of
from optimizer.backtest.run import back_test, contender
from optimizer.search import Search
from optimizer.work_budget import WorkBudget
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Depot, EnergySource, Vehicle, VehicleType
from schemas.plans.backtest import ContenderName
from schemas.plans.demand import ObservedRoundTrip
from tests.property.test_plan_reproducible import shuffled, town

COSTS = Costs()

ZONE = ZoneInfo("Europe/Copenhagen")
EVENING = datetime(2026, 3, 2, 21, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 2, 23, tzinfo=UTC)
DEPOTS = ("m/a", "m/b", "m/c")
CHANGEOVER_MIN = 5

minutes = st.integers(0, 240)


def vehicles_of(count: int) -> list[Vehicle]:
    """Return cars and vans, some cheaper to drive than others, some as cheap."""
    return [
        Vehicle(
            vehicle_id=f"m/{number}",
            municipality_id="m",
            name=str(number),
            vehicle_type=[VehicleType.CAR, VehicleType.VAN, VehicleType.UNKNOWN][number % 3],
            energy_source=EnergySource.PETROL,
            consumption_per_km=0.05 + 0.01 * (number % 2),
        )
        for number in range(count)
    ]


@st.composite
def requests(draw: st.DrawFn, *, one_way: bool = True) -> list[Request]:
    entries = []
    for _ in range(draw(st.integers(0, 14))):
        start = draw(minutes)
        depot_id = draw(st.sampled_from(DEPOTS))
        entries.append(
            Request(
                depot_id,
                draw(st.sampled_from([VehicleType.CAR, VehicleType.VAN])),
                EVENING + timedelta(minutes=start),
                EVENING + timedelta(minutes=start + draw(st.integers(1, 60))),
                draw(st.sampled_from(DEPOTS)) if one_way else depot_id,
                draw(st.integers(1, 60)) * 1000.0,
            )
        )
    return sorted(entries, key=lambda request: request.started_at)


placements = st.lists(st.sampled_from([*DEPOTS, None]), min_size=1, max_size=6)


def placed(stands: Sequence[str | None]) -> dict[str, str]:
    return {f"m/{number}": at for number, at in enumerate(stands) if at is not None}


def calculated(
    asked: Sequence[Request], vehicles: Sequence[Vehicle], placement: Mapping[str, str]
) -> list[str | None]:
    """Ask each vehicle, request by request, where its last journey has left it and since when.

    Whoever was free at midnight has been fetched home by now.
    """
    journeys: dict[str, list[Request]] = {name: [] for name in placement}
    taken: list[str | None] = []
    for request in asked:
        able = []
        for vehicle in vehicles:
            if vehicle.vehicle_id not in placement:
                continue
            is_van = vehicle.vehicle_type is VehicleType.VAN
            if is_van != (request.vehicle_class is VehicleType.VAN):
                continue
            at, free_at = placement[vehicle.vehicle_id], datetime.min.replace(tzinfo=UTC)
            for journey in journeys[vehicle.vehicle_id]:
                at = journey.to_depot_id
                free_at = journey.ended_at + timedelta(minutes=CHANGEOVER_MIN)
            if free_at <= MIDNIGHT <= request.started_at:
                at = placement[vehicle.vehicle_id]
            if at == request.depot_id and free_at <= request.started_at:
                able.append((vehicle.consumption_per_km, vehicle.vehicle_id))
        taken.append(min(able)[1] if able else None)
        if able:
            journeys[min(able)[1]].append(request)
    return taken


@given(requests(), placements)
@settings(max_examples=300, deadline=None)
def test_the_replay_gives_each_request_the_vehicle_that_a_reckoning_gives_it(
    asked: list[Request], stands: list[str | None]
) -> None:
    vehicles, placement = vehicles_of(len(stands)), placed(stands)
    replayed = replay(asked, vehicles, placement, nights_of(asked, ZONE), COSTS)
    assert list(replayed.taken_by) == calculated(asked, vehicles, placement)
    lost = replayed.unserved()
    assert len(replayed.served()) + len(lost) == len(asked) == replayed.round_trips
    assert replayed.served_round_trips == len(asked) - len(lost)
    # However the vehicles are listed.
    assert replay(asked, vehicles[::-1], placement, nights_of(asked, ZONE), COSTS) == replayed


@given(requests(one_way=False), placements, st.sampled_from(DEPOTS))
@settings(max_examples=300, deadline=None)
def test_a_vehicle_more_serves_whoever_was_served_where_all_come_back(
    asked: list[Request], stands: list[str | None], depot_id: str
) -> None:
    vehicles = vehicles_of(len(stands) + 1)
    fewer = replay(asked, vehicles, placed(stands), nights_of(asked, ZONE), COSTS)
    more = replay(asked, vehicles, placed([*stands, depot_id]), nights_of(asked, ZONE), COSTS)
    for before, after in zip(fewer.taken_by, more.taken_by, strict=True):
        assert after is not None or before is None


@given(requests(), placements, st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_the_greedy_rule_never_makes_its_own_weeks_dearer_nor_a_depot_overfull(
    asked: list[Request], stands: list[str | None], horizon_days: int
) -> None:
    yard = Yard(
        depots={
            name: Depot(
                depot_id=name, municipality_id="m", name=name, lat=56 + n / 20, lon=10, capacity=3
            )
            for n, name in enumerate(DEPOTS)
        },
        vehicles={vehicle.vehicle_id: vehicle for vehicle in vehicles_of(len(stands))},
        stood_at=placed(stands),
        zone=ZONE,
        days=7,
        horizon_days=horizon_days,
        costs=COSTS,
    )
    moved = Greedy(asked, yard, WorkBudget(10)).placement()
    was = contender(ContenderName.AS_IT_WAS, asked, yard, yard.stood_at)
    greedy = contender(ContenderName.GREEDY, asked, yard, moved)
    assert greedy.cost_dkk <= was.cost_dkk
    assert (greedy.cost_dkk < was.cost_dkk) == (greedy.moves > 0)
    before, after = yard.motor_vehicles_at(yard.stood_at), yard.motor_vehicles_at(moved)
    assert all(after[name] <= max(3, before[name]) for name in DEPOTS)


@given(st.integers(0, 2**31 - 1), st.integers())
@settings(max_examples=6, deadline=None)
def test_the_same_inputs_and_seed_give_the_same_back_test(seed: int, order: int) -> None:
    inputs = town(seed=1)
    first = back_test(inputs, Search(seed, 5))
    assert first.backtest is not None
    assert back_test(shuffled(inputs, order), Search(seed, 5)) == first


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_no_round_trip_is_lost_or_counted_twice_on_the_way_to_a_request(seed: int) -> None:
    draw = random.Random(seed)
    vehicles = vehicles_of(3)
    trips = []
    for vehicle in vehicles:
        at, minute = draw.choice(DEPOTS), 0
        for _ in range(draw.randint(0, 6)):
            minute += draw.choice([0, 1, 4, 5, 30])
            start, to = minute, draw.choice([at, *DEPOTS, None])
            minute += draw.randint(1, 50)
            trips.append(
                ObservedRoundTrip(
                    vehicle_id=vehicle.vehicle_id,
                    started_at=EVENING + timedelta(minutes=start),
                    ended_at=EVENING + timedelta(minutes=minute),
                    start_depot_id=at,
                    end_depot_id=to,
                    distance_m=draw.randint(1, 50) * 1000.0,
                )
            )
            at = to or at
    entries = requests_of(trips, vehicles, COSTS)
    assert sum(request.round_trips for request in entries) == len(trips)
    assert sum(request.distance_m for request in entries) == sum(trip.distance_m for trip in trips)
    assert [request.started_at for request in entries] == sorted(
        request.started_at for request in entries
    )
