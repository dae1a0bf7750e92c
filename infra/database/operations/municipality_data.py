"""All that is stored of one municipality: its export, and its erasure when it leaves.

Which rows are a municipality's is read from the catalogue, so that a table that comes later is not
forgotten: a table without any of the columns below must be named in `SHARED`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Final

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from schemas.errors import InternalError, UserError

SHARED: Final = frozenset(
    {
        "alembic_version",
        "consumer_group",
        "named_lock",
        "planner_lead",
        "service_role",
        "stream_progress",
        "tracker_revision",
    }
)
"""Tables of the installation, in which nothing is anybody's."""

_RULES: Final = (
    ("municipality_id", "municipality_id = {id}"),
    # Ids of vehicles, depots and trackers begin with their municipality's: '0' follows '/'.
    ("vehicle_id", "vehicle_id >= {id} || '/' AND vehicle_id < {id} || '0'"),
    ("tracker_id", "tracker_id >= {id} || '/' AND tracker_id < {id} || '0'"),
    ("plan_id", "plan_id IN (SELECT plan_id FROM plan WHERE municipality_id = {id})"),
)
"""The first column of these that a table has tells whose its rows are."""
_OWN_RULES: Final = {
    "outbox": "payload->>'municipality_id' = {id}",
    # A letter whose message could not be read tells no municipality, but its message may.
    "dead_letter": "municipality_id = {id} OR position(convert_to("
    "'\"municipality_id\":\"' || {id} || '\"', 'UTF8') IN message_value) > 0",
}
_NOT_EXPORTED: Final[Mapping[str, frozenset[str]]] = {"api_key": frozenset({"key_hash"})}
"""Columns that are of use to an attacker only."""


class UnclassifiedTableError(InternalError):
    """A table of which nobody has said whose its rows are."""


class ExportRefusedError(UserError):
    """A directory that cannot take an export, or a municipality of which nothing is stored."""


@dataclass(frozen=True, slots=True)
class OwnedTable:
    """A table with rows of municipalities, and which of them are one municipality's."""

    name: str
    columns: tuple[str, ...]
    condition: str
    """SQL, with `{id}` for the municipality's id."""

    def where(self, municipality_id: str) -> sql.Composed:
        """Return the condition for one municipality."""
        return sql.SQL(self.condition).format(id=sql.Literal(municipality_id))


async def owned_tables(connection: AsyncConnection[TupleRow]) -> list[OwnedTable]:
    """Return the tables with rows of municipalities, those that refer to others first.

    Raises `UnclassifiedTableError` for a table that neither `SHARED` nor a rule knows.
    """
    cursor = await connection.execute(
        "SELECT c.relname, array_agg(a.attname ORDER BY a.attnum) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') "
        "AND NOT c.relispartition GROUP BY c.relname"
    )
    tables: dict[str, OwnedTable] = {}
    for name, columns in await cursor.fetchall():
        if name in SHARED:
            continue
        rule = _OWN_RULES.get(name) or next(
            (condition for column, condition in _RULES if column in columns), None
        )
        if rule is None:
            raise UnclassifiedTableError(
                f"nothing says whose the rows of table {name} are; name it in SHARED of "
                "infra/database/operations/municipality_data.py, or give it a rule"
            )
        tables[name] = OwnedTable(name, tuple(columns), rule)
    references = await connection.execute(
        "SELECT DISTINCT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint "
        "WHERE contype = 'f' AND connamespace = 'public'::regnamespace AND conrelid <> confrelid"
    )
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(tables), ()))
    for referring, referred in await references.fetchall():
        if referring in tables and referred in tables:
            order.add(referred, referring)
    return [tables[name] for name in order.static_order()]


async def export(
    connection: AsyncConnection[TupleRow], municipality_id: str, directory: Path
) -> dict[str, int]:
    """Write all rows of a municipality into a new directory; return how many of which table.

    Each table is a gzipped CSV file with a header, all of one instant; `manifest.json` says what
    there is. Hashes of keys are left out. Raises `ExportRefusedError` for a directory that is not
    empty, and where nothing of the municipality is stored.
    """
    _check_empty(directory)
    counts: dict[str, int] = {}
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        tables = await owned_tables(connection)
        if not any([await _any_row(connection, table, municipality_id) for table in tables]):
            raise ExportRefusedError(f"nothing is stored of municipality {municipality_id!r}")
        _make(directory)
        for table in tables:
            counts[table.name] = await _write(connection, table, municipality_id, directory)
        row = await (
            await connection.execute("SELECT now(), version_num FROM alembic_version")
        ).fetchone()
    exported_at, revision = row or (None, None)
    manifest = _manifest(municipality_id, exported_at, revision, counts)
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return counts


def _check_empty(directory: Path) -> None:
    if directory.exists() and any(directory.iterdir()):
        raise ExportRefusedError(f"{directory} is not empty; name a new directory")


def _make(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)


def _manifest(
    municipality_id: str, at: datetime | None, revision: str | None, counts: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "municipality_id": municipality_id,
        "exported_at": None if at is None else at.isoformat(),
        "schema_revision": revision,
        "rows": dict(counts),
    }


async def _any_row(
    connection: AsyncConnection[TupleRow], table: OwnedTable, municipality_id: str
) -> bool:
    cursor = await connection.execute(
        sql.SQL("SELECT EXISTS (SELECT 1 FROM {} WHERE {})").format(
            sql.Identifier(table.name), table.where(municipality_id)
        )
    )
    return await cursor.fetchone() == (True,)


async def _write(
    connection: AsyncConnection[TupleRow],
    table: OwnedTable,
    municipality_id: str,
    directory: Path,
) -> int:
    hidden = _NOT_EXPORTED.get(table.name, frozenset())
    columns = [sql.Identifier(name) for name in table.columns if name not in hidden]
    statement = sql.SQL("COPY (SELECT {} FROM {} WHERE {}) TO STDOUT (FORMAT CSV, HEADER)").format(
        sql.SQL(", ").join(columns), sql.Identifier(table.name), table.where(municipality_id)
    )
    async with connection.cursor() as cursor:
        with gzip.open(directory / f"{table.name}.csv.gz", "wb") as file:
            async with cursor.copy(statement) as copy:
                async for block in copy:
                    file.write(block)
        return cursor.rowcount


async def erase(connection: AsyncConnection[TupleRow], municipality_id: str) -> dict[str, int]:
    """Delete all rows of a municipality for good; return how many of which table.

    Its keys go first, so that nothing new is accepted. Each table is a transaction of its own: who
    is cut short runs it again. What Kafka still holds of the municipality becomes dead letters
    `unknown-municipality` when it comes: run it once more when the lag is gone.
    """
    await connection.execute(
        "UPDATE api_key SET revoked_at = now() WHERE municipality_id = %s AND revoked_at IS NULL",
        [municipality_id],
    )
    await connection.commit()
    counts: dict[str, int] = {}
    for table in await owned_tables(connection):
        async with connection.transaction():
            # Rows of the columnstore are decompressed to be deleted; TimescaleDB's limit is meant
            # for statements that do so by accident. Plain PostgreSQL takes any dotted name.
            await connection.execute(
                "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0"
            )
            cursor = await connection.execute(
                sql.SQL("DELETE FROM {} WHERE {}").format(
                    sql.Identifier(table.name), table.where(municipality_id)
                )
            )
            counts[table.name] = cursor.rowcount
    return counts
