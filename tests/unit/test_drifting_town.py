"""The town that back-tests are measured on: physically possible, drifting, and the same again."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta

from bench.drifting_town import town
from bench.round_trips import MONDAY
from schemas.plans.demand import ObservedRoundTrip


def test_each_vehicle_leaves_from_where_it_stands_and_when_it_is_back() -> None:
    record = town(1, weeks=4, depots=3, vehicles=15).inputs
    journeys: defaultdict[str, list[ObservedRoundTrip]] = defaultdict(list)
    for round_trip in record.round_trips:
        journeys[round_trip.vehicle_id].append(round_trip)
    assert any(
        round_trip.start_depot_id != round_trip.end_depot_id for round_trip in record.round_trips
    )
    for vehicle in record.vehicles:
        at, back_at = vehicle.home_depot_id, MONDAY
        for journey in journeys[vehicle.vehicle_id]:
            assert journey.start_depot_id == at
            assert journey.started_at >= back_at
            at, back_at = journey.end_depot_id, journey.ended_at + timedelta(minutes=5)


def test_what_nobody_could_serve_is_in_no_record() -> None:
    drifting = town(1, weeks=4, depots=3, vehicles=15)
    driven = Counter(round_trip.distance_m for round_trip in drifting.inputs.round_trips)
    wanted = Counter(request.distance_m for request in drifting.wanted)
    missed = wanted - driven
    assert 0 < missed.total() < 0.2 * wanted.total()


def test_demand_drifts_in_a_straight_line_and_a_seed_gives_the_same_town() -> None:
    drifting = town(2, weeks=12, depots=4, vehicles=40)
    share: list[Counter[str]] = [Counter(), Counter(), Counter()]
    for request in drifting.wanted:
        share[(request.started_at - MONDAY).days // 28][request.depot_id] += 1
    first, middle, last = (
        {at: count / part.total() for at, count in part.items()} for part in share
    )
    most = max(first, key=lambda at: abs(last[at] - first[at]))
    assert abs(last[most] - first[most]) > 0.05
    assert min(first[most], last[most]) < middle[most] < max(first[most], last[most])
    assert town(2, weeks=12, depots=4, vehicles=40) == drifting
