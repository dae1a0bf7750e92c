"""Sessions of dashboard readers: which are beyond their limits, and ending them."""

from __future__ import annotations

from typing import Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from infra.database.access.readers import STATEMENT_TIMEOUT_S

IDLE_IN_TRANSACTION_S: Final = 10.0
"""A dashboard asks and is done: what holds a transaction open holds migrations up."""
TRANSACTION_S: Final = 60.0
_GRACE_S: Final = 5.0
"""The server's own timeout cuts a statement that has not lifted it; this is for those that have."""


class EndedSession(NamedTuple):
    """A session of a reader that was ended."""

    role: str
    pid: int
    reason: str
    age_s: float


# Materialised: else sessions might be ended before it is known whose they are.
# Without pg_read_all_stats the times of another role's session are not to be seen: null, and left.
_END: Final = """
WITH beyond AS MATERIALIZED (
    SELECT a.usename AS role, a.pid, r.reason, r.age_s
    FROM pg_stat_activity a
    CROSS JOIN LATERAL (
        SELECT 'statement' AS reason, extract(epoch FROM now() - a.query_start) AS age_s
        WHERE a.state = 'active' AND a.query_start < now() - make_interval(secs => %(statement_s)s)
        UNION ALL
        SELECT 'idle-in-transaction', extract(epoch FROM now() - a.state_change)
        WHERE a.state LIKE 'idle in transaction%%'
          AND a.state_change < now() - make_interval(secs => %(idle_s)s)
        UNION ALL
        SELECT 'transaction', extract(epoch FROM now() - a.xact_start)
        WHERE a.xact_start < now() - make_interval(secs => %(transaction_s)s)
        LIMIT 1
    ) AS r
    WHERE a.datname = current_database()
      AND a.usename IN (SELECT role_name FROM reader_access)
)
SELECT role, pid, reason, age_s::float8 AS age_s FROM beyond WHERE pg_terminate_backend(pid)
"""


async def end_reader_sessions(
    connection: AsyncConnection[TupleRow],
    *,
    statement_s: float = STATEMENT_TIMEOUT_S + _GRACE_S,
    idle_s: float = IDLE_IN_TRANSACTION_S,
    transaction_s: float = TRANSACTION_S,
) -> list[EndedSession]:
    """End readers' sessions in this database that are beyond a limit; return them.

    Limits are seconds: of a statement, of standing idle in a transaction, of a transaction. Needs
    `pg_signal_backend` and `pg_read_all_stats`, or a superuser; raises
    `psycopg.errors.InsufficientPrivilege` without the former.
    """
    given = {"statement_s": statement_s, "idle_s": idle_s, "transaction_s": transaction_s}
    async with connection.cursor(row_factory=class_row(EndedSession)) as cursor:
        await cursor.execute(_END, given)
        return await cursor.fetchall()
