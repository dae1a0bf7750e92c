"""Master data of all municipalities as the stream needs it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from infra.database.trackers import load_assignments
from schemas.fleet import Assignment, Depot, EnteredVehicle, Home, MasterData, Municipality, Vehicle
from schemas.ids import local_part, municipality_of


@dataclass(frozen=True, slots=True)
class Fleet:
    """Who there is: municipalities, their depots (by id), vehicles, those's homes, and trackers."""

    municipalities: Mapping[str, Municipality]
    depots: Mapping[str, tuple[Depot, ...]]
    vehicles: Mapping[str, Vehicle]
    homes: Mapping[str, tuple[Home, ...]]
    """Where each vehicle was at home and is, in order of time."""
    trackers: Mapping[str, tuple[Assignment, ...]]
    """Of trackers that were ever assigned, by the id that they send, in order of time."""
    tracker_revision: int
    """Grows with each change of an assignment."""
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
    municipalities = await load_municipalities(connection)
    depots: defaultdict[str, list[Depot]] = defaultdict(list)
    for row in await _rows(
        connection,
        "SELECT depot_id, municipality_id, name, lat, lon, radius_m, polygon, capacity, "
        "charger_count FROM depot ORDER BY depot_id",
    ):
        depots[row["municipality_id"]].append(Depot(**row))
    vehicles = await _rows(
        connection,
        "SELECT vehicle_id, municipality_id, name, vehicle_type, energy_source, "
        "consumption_per_km, yearly_cost_dkk, range_km, seats, home_depot_id, lease_ends_on, "
        "locked_until, in_service_until "
        "FROM vehicle",
    )
    homes: defaultdict[str, list[Home]] = defaultdict(list)
    for row in await _rows(
        connection,
        "SELECT vehicle_id, depot_id, lower(during) AS since, upper(during) AS until "
        "FROM vehicle_home ORDER BY vehicle_id, during",
    ):
        homes[row["vehicle_id"]].append(Home(row["depot_id"], row["since"], row["until"]))
    tracker_revision, trackers = await load_assignments(connection)
    return Fleet(
        municipalities,
        {municipality_id: tuple(rows) for municipality_id, rows in depots.items()},
        {row["vehicle_id"]: Vehicle(**row) for row in vehicles},
        {vehicle_id: tuple(rows) for vehicle_id, rows in homes.items()},
        trackers,
        tracker_revision,
    )


async def load_municipalities(connection: AsyncConnection[TupleRow]) -> dict[str, Municipality]:
    """Read the municipalities alone, by id. Raises as `load_fleet` does."""
    rows = await _rows(
        connection,
        "SELECT municipality_id, name, timezone, rules, calendar, planning FROM municipality",
    )
    return {row["municipality_id"]: Municipality(**row) for row in rows}


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
        "SELECT municipality_id, until FROM observed_span ORDER BY municipality_id"
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
INSERT INTO municipality (municipality_id, name, timezone, rules, calendar, planning)
VALUES (%(municipality_id)s, %(name)s, %(timezone)s, coalesce(%(rules)s, '{}'::jsonb),
        coalesce(%(calendar)s, '{}'::jsonb), coalesce(%(planning)s, '{}'::jsonb))
ON CONFLICT (municipality_id) DO UPDATE SET
    name = EXCLUDED.name, timezone = EXCLUDED.timezone,
    rules = coalesce(%(rules)s, municipality.rules),
    calendar = coalesce(%(calendar)s, municipality.calendar),
    planning = coalesce(%(planning)s, municipality.planning)
"""
_DEPOT: Final = """
INSERT INTO depot (depot_id, municipality_id, name, lat, lon, radius_m, polygon, capacity,
                   charger_count)
VALUES (%(depot_id)s, %(municipality_id)s, %(name)s, %(lat)s, %(lon)s, %(radius_m)s, %(polygon)s,
        %(capacity)s, %(charger_count)s)
ON CONFLICT (depot_id) DO UPDATE SET
    name = EXCLUDED.name, lat = EXCLUDED.lat, lon = EXCLUDED.lon, radius_m = EXCLUDED.radius_m,
    polygon = EXCLUDED.polygon, capacity = EXCLUDED.capacity, charger_count = EXCLUDED.charger_count
"""
_VEHICLE: Final = """
INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, energy_source,
                     consumption_per_km, yearly_cost_dkk, range_km, seats, home_depot_id,
                     lease_ends_on, locked_until, in_service_until, registered)
VALUES (%(vehicle_id)s, %(municipality_id)s, %(name)s, %(vehicle_type)s, %(energy_source)s,
        %(consumption_per_km)s, %(yearly_cost_dkk)s, %(range_km)s, %(seats)s, %(home_depot_id)s,
        %(lease_ends_on)s, %(locked_until)s, %(in_service_until)s, true)
ON CONFLICT (vehicle_id) DO UPDATE SET
    name = EXCLUDED.name, vehicle_type = EXCLUDED.vehicle_type,
    energy_source = EXCLUDED.energy_source, consumption_per_km = EXCLUDED.consumption_per_km,
    yearly_cost_dkk = EXCLUDED.yearly_cost_dkk, range_km = EXCLUDED.range_km,
    seats = EXCLUDED.seats, home_depot_id = EXCLUDED.home_depot_id,
    lease_ends_on = EXCLUDED.lease_ends_on, locked_until = EXCLUDED.locked_until,
    in_service_until = CASE WHEN %(says_service)s THEN EXCLUDED.in_service_until
                            ELSE vehicle.in_service_until END,
    registered = true
