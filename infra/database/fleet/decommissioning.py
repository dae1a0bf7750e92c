"""Decommissioning: a vehicle leaves the fleet on a day, and may come back. Its past stays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from psycopg.rows import class_row

from infra.database.connection.pool import Connection
from schemas.errors import UserError
from schemas.ids import municipality_of

_FOUND: Final = """
SELECT v.in_service_until, m.timezone, (now() AT TIME ZONE m.timezone)::date AS today,
       (s.first_recorded_at AT TIME ZONE m.timezone)::date AS first_day
FROM vehicle v JOIN municipality m USING (municipality_id)
LEFT JOIN vehicle_state s USING (vehicle_id)
WHERE v.vehicle_id = %s AND v.registered
FOR NO KEY UPDATE OF v
"""

_LISTED: Final = """
SELECT v.vehicle_id, v.name, v.vehicle_type, v.home_depot_id, v.registered, v.in_service_until,
       serving.vehicle_id IS NOT NULL AS is_in_service, s.last_recorded_at,
       coalesce((s.last_recorded_at AT TIME ZONE m.timezone)::date > v.in_service_until, false)
           AS is_heard_after
FROM vehicle v JOIN municipality m USING (municipality_id)
LEFT JOIN vehicle_in_service serving ON serving.vehicle_id = v.vehicle_id
LEFT JOIN vehicle_state s ON s.vehicle_id = v.vehicle_id
WHERE v.municipality_id = %s ORDER BY v.vehicle_id
"""


class RetirementError(UserError):
    """A vehicle cannot be retired or reinstated like this; it says why and what to do."""


@dataclass(frozen=True, slots=True)
class Retired:
    """The last day of a vehicle in service, the one before if there was any, and whose days."""

    last_day: date
    before: date | None
    timezone: str


@dataclass(frozen=True, slots=True)
class ListedVehicle:
    """A vehicle, whether it is of the fleet today, and when it was heard of last.

    `is_heard_after` is whether that was after its last day in service.
    """

    vehicle_id: str
    name: str
    vehicle_type: str
    home_depot_id: str | None
    registered: bool
    in_service_until: date | None
    is_in_service: bool
    last_recorded_at: datetime | None
    is_heard_after: bool


@dataclass(frozen=True, slots=True)
class _ServicePeriod:
    in_service_until: date | None
    timezone: str
    today: date
    first_day: date | None


async def retire(connection: Connection, vehicle_id: str, last_day: date | None = None) -> Retired:
    """Have a vehicle in service up to and on a local day, today without one; return that.

    Call it in a transaction. Raises `RetirementError` for a vehicle that nobody has entered, and
    for a day before it was first heard of.
    """
    service = await _find(connection, vehicle_id)
    chosen = service.today if last_day is None else last_day
    if service.first_day is not None and chosen < service.first_day:
        raise RetirementError(
            f"{vehicle_id} cannot be in service until {chosen}: it was first heard of on "
            f"{service.first_day}, and what it did would be nobody's; give that day or a later one"
        )
    await _set(connection, vehicle_id, chosen)
    return Retired(chosen, service.in_service_until, service.timezone)


async def reinstate(connection: Connection, vehicle_id: str) -> date:
    """Have a vehicle in service without an end, as if it had never left; return what the end was.

    Call it in a transaction. Raises `RetirementError` for a vehicle that nobody has entered, and
    for one that has no end.
    """
    before = (await _find(connection, vehicle_id)).in_service_until
    if before is None:
        raise RetirementError(f"{vehicle_id} is in service without an end; nothing to undo")
    await _set(connection, vehicle_id, None)
    return before


async def list_vehicles(connection: Connection, municipality_id: str) -> list[ListedVehicle]:
    """Return a municipality's vehicles, also retired ones and those only seen in the stream."""
    async with connection.cursor(row_factory=class_row(ListedVehicle)) as cursor:
        await cursor.execute(_LISTED, [municipality_id])
        return await cursor.fetchall()


async def _find(connection: Connection, vehicle_id: str) -> _ServicePeriod:
    async with connection.cursor(row_factory=class_row(_ServicePeriod)) as cursor:
        await cursor.execute(_FOUND, [vehicle_id])
        row = await cursor.fetchone()
    if row is None:
        raise RetirementError(
            f"vehicle {vehicle_id!r} is not entered; those that are: "
            f"fleetpulse fleet list {municipality_of(vehicle_id)}"
        )
    return row


async def _set(connection: Connection, vehicle_id: str, last_day: date | None) -> None:
    await connection.execute(
        "UPDATE vehicle SET in_service_until = %s WHERE vehicle_id = %s", [last_day, vehicle_id]
    )
