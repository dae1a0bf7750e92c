"""PostgreSQL's binary COPY format from columns: many rows at once, without an object a value.

psycopg writes a row of Python values at a time, which is right wherever rows are few. Fixes are
many, and come as columns. The format is that of the manual's page on COPY: a header, of each row
the number of its fields, of each field its length (-1 for null) and its bytes, and a trailer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from infra.database.connection.pool import Connection
from infra.database.timeline.tables import Table

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970: where PostgreSQL counts timestamps from."""

Bytes = NDArray[np.bytes_]
Floats = NDArray[np.float64]
Instants = NDArray[np.int64]
"""Microseconds since 1970, UTC."""
Flags = NDArray[np.int8]
"""0 false, 1 true, -1 null."""


class Column:
    """The values of one column as they travel: so many bytes each, or null."""

    def __init__(self, values: NDArray[Any], lengths: NDArray[np.int32] | None = None) -> None:
        self.values = values
        """All of one width, in network order."""
        self.lengths = lengths
        """How many of the bytes count, -1 for null; None where all do."""


def text(values: Bytes) -> Column:
    """Return a column of text, in UTF-8 and without NUL; an empty value is null."""
    lengths = np.char.str_len(values).astype(np.int32)
    lengths[lengths == 0] = -1
    return Column(values, lengths)


def float8(values: Floats) -> Column:
    """Return a column of double precision; NaN is null."""
    null = np.isnan(values)
    lengths = np.where(null, np.int32(-1), np.int32(8)) if null.any() else None
    return Column(values.astype(">f8"), lengths)


def timestamptz(values: Instants) -> Column:
    """Return a column of instants."""
    return Column((values - POSTGRES_EPOCH_US).astype(">i8"))


def boolean(values: Flags) -> Column:
    """Return a column of truth."""
    null = values < 0
    lengths = np.where(null, np.int32(-1), np.int32(1)) if null.any() else None
    return Column(values.view(np.uint8), lengths)


def encode(columns: Sequence[Column]) -> bytes:
    """Return the rows of some columns of equal length, with neither header nor trailer."""
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    for number, column in enumerate(columns):
        layout.append((f"length{number}", ">i4"))
        if not _all_null(column):
            layout.append((f"value{number}", column.values.dtype))
    rows = np.empty(len(columns[0].values), layout)
    rows["fields"] = len(columns)
    kept: NDArray[np.bool_] | None = None  # which bytes count, if not all do
    end = rows.dtype["fields"].itemsize
    for number, column in enumerate(columns):
        width, lengths = column.values.dtype.itemsize, column.lengths
        rows[f"length{number}"] = width if lengths is None else lengths
        end += rows.dtype[f"length{number}"].itemsize
        if _all_null(column):
            continue
        rows[f"value{number}"] = column.values
        end += width
        if lengths is not None and (lengths != width).any():
            if kept is None:
                kept = np.ones((len(rows), rows.dtype.itemsize), bool)
            kept[:, end - width : end] = np.arange(width) < lengths[:, None]
    if kept is None:
        return rows.tobytes()
    return rows.view(np.uint8).reshape(kept.shape)[kept].tobytes()


def _all_null(column: Column) -> bool:
    return column.lengths is not None and bool((column.lengths < 0).all())


async def copy_encoded(connection: Connection, table: Table, rows: Sequence[bytes]) -> None:
    """Append rows that are in binary already, from `encode`."""
    async with (
        connection.cursor() as cursor,
        cursor.copy(table.copy_statement()) as copy,
    ):
        await copy.write(b"".join((HEADER, *rows, TRAILER)))