"""


# A home is known again from an instant on: what was said of later times gives way.
_FORGET_HOMES: Final = """
DELETE FROM vehicle_home h USING unnest(%(ids)s::text[], %(sinces)s::timestamptz[])
    AS given (vehicle_id, since)
WHERE h.vehicle_id = given.vehicle_id
  AND (lower(h.during) >= given.since OR given.vehicle_id = ANY (%(new)s::text[]))
"""
_CLOSE_HOMES: Final = """
UPDATE vehicle_home h SET during = tstzrange(lower(h.during), given.since)
FROM unnest(%(ids)s::text[], %(sinces)s::timestamptz[], %(depots)s::text[])
    AS given (vehicle_id, since, depot_id)
WHERE h.vehicle_id = given.vehicle_id AND h.during @> given.since
  AND h.depot_id IS DISTINCT FROM given.depot_id
"""
_REOPEN_HOMES: Final = """
UPDATE vehicle_home h SET during = tstzrange(lower(h.during), NULL)
FROM unnest(%(ids)s::text[], %(sinces)s::timestamptz[], %(depots)s::text[])
    AS given (vehicle_id, since, depot_id)
WHERE h.vehicle_id = given.vehicle_id AND h.depot_id = given.depot_id
  AND (h.during @> given.since OR upper(h.during) = given.since)
"""
_OPEN_HOMES: Final = """
INSERT INTO vehicle_home (vehicle_id, depot_id, during)
SELECT given.vehicle_id, given.depot_id, tstzrange(given.since, NULL)
FROM unnest(%(ids)s::text[], %(sinces)s::timestamptz[], %(depots)s::text[])
    AS given (vehicle_id, since, depot_id)
WHERE given.depot_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM vehicle_home h
    WHERE h.vehicle_id = given.vehicle_id AND h.during @> given.since)
"""


class HomeInFutureError(ValueError):
    """A vehicle is to be at home somewhere from an instant that has not come yet."""


async def enter(connection: AsyncConnection[TupleRow], master_data: MasterData) -> None:
    """Enter municipalities, depots and vehicles; those that are there are updated.

    A municipality's rules, calendar and planning, and until when a vehicle is in service, stay as
    they are unless new ones are given. Former homes are kept, see `schemas.fleet.EnteredVehicle`.
    Call it in a transaction, and have the calendars kept as rows in it (`stream.calendars`). Raises
    `HomeInFutureError`, and `psycopg.errors.ForeignKeyViolation` for a municipality or a home depot
    that is neither given nor entered.
    """
    dated = [one for one in master_data.vehicles if one.home_since is not None]
    known = await _check_homes(connection, dated)
    async with connection.cursor() as cursor:
        for statement, rows in (
            (_MUNICIPALITY, [_municipality(one) for one in master_data.municipalities]),
            (_DEPOT, [_depot(one) for one in master_data.depots]),
            (_VEHICLE, [_vehicle(one) for one in master_data.vehicles]),
        ):
            await cursor.executemany(statement, rows)
    # A trigger has noted the homes that changed, as of now.
    if dated:
        given = {
            "ids": [one.vehicle_id for one in dated],
            "sinces": [one.home_since for one in dated],
            "depots": [one.home_depot_id for one in dated],
            "new": [one.vehicle_id for one in dated if one.vehicle_id not in known],
        }
        for statement in (_FORGET_HOMES, _CLOSE_HOMES, _REOPEN_HOMES, _OPEN_HOMES):
            await connection.execute(statement, given)


async def _check_homes(
    connection: AsyncConnection[TupleRow], dated: Sequence[EnteredVehicle]
) -> set[str]:
    """Return which of the vehicles somebody has entered before."""
    cursor = await connection.execute(
        "SELECT now(), coalesce(array_agg(vehicle_id), '{}') FROM vehicle "
        "WHERE registered AND vehicle_id = ANY (%s)",
        [[one.vehicle_id for one in dated]],
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("the database returned no time")
    now, known = row
    for one in dated:
        if one.home_since is not None and one.home_since > now:
            raise HomeInFutureError(
                f"{one.vehicle_id} is to be at home at {one.home_depot_id} since "
                f"{one.home_since.isoformat()}, and now it is {now.isoformat()}; enter it then"
            )
    return set(known)


def _vehicle(one: EnteredVehicle) -> dict[str, Any]:
    return {
        **one.model_dump(exclude={"home_since"}),
        "says_service": "in_service_until" in one.model_fields_set,
    }


def _depot(one: Depot) -> dict[str, Any]:
    polygon = None if one.polygon is None else Jsonb(one.polygon)
    return {**one.model_dump(exclude={"polygon"}), "polygon": polygon}


def _municipality(one: Municipality) -> dict[str, Any]:
    """Return a row with only what of rules, calendar and planning was given."""
    parts: dict[str, BaseModel] = {
        "rules": one.rules,
        "calendar": one.calendar,
        "planning": one.planning,
    }
    return {
        **one.model_dump(exclude=set(parts)),
        **{
            name: Jsonb(part.model_dump(mode="json", exclude_unset=True))
            if name in one.model_fields_set
            else None
            for name, part in parts.items()
        },
    }
