"""The tables of the timeline: their columns, and how many rows get into them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import sql

from infra.database.connection.pool import Connection
from schemas.events.fix import FIX_FIELDS

_SQL_TYPES: Final = {float: "float8", bool: "bool"}


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
        **{field.name: _SQL_TYPES[field.kind] for field in FIX_FIELDS},
        "quarantine": "text",
        "tracker_id": "text",
        "vendor": "text",
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
            text_array(vehicle_id for vehicle_id, _, _ in spans),
            text_array(since.isoformat() for _, since, _ in spans),
            text_array("infinity" if until is None else until.isoformat() for _, _, until in spans),
        ],
    )
    if rows:
        await copy_rows(connection, table, rows)


def text_array(values: Iterable[str]) -> str:
    """Return values that need no quoting, such as ids and instants, as the text of an array.

    psycopg quotes each element by itself, which adds up over thousands of vehicles.
    """
    return "{" + ",".join(values) + "}"
