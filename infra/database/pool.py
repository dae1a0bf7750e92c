"""Connections to the database: an asynchronous pool with our session settings."""

from __future__ import annotations

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from infra.settings import Settings

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


async def _prepare(connection: AsyncConnection[TupleRow]) -> None:
    """Every session of ours thinks in UTC, whatever the server's default is."""
    await connection.execute("SET TIME ZONE 'UTC'")
    await connection.commit()


def make_pool(settings: Settings, *, max_size: int = 4) -> Pool:
    """Return a closed pool for use with `async with`.

    Connections are checked before use, so that a restarted server costs a retry, not an error.
    """
    return AsyncConnectionPool(
        settings.database_url.get_secret_value(),
        min_size=1,
        max_size=max_size,
        open=False,
        configure=_prepare,
        check=AsyncConnectionPool.check_connection,
        kwargs={"application_name": "fleetpulse"},
    )
