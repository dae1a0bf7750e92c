"""Sessions of ours that hang where no timeout of the server reaches them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, class_row

APPLICATION: Final = "fleetpulse"
"""How our sessions call themselves, or begin to."""

_WAITING: Final = sql.SQL("""
SELECT a.pid, a.query_start, coalesce(c.bytes_processed, 0) AS copied, left(a.query, 80) AS query
FROM pg_stat_activity a LEFT JOIN pg_stat_progress_copy c USING (pid)
WHERE a.datname = current_database()
  AND (a.usename = session_user OR a.usename IN (SELECT role_name FROM service_role))
  AND starts_with(a.application_name, {ours})
  AND a.state = 'active' AND a.wait_event IN ('ClientRead', 'ClientWrite')
  AND (a.backend_xid IS NOT NULL
       OR EXISTS (SELECT 1 FROM planner_lead l
                  WHERE l.pid = a.pid AND l.session_start = a.backend_start))
""").format(ours=APPLICATION)


class _Waiting(NamedTuple):
    """A session that waits for its client within a statement; the same while nothing moves."""

    pid: int
    query_start: datetime
    copied: int
    query: str


class EndedStalledSession(NamedTuple):
    """A session that was ended."""

    pid: int
    silent_s: float
    query: str


class StalledSessions:
    """Ends sessions of ours whose client stands still in the midst of a statement.

    While the server waits for the rows of a COPY, for the rest of a pipeline, or for somebody who
    takes the rows of an answer, it heeds neither `statement_timeout` nor
    `idle_in_transaction_session_timeout`: who stops there holds his locks for as long as his
    process, or his machine, stands still.
    """

    def __init__(self, silence_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._silence_s = silence_s
        self._clock = clock
        self._since: dict[_Waiting, float] = {}

    async def look(self, connection: AsyncConnection[TupleRow]) -> list[EndedStalledSession]:
        """End those that every look has found waiting for `silence_s`; return them.

        Call it several times in that long. Of this role and those of our services only, in this
        database; what holds neither
        rows nor the planner's lead is left alone, and a COPY that gets on is another one each time.
        """
        now = self._clock()
        async with connection.cursor(row_factory=class_row(_Waiting)) as cursor:
            await cursor.execute(_WAITING)
            rows = await cursor.fetchall()
        self._since = {waiting: self._since.get(waiting, now) for waiting in rows}
        ended = []
        for waiting, since in self._since.items():
            if now - since < self._silence_s:
                continue
            ending = await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid = %s AND query_start = %s AND state = 'active'",
                [waiting.pid, waiting.query_start],
            )
            if await ending.fetchone() == (True,):
                ended.append(EndedStalledSession(waiting.pid, now - since, waiting.query))
        return ended
