"""A carpool plan: nobody in two vehicles, every limit kept, savings that add up, none better."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise, permutations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.carpool.solve import plan_carpool
from optimizer.search import Search
from optimizer.travel import Geodesic
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import EnergySource
from schemas.fleet.vehicle_type import VehicleType
from schemas.plans.carpool import CarpoolGroup, CarpoolInputs, CarpoolPlan, CarpoolRules, Journey
from schemas.plans.plan import SolverStatus
from schemas.plans.travel import Place

COSTS = Costs()
EIGHT = datetime(2026, 3, 2, 8, tzinfo=UTC)
SPOTS = ((56.30, 10.50), (56.31, 10.52), (56.40, 10.60), (56.41, 10.61), (56.25, 10.40))
SLACK_S = 1e-3


@st.composite
def days(draw: st.DrawFn, most: int = 5) -> CarpoolInputs:
    """Draw up to so many journeys of a morning between a few places."""
    journeys = []
    for number in range(draw(st.integers(0, most))):
        origin = draw(st.sampled_from(SPOTS[:2]))
        destination = draw(st.sampled_from(SPOTS[2:]))
        started_at = EIGHT + timedelta(minutes=draw(st.integers(0, 5)) * 8)
        arrived_at = started_at + timedelta(minutes=draw(st.sampled_from((20, 35))))
        left_at = arrived_at + timedelta(minutes=draw(st.sampled_from((15, 60))))
        back = draw(st.booleans())
        journeys.append(
            Journey(
                journey_id=f"m/journey-{number}",
                vehicle_id=f"m/car-{draw(st.integers(0, 1)) * 100 + number}",
                energy_source=draw(
                    st.sampled_from((EnergySource.PETROL, EnergySource.ELECTRICITY))
                ),
                consumption_per_km=draw(st.sampled_from((0.06, 0.18))),
                seats=draw(st.sampled_from((2, 5))),
                seats_taken=draw(st.sampled_from((1, 1, 2))),
                department=draw(st.sampled_from(("health", "schools", "roads"))),
                depot_id=draw(st.sampled_from(("m/hall", "m/school", None))),
                origin_lat=origin[0],
                origin_lon=origin[1],
                destination_lat=destination[0],
                destination_lon=destination[1],
                started_at=started_at,
                arrived_at=arrived_at,
                left_at=left_at if back else None,
                returned_at=left_at + timedelta(minutes=30) if back else None,
                distance_m=draw(st.sampled_from((9_000.0, 40_000.0))),
            )
        )
    return CarpoolInputs(
        municipality_id="m",
        journeys=tuple(journeys),
        agreements=draw(st.sampled_from(((), (("schools", "health"),)))),
        rules=CarpoolRules(
            max_detour_m=draw(st.sampled_from((500.0, 4_000.0))),
            max_shift_s=draw(st.sampled_from((300.0, 1_200.0))),
            max_journeys=draw(st.sampled_from((2, 3))),
            freed_vehicle_dkk=draw(st.sampled_from((0.0, 40.0))),
        ),
    )


def ways(journey: Journey) -> list[tuple[Place, Place, datetime, datetime]]:
    origin = Place(journey.origin_lat, journey.origin_lon)
    destination = Place(journey.destination_lat, journey.destination_lon)
    there = [(origin, destination, journey.started_at, journey.arrived_at)]
    if journey.left_at is None or journey.returned_at is None:
        return there
    return [*there, (destination, origin, journey.left_at, journey.returned_at)]


def metres(place: Place, other: Place) -> float:
    return Geodesic().matrix([place, other], VehicleType.CAR).distance_m[0][1]


def direct_m(journey: Journey) -> float:
    return min(
        journey.distance_m, sum(metres(place, other) for place, other, _, _ in ways(journey))
    )


def dkk_and_kg(journey: Journey, length_m: float) -> tuple[float, float]:
    units = length_m / 1000 * journey.consumption_per_km
    source = journey.energy_source
    return COSTS.energy_dkk_per_unit(source) * units, COSTS.co2e_kg_per_unit(source) * units


def peaks(spans: Sequence[tuple[str | None, datetime, datetime]]) -> int:
    """Return the sum over depots of the most that are out at once."""
    total = 0
    for depot_id in {entry for entry, _, _ in spans}:
        mine = [(start, end) for entry, start, end in spans if entry == depot_id]
        total += max(sum(start <= at < end for start, end in mine) for at, _ in mine)
    return total


def check_group(inputs: CarpoolInputs, group: CarpoolGroup) -> None:
    journeys = {journey.journey_id: journey for journey in inputs.journeys}
    rules = inputs.rules
    members = [journeys[member.journey_id] for member in group.members]
    driver = members[0]
    assert [member.drives for member in group.members] == [True] + [False] * (len(members) - 1)
    assert group.vehicle_id == driver.vehicle_id
    assert 2 <= len(members) <= rules.max_journeys
    assert group.seats_taken == sum(member.seats_taken for member in members) <= driver.seats
    agreed = {frozenset(pair) for pair in inputs.agreements}
    for first, other in combinations(members, 2):
        assert (
            first.department == other.department or {first.department, other.department} in agreed
        )
        assert first.vehicle_id != other.vehicle_id
    for member, journey in zip(group.members, members, strict=True):
        assert abs(member.leaves_later_s) <= rules.max_shift_s + SLACK_S
        assert member.arrives_later_s <= rules.max_shift_s + SLACK_S
        assert (member.returns_later_s is None) == (journey.returned_at is None)
        assert (member.returns_later_s or 0) <= rules.max_shift_s + SLACK_S
    assert group.detour_m <= rules.max_detour_m * len(ways(driver)) + 1e-6
    ridden = [dkk_and_kg(member, direct_m(member)) for member in members[1:]]
    detour = dkk_and_kg(driver, group.detour_m)
    assert group.saved_m == pytest.approx(sum(map(direct_m, members[1:])) - group.detour_m)
    assert group.saved_dkk == pytest.approx(sum(dkk for dkk, _ in ridden) - detour[0])
    assert group.saved_co2e_kg == pytest.approx(sum(kg for _, kg in ridden) - detour[1])
    assert f"{group.saved_m / 1000:.1f} km" in group.reason
    for first in inputs.journeys:
        if first.vehicle_id == group.vehicle_id and first is not driver:
            assert first.ended_at <= group.out_from or first.started_at >= group.out_until


def check(inputs: CarpoolInputs, plan: CarpoolPlan) -> None:
    shared = [member.journey_id for group in plan.groups for member in group.members]
    assert len(shared) == len(set(shared))
    for group in plan.groups:
        check_group(inputs, group)
    journeys = {journey.journey_id: journey for journey in inputs.journeys}
    alone = [
        (journey.depot_id, journey.started_at, journey.ended_at) for journey in inputs.journeys
    ]
    together = [
        (journey.depot_id, journey.started_at, journey.ended_at)
        for journey in inputs.journeys
        if journey.journey_id not in shared
    ]
    together += [
        (journeys[group.members[0].journey_id].depot_id, group.out_from, group.out_until)
        for group in plan.groups
    ]
    assert plan.vehicles_before == peaks(alone)
    assert plan.vehicles_after == peaks(together)
    for name in ("saved_m", "saved_dkk", "saved_co2e_kg"):
        total = sum(getattr(group, name) for group in plan.groups)
        assert getattr(plan, name) == pytest.approx(total)
    freed = plan.vehicles_before - plan.vehicles_after
    worth = plan.saved_dkk + plan.saved_co2e_kg * COSTS.co2_price_dkk_per_kg
    worth += freed * inputs.rules.freed_vehicle_dkk
    assert plan.objective_dkk == pytest.approx(worth, abs=0.01 * (len(plan.groups) + 1))
    assert plan.objective_dkk >= 0
    assert plan.bound_dkk >= plan.objective_dkk


@given(days())
@settings(max_examples=120, deadline=None)
def test_a_plan_keeps_the_rules_and_its_savings_add_up(inputs: CarpoolInputs) -> None:
    plan = plan_carpool(inputs, Search(1, 5))
    check(inputs, plan)
    assert plan.status is SolverStatus.OPTIMAL
    assert plan.gap == 0


Stop = tuple[Place, datetime, bool]
"""Where, the own time there, and whether somebody boards rather than leaves."""


def ends_at(
    stops: Sequence[Stop], steps_s: Sequence[float], shift: timedelta, start: datetime
) -> datetime | None:
    """Return when a vehicle that starts then is done; None where it is late for somebody."""
    now = start
    for (_, instant, boards), step_s in zip(stops, (0.0, *steps_s), strict=True):
        now += timedelta(seconds=step_s)
        now = max(now, instant - shift) if boards else now
        if now > instant + shift + timedelta(milliseconds=1):
            return None
    return now


def latest_start(
    stops: Sequence[Stop], steps_s: Sequence[float], shift: timedelta
) -> datetime | None:
    """Return the latest start up to the driver's own time that is late for nobody, by bisection."""
    low, high = stops[0][1] - shift, stops[0][1]
    if ends_at(stops, steps_s, shift, low) is None:
        return None
    if ends_at(stops, steps_s, shift, high) is not None:
        return high
    for _ in range(40):
        middle = low + (high - low) / 2
        if ends_at(stops, steps_s, shift, middle) is None:
            high = middle
        else:
            low = middle
    return low


