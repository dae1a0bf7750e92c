"""Law 5: same inputs, same seed, same plan."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import uuid
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.placement.problem import inputs_hash
from optimizer.plan import PlanMetadata, make_plan
from optimizer.search import Search
from schemas.fleet.master_data import Depot, Vehicle, VehicleType
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs
from schemas.plans.plan import PlanTrigger
from tests.property.test_placement_optimum import MONDAY, small_instances

OCCASION = PlanMetadata(uuid.UUID(int=1), PlanTrigger.SCHEDULE, "test", MONDAY)


def shuffled(inputs: PlacementInputs, seed: int) -> PlacementInputs:
    """Return the same inputs as if the database had returned its rows in another order."""
    order = random.Random(seed)
    rows = ("depots", "vehicles", "round_trips")
    given_rows = {name: getattr(inputs, name) for name in PlacementInputs.model_fields}
    return PlacementInputs(
        **given_rows
        | {name: order.sample(given_rows[name], len(given_rows[name])) for name in rows}
    )


@given(
    small_instances().filter(lambda inputs: bool(inputs.round_trips)),
    st.integers(0, 2**31 - 1),
    st.integers(),
)
@settings(max_examples=60, deadline=None)
def test_the_same_inputs_and_seed_give_the_same_plan(
    inputs: PlacementInputs, seed: int, order: int
) -> None:
    first = make_plan(inputs, Search(seed, 10), OCCASION)
    again = make_plan(shuffled(inputs, order), Search(seed, 10), OCCASION)
    assert first == again
    assert first.model_dump_json() == again.model_dump_json()
    assert first.inputs_hash == inputs_hash(inputs)


@given(small_instances())
@settings(max_examples=60, deadline=None)
def test_other_inputs_have_another_hash(inputs: PlacementInputs) -> None:
    depots = inputs.depots
    wider = depots[0].model_copy(update={"capacity": depots[0].capacity + 1})
    for changes in (
        {"depots": (wider, *depots[1:])},
        {"horizon_days": inputs.horizon_days + 1},
        {"vehicles": inputs.vehicles[1:]},
    ):
        assert inputs_hash(inputs.model_copy(update=changes)) != inputs_hash(inputs)


SOLVE = """
import sys, uuid
from datetime import UTC, datetime
from optimizer.search import Search
from optimizer.plan import PlanMetadata, make_plan
from schemas.plans.demand import PlacementInputs
from schemas.plans.plan import PlanTrigger

inputs = PlacementInputs.model_validate_json(sys.stdin.read())
monday = datetime(2026, 3, 2, tzinfo=UTC)
occasion = PlanMetadata(uuid.UUID(int=1), PlanTrigger.SCHEDULE, "test", monday)
print(make_plan(inputs, Search(7, 10), occasion).model_dump_json())
"""


def town(seed: int) -> PlacementInputs:
    """Return six depots and forty vehicles, many of them equally good wherever they stand."""
    draw = random.Random(seed)
    depot_ids = [f"m/{name}" for name in "abcdef"]
    return PlacementInputs(
        municipality_id="m",
        timezone="Europe/Copenhagen",
        horizon_days=28,
        round_trip_max_s=36_000,
        depots=tuple(
            Depot(
                depot_id=depot_id,
                municipality_id="m",
                name=depot_id,
                lat=draw.uniform(56.0, 56.4),
                lon=draw.uniform(10.0, 10.6),
                capacity=9,
            )
            for depot_id in depot_ids
        ),
        vehicles=tuple(
            Vehicle(
                vehicle_id=f"m/{number}",
                municipality_id="m",
                name=str(number),
                vehicle_type=draw.choice([VehicleType.CAR, VehicleType.VAN]),
                home_depot_id=draw.choice([*depot_ids[:3], None]),
            )
            for number in range(40)
        ),
        round_trips=tuple(
            ObservedRoundTrip(
                vehicle_id=f"m/{number}",
                started_at=MONDAY + timedelta(days=day, hours=hour, minutes=draw.randint(0, 30)),
                ended_at=MONDAY + timedelta(days=day, hours=hour + 2),
                start_depot_id=(depot_id := draw.choice(depot_ids)),
                end_depot_id=depot_id,
                distance_m=draw.uniform(1_000, 60_000),
            )
            for number in range(40)
            for day in range(14)
            for hour in (7, 12)
        ),
    )


def test_another_process_with_another_hash_seed_gives_the_same_plan() -> None:
    inputs = town(seed=1)
    answers = {
        subprocess.run(
            [sys.executable, "-c", SOLVE],
            input=shuffled(inputs, order).model_dump_json(),
            env={**os.environ, "PYTHONHASHSEED": str(order)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for order in (1, 2, 3)
    }
    assert answers == {make_plan(inputs, Search(7, 10), OCCASION).model_dump_json() + "\n"}
