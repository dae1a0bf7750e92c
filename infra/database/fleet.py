"""Master data of all municipalities as the stream needs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from schemas.fleet import Depot, Municipality, Vehicle
from schemas.ids import local_part, municipality_of


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who there is: municipalities, their depots (by id) and their vehicles."""

    municipalities: Mapping[str, Municipality]
    depots: Mapping[str, tuple[Depot, ...]]
    vehicles: Mapping[str, Vehicle]

    def vehicle(self, vehicle_id: str) -> Vehicle:
        """Return a vehicle; one that nobody has entered is of unknown type and consumption."""
        known = self.vehicles.get(vehicle_id)
        if known is not None:
            return known
        return Vehicle(
            vehicle_id=vehicle_id,
            municipality_id=municipality_of(vehicle_id),
            name=local_part(vehicle_id),
        )


async def load_fleet(connection: AsyncConnection[TupleRow]) -> Fleet:
    """Read the master data.

    Raises `pydantic.ValidationError` when what is stored breaks the schema, such as a rule of a
    municipality that does not exist.
    """
    municipalities = await _rows(
        connection, "SELECT municipality_id, name, timezone, rules FROM municipality"
    )
    depots: defaultdict[str, list[Depot]] = defaultdict(list)
    for row in await _rows(
        connection,
        "SELECT depot_id, municipality_id, name, lat, lon, radius_m, capacity, charger_count "
        "FROM depot ORDER BY depot_id",
    ):
        depots[row["municipality_id"]].append(Depot(**row))
    vehicles = await _rows(
        connection,
        "SELECT vehicle_id, municipality_id, name, vehicle_type, energy_source, "
        "consumption_per_km, yearly_cost_dkk, range_km, seats, home_depot_id, lease_ends_on "
        "FROM vehicle",
    )
    return Fleet(
        {row["municipality_id"]: Municipality(**row) for row in municipalities},
        {municipality_id: tuple(rows) for municipality_id, rows in depots.items()},
        {row["vehicle_id"]: Vehicle(**row) for row in vehicles},
    )


async def _rows(connection: AsyncConnection[TupleRow], query: str) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query)
        return await cursor.fetchall()


async def add_unregistered(
    connection: AsyncConnection[TupleRow], vehicle_ids: Collection[str]
) -> None:
    """Enter vehicles that were seen in the stream; those that are there stay as they are."""
    ordered = sorted(vehicle_ids)  # one order for all writers: no deadlock
    await connection.execute(
        "INSERT INTO vehicle (vehicle_id, municipality_id, name, registered) "
        "SELECT id, split_part(id, '/', 1), split_part(id, '/', 2), false "
        "FROM unnest(%s::text[]) AS seen (id) ORDER BY id ON CONFLICT (vehicle_id) DO NOTHING",
        [ordered],
    )
