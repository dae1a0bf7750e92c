"""Rows of the timeline: fixes, what is derived from them, and where the fold stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, LiteralString

from psycopg import sql

from infra.database.pool import Connection


@dataclass(frozen=True, slots=True, eq=False)  # one object a table: its identity is its key
class Table:
    """A table that rows are copied into: its columns with their types, in order."""

    name: str
    columns: Mapping[str, str]
    since: str = "started_at"
    """The column of time by which rows of a vehicle are replaced."""

    def copy_statement(self) -> sql.Composed:
        """Return the statement that takes rows in binary."""
        return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
            sql.Identifier(self.name), sql.SQL(", ").join(map(sql.Identifier, self.columns))
        )


FIX: Final = Table(
    "fix",
    {
        "vehicle_id": "text",
        "recorded_at": "timestamptz",
        "received_at": "timestamptz",
        "lat": "float8",
        "lon": "float8",
        "speed_mps": "float8",
        "heading_deg": "float8",
        "ignition": "bool",
        "odometer_m": "float8",
        "fuel_fraction": "float8",
        "soc_fraction": "float8",
        "accuracy_m": "float8",
        "quarantine": "text",
        "tracker_id": "text",
    },
    since="recorded_at",
)
SEGMENT: Final = Table(
    "segment",
    {
        "vehicle_id": "text",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
        "state": "text",
        "distance_m": "float8",
        "moved": "bool",
        "private": "bool",
        "start_lat": "float8",
        "start_lon": "float8",
        "end_lat": "float8",
        "end_lon": "float8",
        "is_open": "bool",
    },
)
TRIP: Final = Table(
    "trip",
    {
        "vehicle_id": "text",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
        "distance_m": "float8",
        "distance_source": "text",
        "gps_m": "float8",
        "odometer_m": "float8",
        "motion_only": "bool",
        "driving_s": "numeric",
        "idling_s": "numeric",
        "start_lat": "float8",
        "start_lon": "float8",
        "end_lat": "float8",
        "end_lon": "float8",
        "start_depot_id": "text",
        "end_depot_id": "text",
        "is_open": "bool",
    },
)
IDLE_INTERVAL: Final = Table(
    "idle_interval",
    {
        "vehicle_id": "text",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
        "lat": "float8",
        "lon": "float8",
        "fuel_l": "float8",
        "co2e_kg": "float8",
        "is_open": "bool",
    },
)
ROUND_TRIP: Final = Table(
    "round_trip",
    {
        "vehicle_id": "text",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
        "kind": "text",
        "start_depot_id": "text",
        "end_depot_id": "text",
        "distance_m": "float8",
        "trip_count": "int4",
        "is_open": "bool",
        "home_depot_id": "text",
        "part": "int4",
    },
)
USAGE_HOUR: Final = Table(
    "usage_hour",
    {
        "vehicle_id": "text",
        "hour": "timestamptz",
        "driving_s": "numeric",
        "idling_s": "numeric",
        "parked_s": "numeric",
        "offline_s": "numeric",
        "distance_m": "float8",
        "trip_count": "int4",
        "fuel_l": "float8",
        "energy_kwh": "float8",
        "co2e_kg": "float8",
        "away_s": "numeric",
    },
    since="hour",
)
CHECKPOINT: Final = Table(
    "vehicle_checkpoint",
    {"vehicle_id": "text", "recorded_at": "timestamptz", "state": "text"},
    since="recorded_at",
)

Row = tuple[Any, ...]

Span = tuple[str, datetime, datetime | None]
"""A vehicle, and a stretch of time from an instant on; to another one, if any."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """A row of `vehicle_state`."""

    vehicle_id: str
    version: int
    first_recorded_at: datetime
    last_recorded_at: datetime
    state: str
    """JSON."""


async def copy_rows(connection: Connection, table: Table, rows: Iterable[Row]) -> None:
    """Append rows by binary COPY."""
    async with (
        connection.cursor() as cursor,
        cursor.copy(table.copy_statement()) as copy,
    ):
        copy.set_types(list(table.columns.values()))
        for row in rows:
            await copy.write_row(row)


async def replace_rows(
    connection: Connection,
    table: Table,
    spans: Sequence[Span],
    rows: Sequence[Row],
) -> None:
    """Delete each vehicle's rows that begin within its stretch, and append the given ones."""
    await connection.execute(
        sql.SQL(
            "DELETE FROM {table} t USING "
            "unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS r (id, since, until) "
            "WHERE t.vehicle_id = r.id AND t.{column} >= r.since AND t.{column} < r.until"
        ).format(table=sql.Identifier(table.name), column=sql.Identifier(table.since)),
        [
            _array(vehicle_id for vehicle_id, _, _ in spans),
            _array(since.isoformat() for _, since, _ in spans),
            _array("infinity" if until is None else until.isoformat() for _, _, until in spans),
        ],
    )
    if rows:
        await copy_rows(connection, table, rows)


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
    known = [state for state in states if state.version > 1]
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
    if known:
        await connection.execute(
            "UPDATE vehicle_state v SET version = given.version, "
            "first_recorded_at = given.first_recorded_at, "
            "last_recorded_at = given.last_recorded_at, state = given.state, written_at = now() "
            f"FROM {given} WHERE v.vehicle_id = given.vehicle_id",
            _arrays(known),
        )


