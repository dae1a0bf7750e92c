"""Rows from columns are, byte for byte, what psycopg sends for the same rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer

from infra.database.connection.binary_copy import boolean, encode, float8, text, timestamptz
from tests.property.examples import examples

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = tuple[str | None, datetime, float | None, bool | None]

rows = st.lists(
    st.tuples(
        st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1),
        st.datetimes(timezones=st.just(UTC)),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.booleans(),
    ),
    min_size=1,
)


def _by_psycopg(row: tuple[Any, ...]) -> bytes:
    transformer = Transformer()
    transformer.set_dumper_types([25, 1184, 701, 16], pq.Format.BINARY)
    values = transformer.dump_sequence(row, [PyFormat.BINARY] * len(row))
    sent = len(row).to_bytes(2, "big")
    for value in values:
        if value is None:
            sent += (-1).to_bytes(4, "big", signed=True)
        else:
            sent += len(value).to_bytes(4, "big") + bytes(value)
    return sent


@settings(max_examples=examples(300), deadline=None)
@given(rows=rows)
@example(rows=[(None, _EPOCH, None, None)])
@example(rows=[("a", _EPOCH, -0.0, True), ("b", _EPOCH, float("inf"), False)])
@example(
    rows=[("é" * 70, datetime.max.replace(tzinfo=UTC), 5e-324, None), ("b", _EPOCH, 1.0, True)]
)
def test_rows_are_what_psycopg_sends(rows: list[Row]) -> None:
    texts, instants, floats, flags = zip(*rows, strict=True)
    encoded = encode(
        [
            text(np.array([(entry or "").encode() for entry in texts])),
            timestamptz(np.array([(at - _EPOCH) // timedelta(microseconds=1) for at in instants])),
            float8(np.array(floats, np.float64)),
            boolean(np.array([{None: -1, False: 0, True: 1}[flag] for flag in flags], np.int8)),
        ]
    )
    assert encoded == b"".join(map(_by_psycopg, rows))
