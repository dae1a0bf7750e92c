"""Master data that refers to what nobody has entered is refused in words, whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from infra.database.fleet.master_data_import import UnknownReferenceError, import_master_data
from schemas.fleet.master_data import Depot, EnteredVehicle, FleetFile, Municipality
from tests.stream_harness import fetch, open_pool

ODDER = Municipality(municipality_id="odder", name="Odder")
YARD = Depot(
    depot_id="odder/yard", municipality_id="odder", name="Yard", lat=55.9, lon=10.1, capacity=5
)


def car(number: int, home: str | None = None, municipality: str = "odder") -> EnteredVehicle:
    return EnteredVehicle(
        vehicle_id=f"{municipality}/car-{number}",
        municipality_id=municipality,
        name=f"Car {number}",
        home_depot_id=home,
    )


def entered(url: str, *files: FleetFile) -> Sequence[object]:
    """Enter files, one after the other, and return the ids of what is there."""

    async def main() -> Sequence[object]:
        async with open_pool(url) as pool:
            for file in files:
                async with pool.connection() as connection:
                    await import_master_data(connection, file)
            return await fetch(
                pool,
                "SELECT municipality_id FROM municipality UNION ALL SELECT depot_id FROM depot "
                "UNION ALL SELECT vehicle_id FROM vehicle",
            )

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (
            FleetFile(depots=(YARD,)),
            "depot odder/yard is of municipality odder, which is not entered",
        ),
        (
            FleetFile(municipalities=(ODDER,), vehicles=(car(1, "odder/yard"), car(2))),
            "vehicle odder/car-1 is at home at depot odder/yard, which is not entered",
        ),
        (
            FleetFile(vehicles=tuple(car(number, municipality="nix") for number in range(7))),
            "vehicle nix/car-4 is of municipality nix, which is not entered; and 2 more",
        ),
    ],
    ids=["municipality-of-depot", "depot-of-vehicle", "many"],
)
def test_what_is_not_entered_is_named(database_url: str, file: FleetFile, says: str) -> None:
    with pytest.raises(UnknownReferenceError) as caught:
        entered(database_url, file)
    assert str(caught.value).endswith(f"{says}: enter it too, in this file or before")
    assert entered(database_url) == []


def test_it_may_have_been_entered_before_or_come_in_the_same_file(database_url: str) -> None:
    before = FleetFile(municipalities=(ODDER,), depots=(YARD,))
    assert len(entered(database_url, before, FleetFile(vehicles=(car(1, "odder/yard"),)))) == 3


def test_both_in_one_file(database_url: str) -> None:
    file = FleetFile(municipalities=(ODDER,), depots=(YARD,), vehicles=(car(1, "odder/yard"),))
    assert len(entered(database_url, file)) == 3