def _arrays(states: Sequence[StoredState]) -> list[Any]:
    return [
        _array(state.vehicle_id for state in states),
        _array(str(state.version) for state in states),
        _array(state.first_recorded_at.isoformat() for state in states),
        _array(state.last_recorded_at.isoformat() for state in states),
        [state.state for state in states],
    ]


def _array(values: Iterable[str]) -> str:
    """Return values that need no quoting, such as ids and instants, as the text of an array.

    psycopg quotes each element by itself, which adds up over thousands of vehicles.
    """
    return "{" + ",".join(values) + "}"


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
WHERE v.municipality_id = %(municipality_id)s
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
) -> dict[str, datetime]:
    """Return vehicles without a fix for longer than a gap whose rows end an hour ago or more.

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


async def read_fixes(
    connection: Connection,
    vehicle_id: str,
    *,
    after: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> list[Row]:
    """Return a vehicle's stored fixes after an instant and up to another, as rows of `FIX`.

    In order; with a limit, at most so many of them. An instant that is None bounds nothing.
    """
    return await _read_fixes(
        connection,
        "recorded_at > %s AND recorded_at <= %s ORDER BY recorded_at LIMIT %s",
        vehicle_id,
        "-infinity" if after is None else after,
        "infinity" if until is None else until,
        limit,
    )


async def read_fixes_at(
    connection: Connection, vehicle_id: str, instants: Sequence[datetime]
) -> list[Row]:
    """Return a vehicle's stored fixes of those instants, as rows of `FIX`."""
    return await _read_fixes(
        connection, "recorded_at = ANY(%s::timestamptz[])", vehicle_id, list(instants)
    )


async def _read_fixes(connection: Connection, which: LiteralString, *given: Any) -> list[Row]:
    cursor = await connection.execute(
        sql.SQL("SELECT {} FROM fix WHERE vehicle_id = %s AND " + which).format(
            sql.SQL(", ").join(map(sql.Identifier, FIX.columns))
        ),
        given,
    )
    return await cursor.fetchall()


async def has_fix(connection: Connection, vehicle_id: str, at: datetime) -> bool:
    """Return whether the vehicle's fix of that instant is still stored."""
    cursor = await connection.execute(
        "SELECT 1 FROM fix WHERE vehicle_id = %s AND recorded_at = %s", [vehicle_id, at]
    )
    return await cursor.fetchone() is not None


async def allow_old_fixes(connection: Connection) -> None:
    """Let this transaction change any number of fixes that are in the columnstore already.

    TimescaleDB decompresses 100,000 a transaction and no more, unless told so: a batch of up to
    1,000 for each that is changed. Plain PostgreSQL keeps the setting without a meaning.
    """
    await connection.execute(
        "SELECT set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true)"
    )


async def revise_fixes(
    connection: Connection, reasons: Mapping[tuple[str, datetime], str | None]
) -> None:
    """Write why stored fixes are left out, or that they count, by vehicle and instant.

    A statement a fix, each with its key: TimescaleDB looks into the columnstore by values only. By
    a join it would decompress all that is in there, and refuse beyond its limit a transaction.
    """
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "UPDATE fix SET quarantine = %(reason)s WHERE vehicle_id = %(vehicle_id)s "
            "AND recorded_at = %(at)s AND quarantine IS DISTINCT FROM %(reason)s",
            [
                {"vehicle_id": vehicle_id, "at": at, "reason": reason}
                for (vehicle_id, at), reason in reasons.items()
            ],
        )


async def put_fixes(connection: Connection, rows: Sequence[Row]) -> None:
    """Write fixes that may be there already; the given rows count."""
    columns = list(FIX.columns)
    changed = [name for name in columns if name not in {"vehicle_id", "recorded_at"}]
    async with connection.cursor() as cursor:
        await cursor.executemany(
            sql.SQL(
                "INSERT INTO fix ({columns}) VALUES ({values}) "
                "ON CONFLICT (vehicle_id, recorded_at) DO UPDATE SET {changes}"
            ).format(
                columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
                values=sql.SQL(", ").join(sql.Placeholder() * len(columns)),
                changes=sql.SQL(", ").join(
                    sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in changed
                ),
            ),
            rows,
        )
