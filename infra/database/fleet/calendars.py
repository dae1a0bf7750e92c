"""Calendars as rows: each municipality's local days, and when vehicles are available on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from infra.database.connection.locks import Lock, lock, try_lock
from infra.database.connection.pool import Connection

Part = tuple[datetime, datetime]
"""From an instant until before another."""


@dataclass(frozen=True, slots=True)
class DayRow:
    """A row of `local_day`, and its rows of `available_time` by vehicle type."""

    local_day: date
    started_at: datetime
    ended_at: datetime
    week: datetime
    month: datetime
    holiday: str | None
    available: Mapping[str, Sequence[Part]]


async def lock_calendars(connection: Connection) -> None:
    """Wait until nobody else keeps calendars, and shut them out until the transaction ends."""
    await lock(connection, Lock.CALENDARS)


async def try_to_lock_calendars(connection: Connection) -> bool:
    """Shut others out until the transaction ends; return whether nobody else had done so."""
    return await try_lock(connection, Lock.CALENDARS)


async def read_spans(connection: Connection) -> dict[str, tuple[datetime, datetime]]:
    """Return, for each municipality, what its calendar has to cover: its fixes and the present."""
    cursor = await connection.execute(
        "SELECT m.municipality_id, least(now(), min(s.first_recorded_at)), "
        "greatest(now(), max(s.last_recorded_at)) FROM municipality m "
        "LEFT JOIN vehicle v USING (municipality_id) LEFT JOIN vehicle_state s USING (vehicle_id) "
        "GROUP BY 1 ORDER BY 1"
    )
    return {row[0]: (row[1], row[2]) for row in await cursor.fetchall()}


async def read_digests(connection: Connection) -> dict[str, str]:
    """Return the hash of each municipality's rows, as `replace_calendar` was told."""
    cursor = await connection.execute("SELECT municipality_id, digest FROM calendar_kept")
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def replace_calendar(
    connection: Connection, municipality_id: str, days: Sequence[DayRow], digest: str
) -> None:
    """Put these days in place of all that a municipality has. Call it in a transaction."""
    await connection.execute("DELETE FROM local_day WHERE municipality_id = %s", [municipality_id])
    await connection.execute(
        "INSERT INTO local_day (municipality_id, local_day, started_at, ended_at, week, month, "
        "holiday) SELECT %s, * FROM unnest(%s::date[], %s::timestamptz[], %s::timestamptz[], "
        "%s::timestamptz[], %s::timestamptz[], %s::text[])",
        [
            municipality_id,
            [day.local_day for day in days],
            [day.started_at for day in days],
            [day.ended_at for day in days],
            [day.week for day in days],
            [day.month for day in days],
            [day.holiday for day in days],
        ],
    )
    rows = [
        (vehicle_type, day.local_day, _multirange(parts))
        for day in days
        for vehicle_type, parts in day.available.items()
    ]
    await connection.execute(
        "INSERT INTO available_time (municipality_id, vehicle_type, local_day, during) "
        "SELECT %s, of_type, on_day, during::tstzmultirange "
        "FROM unnest(%s::text[], %s::date[], %s::text[]) AS given (of_type, on_day, during)",
        [municipality_id, *(list(column) for column in zip(*rows, strict=True))],
    )
    await connection.execute(
        "INSERT INTO calendar_kept (municipality_id, digest) VALUES (%s, %s) "
        "ON CONFLICT (municipality_id) DO UPDATE SET digest = EXCLUDED.digest",
        [municipality_id, digest],
    )


def _multirange(parts: Sequence[Part]) -> str:
    """Return parts as PostgreSQL writes a multirange."""
    inner = ",".join(f"[{started.isoformat()},{ended.isoformat()})" for started, ended in parts)
    return "{" + inner + "}"