def best_way(
    inputs: CarpoolInputs, members: Sequence[Journey], number: int
) -> tuple[float, datetime, datetime] | None:
    """Return the least detour of one way of a group by trying all orders, and when it is out."""
    shift = timedelta(seconds=inputs.rules.max_shift_s)
    legs = [ways(member)[number] for member in members]
    entries: list[tuple[float, datetime, datetime]] = []
    others = range(1, len(legs))
    for fetched, left in product(permutations(others), permutations(others)):
        stops = [(legs[index][0], legs[index][2], True) for index in (0, *fetched)]
        stops += [(legs[index][1], legs[index][3], False) for index in (*left, 0)]
        matrix = Geodesic().matrix([stop[0] for stop in stops], VehicleType.CAR)
        between = range(len(stops) - 1)
        length = sum(matrix.distance_m[index][index + 1] for index in between)
        detour = max(0.0, length - metres(legs[0][0], legs[0][1]))
        steps_s = [matrix.duration_s[index][index + 1] for index in between]
        start = latest_start(stops, steps_s, shift)
        if detour <= inputs.rules.max_detour_m and start is not None:
            ends = ends_at(stops, steps_s, shift, start)
            assert ends is not None
            entries.append((detour, start, ends))
    return min(entries, default=None)


def possible(inputs: CarpoolInputs) -> Iterator[tuple[frozenset[str], float]]:
    """Yield every group that the rules allow with its worth in DKK, the slow way."""
    agreed = {frozenset(pair) for pair in inputs.agreements}
    for size in range(2, inputs.rules.max_journeys + 1):
        for chosen in combinations(inputs.journeys, size):
            apart = any(
                journey.department != other.department
                and frozenset((journey.department, other.department)) not in agreed
                for journey, other in combinations(chosen, 2)
            )
            if apart or len({len(ways(journey)) for journey in chosen}) > 1:
                continue
            for driver in chosen:
                members = [driver, *(journey for journey in chosen if journey is not driver)]
                if sum(member.seats_taken for member in members) > driver.seats:
                    continue
                entries = [best_way(inputs, members, index) for index in range(len(ways(driver)))]
                legs = [entry for entry in entries if entry is not None]
                if len(legs) < len(entries) or any(
                    entry[2] > other[1] for entry, other in pairwise(legs)
                ):
                    continue
                worth = 0.0
                for journey, length in (
                    *((member, direct_m(member)) for member in members[1:]),
                    (driver, -sum(leg[0] for leg in legs)),
                ):
                    dkk, kg = dkk_and_kg(journey, length)
                    worth += dkk + kg * COSTS.co2_price_dkk_per_kg
                yield frozenset(journey.journey_id for journey in chosen), worth


