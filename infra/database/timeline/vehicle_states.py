"""States of vehicles: where the fold of each stands, and which are inactive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import sql

from infra.database.connection.pool import Connection
from infra.database.timeline.tables import Table, text_array


@dataclass(frozen=True, slots=True)
class StoredState:
    """A row of `vehicle_state`."""

    vehicle_id: str
    version: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    state: str
    """JSON."""


async def lock_states(connection: Connection, vehicle_ids: Sequence[str]) -> dict[str, int]:
    """Lock the vehicles' states until the transaction ends; return their versions.

    In order of id, so that two writers never wait for each other in a circle.
    """
    cursor = await connection.execute(
        "SELECT vehicle_id, version FROM vehicle_state WHERE vehicle_id = ANY(%b::text[]) "
        "ORDER BY vehicle_id FOR NO KEY UPDATE",
        [sorted(vehicle_ids)],
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def read_states(connection: Connection, vehicle_ids: Sequence[str]) -> list[StoredState]:
    """Return the states of those vehicles that have one."""
    cursor = await connection.execute(
        "SELECT vehicle_id, version, first_recorded_at, last_recorded_at, state "
        "FROM vehicle_state WHERE vehicle_id = ANY(%b::text[])",
        [list(vehicle_ids)],
    )
    return [StoredState(row[0], row[1], row[2], row[3], row[4]) for row in await cursor.fetchall()]


async def vehicles_with_state(connection: Connection, municipality_id: str) -> list[str]:
    """Return the vehicles of a municipality that have sent a fix, in order."""
    cursor = await connection.execute(
        "SELECT vehicle_id FROM vehicle_state JOIN vehicle USING (vehicle_id) "
        "WHERE municipality_id = %s ORDER BY vehicle_id",
        [municipality_id],
    )
    return [row[0] for row in await cursor.fetchall()]


async def write_states(connection: Connection, states: Sequence[StoredState]) -> None:
    """Write states; their vehicles' rows are locked by us or new.

    Raises `psycopg.errors.UniqueViolation` when another worker has entered a new vehicle's state.
    """
    fresh = [state for state in states if state.version == 1]
    stored_states = [state for state in states if state.version > 1]
    columns = "(vehicle_id, version, first_recorded_at, last_recorded_at, state)"
    # JSON in binary: quoting it within an array of text costs more than all else here.
    given = (
        "unnest(%s::text[], %s::bigint[], %s::timestamptz[], %s::timestamptz[], %b::text[]) "
        f"AS given {columns}"
    )
    if fresh:
        await connection.execute(
            f"INSERT INTO vehicle_state {columns} SELECT vehicle_id, version, first_recorded_at, "
            f"last_recorded_at, state FROM {given} ORDER BY vehicle_id",
            _arrays(fresh),
        )
    if stored_states:
        await connection.execute(
            "UPDATE vehicle_state v SET version = given.version, "
            "first_recorded_at = given.first_recorded_at, "
            "last_recorded_at = given.last_recorded_at, state = given.state, written_at = now() "
            f"FROM {given} WHERE v.vehicle_id = given.vehicle_id",
            _arrays(stored_states),
        )


def _arrays(states: Sequence[StoredState]) -> list[Any]:
    return [
        text_array(state.vehicle_id for state in states),
        text_array(str(state.version) for state in states),
        text_array(state.first_recorded_at.isoformat() for state in states),
        text_array(state.last_recorded_at.isoformat() for state in states),
        [state.state for state in states],
    ]


# Nobody asks where a vehicle is after its last day in service: until then, and so long beyond its
# last fix that a trip which broke off there ends. An end that is null bounds nothing.
_SILENT: Final = """
SELECT s.vehicle_id, asked.until FROM vehicle_state s
JOIN vehicle v USING (vehicle_id)
JOIN municipality m USING (municipality_id)
LEFT JOIN segment g ON g.vehicle_id = s.vehicle_id AND g.is_open
CROSS JOIN LATERAL (
    SELECT least(%(until)s, s.last_recorded_at + %(at_most)s,
                 CASE WHEN v.in_service_until IS NOT NULL THEN greatest(
                     (v.in_service_until + 1)::timestamp AT TIME ZONE m.timezone,
                     s.last_recorded_at + %(gap)s + INTERVAL '1 hour') END) AS until
) AS asked
WHERE v.municipality_id = %(municipality_id)s AND s.vehicle_id > %(after)s
  AND NOT starts_with(s.state, '{"timeline":null')
  AND s.last_recorded_at < asked.until - %(gap)s
  AND s.written_at < now() - %(unwritten_for)s
  AND coalesce(g.ended_at, s.last_recorded_at) <= asked.until - INTERVAL '1 hour'
ORDER BY s.vehicle_id
LIMIT %(limit)s
"""


async def find_silent(  # noqa: PLR0913 - each bounds what is silent
    connection: Connection,
    municipality_id: str,
    *,
    until: datetime,
    gap: timedelta,
    at_most: timedelta,
    unwritten_for: timedelta,
    limit: int,
    after: str = "",
) -> dict[str, datetime]:
    """Return vehicles without a fix for longer than a gap whose rows end an hour ago or more.

    In order of id, `limit` at most of those `after` an id. One that was only ever in private mode
    has no timeline to write on, and is left out.

    With each the instant until which rows are wanted: for `at_most` after the last fix, and of one
    that is retired until its last day's end, or an hour and a gap after its last fix. Vehicles
    whose state was written within `unwritten_for` are left out: their fixes are on the way.
    """
    given = {
        "municipality_id": municipality_id,
        "until": until,
        "gap": gap,
        "at_most": at_most,
        "unwritten_for": unwritten_for,
        "after": after,
        "limit": limit,
    }
    cursor = await connection.execute(_SILENT, given)
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def read_ended(
    connection: Connection, table: Table, vehicle_id: str, *, since: datetime
) -> list[tuple[Any, ...]]:
    """Return start, end, kind if any, and metres of trips or round trips that ended since then."""
    columns = ["started_at", "ended_at", "distance_m"]
    if "kind" in table.columns:
        columns.insert(2, "kind")
    cursor = await connection.execute(
        sql.SQL(
            "SELECT {} FROM {} WHERE vehicle_id = %s AND ended_at >= %s AND NOT is_open"
        ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table.name)),
        [vehicle_id, since],
    )
    return await cursor.fetchall()
