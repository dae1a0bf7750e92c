"""What PostgreSQL says of a row that it refuses shows the row: our logs must not."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterator

import psycopg
import pytest
import structlog

from stream.process import logs

_VALUES = ("56.32261", "10.44612", "h0rse")


@pytest.fixture(params=[True, False], ids=["json", "console"])
def log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Yield what is logged, in either form; the logging of before is put back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    logs.configure("info", as_json=request.param)
    yield out
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def _copy(connection: psycopg.Connection) -> None:
    with (
        connection.cursor() as cursor,
        cursor.copy("COPY fix (vehicle_id, recorded_at, received_at, lat, lon) FROM STDIN") as copy,
    ):
        copy.write("h0rse/a\t2026-03-01\t2026-03-01\t56.32261N\t10.44612\n")


def _insert(connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
        "VALUES ('a/b', 'c', E'two\\nlines', 56.32261, 10.44612, -1)"
    )


@pytest.mark.parametrize("fail", [_copy, _insert])
def test_a_refused_row_is_not_logged(database_url: str, log: io.StringIO, fail: object) -> None:
    assert callable(fail)
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.Error) as refused:
        fail(connection)
    error = refused.value
    assert any(value in str(error) for value in _VALUES), str(error)
    structlog.get_logger("stream.test").error(
        "batch fails", exc_info=error, reason=str(error), error=repr(error), raised=error
    )
    text = log.getvalue()
    assert "batch fails" in text
    assert type(error).__name__ in text
    for value in _VALUES:
        assert value not in text