def most_dkk(groups: Sequence[tuple[frozenset[str], float]], taken: frozenset[str]) -> float:
    """Return the most that disjoint groups are worth, by trying all."""
    return max(
        (
            worth + most_dkk(groups[number + 1 :], taken | members)
            for number, (members, worth) in enumerate(groups)
            if worth > 0 and not members & taken
        ),
        default=0.0,
    )


@given(days(most=5))
@settings(max_examples=60, deadline=None)
def test_no_other_choice_of_groups_saves_more(inputs: CarpoolInputs) -> None:
    rules = inputs.rules.model_copy(update={"freed_vehicle_dkk": 0.0})
    inputs = inputs.model_copy(update={"rules": rules})
    plan = plan_carpool(inputs, Search(1, 5))
    assert plan.objective_dkk == pytest.approx(
        most_dkk(list(possible(inputs)), frozenset()), abs=0.06
    )


@given(days(), st.integers(0, 2**31 - 1), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_the_same_journeys_in_another_order_give_the_same_plan(
    inputs: CarpoolInputs, seed: int, order: random.Random
) -> None:
    turned = list(inputs.journeys)
    order.shuffle(turned)
    again = CarpoolInputs(
        municipality_id="m",
        journeys=tuple(turned),
        agreements=tuple((other, name) for name, other in inputs.agreements),
        rules=inputs.rules,
    )
    first = plan_carpool(inputs, Search(seed, 5))
    assert first.model_dump_json() == plan_carpool(again, Search(seed, 5)).model_dump_json()


def test_a_limit_of_nothing_still_gives_a_plan_and_an_honest_bound() -> None:
    rng = random.Random(3)
    spots = [(56.3 + rng.uniform(0, 0.1), 10.5 + rng.uniform(0, 0.1)) for _ in range(6)]
    journeys = []
    for number in range(60):
        origin, destination = rng.sample(spots, 2)
        started_at = EIGHT + timedelta(minutes=rng.randint(0, 240))
        journeys.append(
            Journey(
                journey_id=f"m/journey-{number:03d}",
                vehicle_id=f"m/car-{number:03d}",
                energy_source=EnergySource.DIESEL,
                consumption_per_km=0.06,
                seats=5,
                department="health",
                origin_lat=origin[0],
                origin_lon=origin[1],
                destination_lat=destination[0],
                destination_lon=destination[1],
                started_at=started_at,
                arrived_at=started_at + timedelta(minutes=30),
                distance_m=20_000.0,
            )
        )
    inputs = CarpoolInputs(municipality_id="m", journeys=tuple(journeys))
    short, long = plan_carpool(inputs, Search(1, 1e-6)), plan_carpool(inputs, Search(1, 30))
    check(inputs, short)
    check(inputs, long)
    assert long.status is SolverStatus.OPTIMAL
    assert long.groups
    assert short.groups
    assert short.status is SolverStatus.FEASIBLE
    assert short.objective_dkk <= long.objective_dkk <= short.bound_dkk
    assert not math.isinf(short.bound_dkk)
