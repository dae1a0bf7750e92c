"""What an error tells: whether servers are away, or our own work is at fault."""

from __future__ import annotations

import psycopg
import pytest

from stream.process.outages import Fault, is_away, judge


@pytest.mark.parametrize("parameter", [object(), "\0"])
def test_what_psycopg_refuses_to_send_is_a_fault_of_ours(
    database_url: str, parameter: object
) -> None:
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.Error) as refused:
        connection.execute("SELECT %s", [parameter])
    assert judge(refused.value) is Fault.WORK
    assert not is_away(refused.value)


def test_a_connection_that_was_cut_is_none(database_url: str) -> None:
    with psycopg.connect(database_url) as connection, pytest.raises(psycopg.Error) as cut:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert judge(cut.value) is Fault.SESSION
    assert is_away(cut.value)
    with pytest.raises(psycopg.Error) as closed:
        connection.execute("SELECT 1")
    assert judge(closed.value) is Fault.SESSION
    assert is_away(closed.value)
