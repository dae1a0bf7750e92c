"""Sessions of ours that hang where no timeout of the server reaches them."""

from __future__ import annotations

from typing import Final, NamedTuple

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

APPLICATION: Final = "fleetpulse"
"""How our sessions call themselves."""


class Hung(NamedTuple):
    """A session that was ended."""

    pid: int
    silent_s: float
    query: str


async def end_hung(connection: AsyncConnection[TupleRow], silence_s: float) -> list[Hung]:
    """End sessions of ours whose client stopped in the midst of a statement; return them.

    While it waits for the rows of a COPY, the server heeds neither `statement_timeout` nor
    `idle_in_transaction_session_timeout`: a worker that is stopped there holds its locks for as
    long as its process, or its machine, stands still. Ended are sessions of this role and
    database only, that have been in their statement for longer than `silence_s`, from whose
    client the server awaits more, and for whose locks another session waits.
    """
    async with connection.cursor(row_factory=class_row(Hung)) as cursor:
        await cursor.execute(
            sql.SQL("""
                WITH hung AS MATERIALIZED (
                    SELECT pid, extract(epoch FROM clock_timestamp() - query_start) AS silent_s,
                           left(query, 80) AS query
                    FROM pg_stat_activity
                    WHERE datname = current_database() AND usename = session_user
                      AND application_name = {ours}
                      AND state = 'active' AND wait_event = 'ClientRead'
                      AND query_start < clock_timestamp() - make_interval(secs => {silence_s})
                      AND pid IN (
                          SELECT unnest(pg_blocking_pids(waiting.pid))
                          FROM pg_stat_activity AS waiting
                          WHERE waiting.datname = current_database()
                            AND waiting.wait_event_type = 'Lock'))
                SELECT pid, silent_s::float8, query FROM hung WHERE pg_terminate_backend(pid)
            """).format(ours=APPLICATION, silence_s=silence_s)
        )
        return await cursor.fetchall()
