"""Master data of all municipalities as the stream needs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from schemas.fleet import Depot, MasterData, Municipality, Vehicle
from schemas.ids import local_part, municipality_of


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who there is: municipalities, their depots (by id) and their vehicles."""

    municipalities: Mapping[str, Municipality]
    depots: Mapping[str, tuple[Depot, ...]]
    vehicles: Mapping[str, Vehicle]
    _unknown: dict[str, Vehicle] = field(default_factory=dict, repr=False, compare=False)

    def vehicle(self, vehicle_id: str) -> Vehicle:
        """Return a vehicle; one that nobody has entered is of unknown type and consumption."""
        known = self.vehicles.get(vehicle_id) or self._unknown.get(vehicle_id)
        if known is None:
            known = self._unknown[vehicle_id] = Vehicle(
                vehicle_id=vehicle_id,
                municipality_id=municipality_of(vehicle_id),
                name=local_part(vehicle_id),
            )
        return known


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


async def newest_fixes(connection: AsyncConnection[TupleRow]) -> dict[str, datetime]:
    """Return the event time of each municipality, and never later than now.

    A tenth of its vehicles may be ahead of it: one clock that is fast must not make all others seem
    silent.
    """
    cursor = await connection.execute(
        "SELECT v.municipality_id, least(now(), "
        "percentile_disc(0.9) WITHIN GROUP (ORDER BY s.last_recorded_at)) "
        "FROM vehicle_state s JOIN vehicle v USING (vehicle_id) GROUP BY 1 ORDER BY 1"
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


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


_MUNICIPALITY: Final = """
INSERT INTO municipality (municipality_id, name, timezone, rules)
VALUES (%(municipality_id)s, %(name)s, %(timezone)s, coalesce(%(rules)s, '{}'::jsonb))
ON CONFLICT (municipality_id) DO UPDATE SET
    name = EXCLUDED.name, timezone = EXCLUDED.timezone,
    rules = coalesce(%(rules)s, municipality.rules)
"""
_DEPOT: Final = """
INSERT INTO depot (depot_id, municipality_id, name, lat, lon, radius_m, capacity, charger_count)
VALUES (%(depot_id)s, %(municipality_id)s, %(name)s, %(lat)s, %(lon)s, %(radius_m)s, %(capacity)s,
        %(charger_count)s)
ON CONFLICT (depot_id) DO UPDATE SET
    name = EXCLUDED.name, lat = EXCLUDED.lat, lon = EXCLUDED.lon, radius_m = EXCLUDED.radius_m,
    capacity = EXCLUDED.capacity, charger_count = EXCLUDED.charger_count
"""
_VEHICLE: Final = """
INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, energy_source,
                     consumption_per_km, yearly_cost_dkk, range_km, seats, home_depot_id,
                     lease_ends_on, registered)
VALUES (%(vehicle_id)s, %(municipality_id)s, %(name)s, %(vehicle_type)s, %(energy_source)s,
        %(consumption_per_km)s, %(yearly_cost_dkk)s, %(range_km)s, %(seats)s, %(home_depot_id)s,
        %(lease_ends_on)s, true)
ON CONFLICT (vehicle_id) DO UPDATE SET
    name = EXCLUDED.name, vehicle_type = EXCLUDED.vehicle_type,
    energy_source = EXCLUDED.energy_source, consumption_per_km = EXCLUDED.consumption_per_km,
    yearly_cost_dkk = EXCLUDED.yearly_cost_dkk, range_km = EXCLUDED.range_km,
    seats = EXCLUDED.seats, home_depot_id = EXCLUDED.home_depot_id,
    lease_ends_on = EXCLUDED.lease_ends_on, registered = true
"""


async def enter(connection: AsyncConnection[TupleRow], master_data: MasterData) -> None:
    """Enter municipalities, depots and vehicles; those that are there are updated.

    A municipality's rules stay as they are unless new ones are given. Call it in a transaction.
    Raises `psycopg.errors.ForeignKeyViolation` for a municipality or a home depot that is neither
    given nor entered.
    """
    async with connection.cursor() as cursor:
        for statement, rows in (
            (_MUNICIPALITY, [_municipality(one) for one in master_data.municipalities]),
            (_DEPOT, [one.model_dump() for one in master_data.depots]),
            (_VEHICLE, [one.model_dump() for one in master_data.vehicles]),
        ):
            await cursor.executemany(statement, rows)


def _municipality(one: Municipality) -> dict[str, Any]:
    """Return a row with only those rules that differ from the defaults."""
    given = "rules" in one.model_fields_set
    rules = Jsonb(one.rules.model_dump(exclude_unset=True)) if given else None
    return {**one.model_dump(exclude={"rules"}), "rules": rules}
