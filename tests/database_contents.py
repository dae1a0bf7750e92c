"""Every column of every table, read from the catalogue: a new one cannot be forgotten.

What is left out of a comparison is named, each with its reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from psycopg import sql

from infra.database.connection.pool import Pool

CLOCKS: Final[Mapping[str, str]] = {
    "dead_letter.created_at": "when it was written",
    "outbox.created_at": "when it was written",
    "outbox.position": "a sequence that goes on when the table is emptied",
    "stream_progress.updated_at": "when it was written",
    "vehicle_state.written_at": "when it was written",
    "vehicle_vendor.since": "when it was written",
}
"""What differs between two runs of the same on the same records."""

OF_THE_DELIVERY: Final[Mapping[str, str]] = {
    **CLOCKS,
    "dead_letter": "says in which message a fix came, and a fix may come in several",
    "outbox": "what was announced on the way: an ended trip that a late fix then made longer",
    "stream_progress": "how many messages the fixes came in",
    "tracker_revision": "how often assignments of trackers were changed",
    "vehicle_checkpoint": "lies where the fold was when it had taken enough fixes",
    "vehicle_state.version": "in how many batches the fixes came",
}
"""What depends on how the fixes came, and not on which fixes there are (law 2)."""

CALENDARS: Final[Mapping[str, str]] = dict.fromkeys(
    ("available_time", "calendar_kept", "local_day"),
    "housekeeping writes the days of old data some time after the data",
)
"""What a running worker writes beside its batches."""

_TABLES: Final = """
    SELECT c.relname, array_agg(a.attname ORDER BY a.attnum)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY 1 ORDER BY 1"""


async def contents(
    pool: Pool, left_out: Mapping[str, str], *, only: Collection[str] | None = None
) -> list[tuple[Any, ...]]:
    """Return all rows, each after the name of its table: of all tables, or only of some.

    `left_out` are tables, as `table`, and columns, as `table.column`, each with its reason. Raises
    `LookupError` for one that is not there: it would leave nothing out.
    """
    async with pool.connection() as connection:
        cursor = await connection.execute(_TABLES)
        tables: dict[str, list[str]] = dict(await cursor.fetchall())
        names = {*tables, *(f"{table}.{column}" for table in tables for column in tables[table])}
        if unknown := sorted({*left_out, *(only or ())} - names):
            raise LookupError(f"no table or column {', '.join(unknown)}; correct the list")
        cursors = []
        async with connection.pipeline():
            for table, columns in tables.items():
                kept = [column for column in columns if f"{table}.{column}" not in left_out]
                if table in left_out or (only is not None and table not in only):
                    continue
                query = sql.SQL("SELECT {table}, {columns} FROM {name} ORDER BY {order}").format(
                    table=sql.Literal(table),
                    columns=sql.SQL(", ").join(map(sql.Identifier, kept)),
                    name=sql.Identifier(table),
                    order=sql.SQL(", ").join(map(sql.Identifier, kept)),
                )
                cursors.append(await connection.execute(query))
        return [row for cursor in cursors for row in await cursor.fetchall()]
