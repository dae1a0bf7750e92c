"""Numbers of master data that cannot be meant: refused where they are entered, with the limit."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError

from schemas.fleet.master_data import Depot, EnteredVehicle, FleetFile, Municipality, Vehicle
from schemas.plans.demand import ObservedRoundTrip
from stream.cli.files import read_json

DEPOT: dict[str, Any] = {
    "depot_id": "m/hall",
    "municipality_id": "m",
    "name": "Hall",
    "lat": 56.3,
    "lon": 10.5,
    "capacity": 3,
}
VEHICLE: dict[str, Any] = {"vehicle_id": "m/1", "municipality_id": "m", "name": "1"}
ROUND_TRIP: dict[str, Any] = {
    "vehicle_id": "m/1",
    "started_at": datetime(2026, 3, 2, 8, tzinfo=UTC),
    "ended_at": datetime(2026, 3, 2, 9, tzinfo=UTC),
    "start_depot_id": "m/hall",
    "end_depot_id": "m/hall",
    "distance_m": 1.0,
}


@pytest.mark.parametrize(
    ("model", "row", "field", "limit"),
    [
        (Depot, DEPOT, "capacity", 100_000),
        (Depot, DEPOT, "charger_count", 100_000),
        (Vehicle, VEHICLE, "consumption_per_km", 100),
        (Vehicle, VEHICLE, "yearly_cost_dkk", 1_000_000_000),
        (Vehicle, VEHICLE, "seats", 1_000),
        (ObservedRoundTrip, ROUND_TRIP, "distance_m", 100_000_000),
    ],
)
def test_the_limit_is_taken_and_what_is_beyond_it_refused(
    model: type[Depot | Vehicle | ObservedRoundTrip], row: dict[str, Any], field: str, limit: int
) -> None:
    assert getattr(model.model_validate(row | {field: limit}), field) == limit
    with pytest.raises(ValidationError, match=f"less than or equal to {limit}"):
        model.model_validate(row | {field: limit + 1})


def test_a_file_with_such_a_number_is_refused_with_place_limit_and_value(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(DEPOT | {"capacity": 10**9}))
    with path.open("rb") as file, pytest.raises(typer.Exit):
        read_json(file, Depot)
    text = capsys.readouterr().err
    assert text == (
        f"{path}: capacity: Input should be less than or equal to 100000, not 1000000000\n"
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Car\x001", r"name 'Car\\x001' has a character that cannot be shown"),
        ("Car\t1", r"name 'Car\\t1' has a character that cannot be shown"),
        ("x" * 201, r"has 201 characters; the limit is 200"),
    ],
)
def test_a_name_that_no_table_can_show_is_refused(name: str, says: str) -> None:
    named = Municipality(municipality_id="odder", name=name)
    with pytest.raises(ValidationError, match=says):
        FleetFile(municipalities=(named,))
    vehicle = EnteredVehicle(vehicle_id="odder/1", municipality_id="odder", name=name)
    with pytest.raises(ValidationError, match=says):
        FleetFile(vehicles=(vehicle,))
    long = Municipality(municipality_id="odder", name="Århus Ø, 2." * 18)
    assert FleetFile(municipalities=(long,)).municipalities == (long,)
