"""Connections to the database: an asynchronous pool with our session settings."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from infra.database.connection.stalled_sessions import APPLICATION
from infra.settings import Settings

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

_LONGEST_STATEMENT_S: Final = 60.0
_CONNECT_LIMIT_S: Final = 5.0
NOTICE_LOSS: Final[dict[str, Any]] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Connection options by which a server that vanished without a word is noticed within 30 s."""


def make_pool(settings: Settings, *, max_size: int = 4, silence_s: float | None = None) -> Pool:
    """Return a closed pool for use with `async with`.

    Connections are checked before use, so that a restarted server costs a retry, not an error.
    With `silence_s`, the server ends a transaction whose owner has been silent for so long, and
    a statement that takes longer than a minute: a worker that hangs, or whose machine is gone,
    must not hold the rows that its successor needs. Nobody waits for a lock for longer than
    half of that minute. One that hangs within a statement no
    timeout reaches: see `infra.database.connection.stalled_sessions`.
    """

    async def prepare(connection: AsyncConnection[TupleRow]) -> None:
        # Every session of ours thinks in UTC, whatever the server's default is.
        await connection.execute("SET TIME ZONE 'UTC'")
        if silence_s is not None:
            statement_s = max(_LONGEST_STATEMENT_S, silence_s)
            for name, limit_s in (
                ("idle_in_transaction_session_timeout", silence_s),
                ("statement_timeout", statement_s),
                # A statement that runs out of time is slow itself: it did not wait for others.
                ("lock_timeout", statement_s / 2),
            ):
                await connection.execute(
                    "SELECT set_config(%s, %s, false)", [name, f"{limit_s * 1000:.0f}ms"]
                )
        await connection.commit()

    return AsyncConnectionPool(
        settings.conninfo,
        min_size=1,
        max_size=max_size,
        open=False,
        # Say soon that the database is away, and ask again soon: the pool's own waits double.
        timeout=_CONNECT_LIMIT_S,
        reconnect_timeout=_CONNECT_LIMIT_S,
        configure=prepare,
        check=AsyncConnectionPool.check_connection,
        kwargs={"application_name": APPLICATION, **NOTICE_LOSS},
    )
