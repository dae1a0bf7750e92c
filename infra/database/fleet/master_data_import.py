"""Import master data: municipalities, depots, vehicles and their home depots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb
from pydantic import BaseModel

from schemas.errors import UserError
from schemas.fleet.master_data import Depot, EnteredVehicle, FleetFile, Municipality

_MUNICIPALITY: Final = """
INSERT INTO municipality (municipality_id, name, timezone, rules, calendar, planning, costs)
VALUES (%(municipality_id)s, %(name)s, %(timezone)s, coalesce(%(rules)s, '{}'::jsonb),
        coalesce(%(calendar)s, '{}'::jsonb), coalesce(%(planning)s, '{}'::jsonb),
        coalesce(%(costs)s, '{}'::jsonb))
ON CONFLICT (municipality_id) DO UPDATE SET
    name = EXCLUDED.name, timezone = EXCLUDED.timezone,
    rules = coalesce(%(rules)s, municipality.rules),
    calendar = coalesce(%(calendar)s, municipality.calendar),
    planning = coalesce(%(planning)s, municipality.planning),
    costs = coalesce(%(costs)s, municipality.costs)
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


_MAX_LISTED: Final = 5
"""Of what is wrong with a file, so many are named."""


class HomeInFutureError(UserError):
    """A vehicle is to be at home somewhere from an instant that has not come yet."""


class UnknownReferenceError(UserError):
    """A depot or vehicle is of a municipality, or at home at a depot, that nobody has entered."""


async def import_master_data(connection: AsyncConnection[TupleRow], master_data: FleetFile) -> None:
    """Enter municipalities, depots and vehicles; those that are there are updated.

    A municipality's rules, calendar, planning and costs, and until when a vehicle is in service,
    stay as they are unless new ones are given. Former homes are kept, see
    `schemas.fleet.master_data.EnteredVehicle`. Call it in a transaction, and have the calendars
    kept as rows in it (`stream.calendars`). Raises `HomeInFutureError`, and `UnknownReferenceError`
    for a municipality or a home depot that is neither given nor entered.
    """
    await _check_references(connection, master_data)
    dated = [vehicle for vehicle in master_data.vehicles if vehicle.home_since is not None]
    entered = await _check_homes(connection, dated)
    async with connection.cursor() as cursor:
        for statement, rows in (
            (
                _MUNICIPALITY,
                [_municipality(municipality) for municipality in master_data.municipalities],
            ),
            (_DEPOT, [_depot(depot) for depot in master_data.depots]),
            (_VEHICLE, [_vehicle(vehicle) for vehicle in master_data.vehicles]),
        ):
            await cursor.executemany(statement, rows)
    # A trigger has noted the homes that changed, as of now.
    if dated:
        given = {
            "ids": [vehicle.vehicle_id for vehicle in dated],
            "sinces": [vehicle.home_since for vehicle in dated],
            "depots": [vehicle.home_depot_id for vehicle in dated],
            "new": [vehicle.vehicle_id for vehicle in dated if vehicle.vehicle_id not in entered],
        }
        for statement in (_FORGET_HOMES, _CLOSE_HOMES, _REOPEN_HOMES, _OPEN_HOMES):
            await connection.execute(statement, given)


async def _check_references(connection: AsyncConnection[TupleRow], master_data: FleetFile) -> None:
    entered = await connection.execute(
        "SELECT municipality_id FROM municipality UNION ALL SELECT depot_id FROM depot"
    )
    there = {row[0] for row in await entered.fetchall()}
    there |= {municipality.municipality_id for municipality in master_data.municipalities}
    there |= {depot.depot_id for depot in master_data.depots}
    missing = [
        f"depot {depot.depot_id} is of municipality {depot.municipality_id}, which is not entered"
        for depot in master_data.depots
        if depot.municipality_id not in there
    ]
    for vehicle in master_data.vehicles:
        if vehicle.municipality_id not in there:
            missing.append(
                f"vehicle {vehicle.vehicle_id} is of municipality {vehicle.municipality_id}, "
                "which is not entered"
            )
        elif vehicle.home_depot_id is not None and vehicle.home_depot_id not in there:
            missing.append(
                f"vehicle {vehicle.vehicle_id} is at home at depot {vehicle.home_depot_id}, "
                "which is not entered"
            )
    if missing:
        more = len(missing) - _MAX_LISTED
        raise UnknownReferenceError(
            "; ".join(missing[:_MAX_LISTED])
            + (f"; and {more} more" if more > 0 else "")
            + ": enter it too, in this file or before"
        )


async def _check_homes(
    connection: AsyncConnection[TupleRow], dated: Sequence[EnteredVehicle]
) -> set[str]:
    """Return which of the vehicles somebody has entered before."""
    cursor = await connection.execute(
        "SELECT now(), coalesce(array_agg(vehicle_id), '{}') FROM vehicle "
        "WHERE registered AND vehicle_id = ANY (%s)",
        [[vehicle.vehicle_id for vehicle in dated]],
    )
    row = await cursor.fetchone()
    if row is None:
        raise RuntimeError("the database returned no time")
    now, entered = row
    for vehicle in dated:
        if vehicle.home_since is not None and vehicle.home_since > now:
            raise HomeInFutureError(
                f"{vehicle.vehicle_id} is to be at home at {vehicle.home_depot_id} since "
                f"{vehicle.home_since.isoformat()}, and now it is {now.isoformat()}; enter it then"
            )
    return set(entered)


def _vehicle(vehicle: EnteredVehicle) -> dict[str, Any]:
    return {
        **vehicle.model_dump(exclude={"home_since"}),
        "says_service": "in_service_until" in vehicle.model_fields_set,
    }


def _depot(depot: Depot) -> dict[str, Any]:
    polygon = None if depot.polygon is None else Jsonb(depot.polygon)
    return {**depot.model_dump(exclude={"polygon"}), "polygon": polygon}


def _municipality(municipality: Municipality) -> dict[str, Any]:
    """Return a row with only what of rules, calendar, planning and costs was given."""
    parts: dict[str, BaseModel] = {
        "rules": municipality.rules,
        "calendar": municipality.calendar,
        "planning": municipality.planning,
        "costs": municipality.costs,
    }
    return {
        **municipality.model_dump(exclude=set(parts)),
        **{
            name: Jsonb(part.model_dump(mode="json", exclude_unset=True))
            if name in municipality.model_fields_set
            else None
            for name, part in parts.items()
        },
    }
