"""Work beside an open transaction, which must not count as idle meanwhile.

The server ends a session that is idle in its transaction for so long
(`infra.database.connection.pool`): that frees what a worker held that hangs. One that computes does
not hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

_EVERY_S: Final = 1.0
"""Far below any timeout that is set, far above what a fold takes as a rule."""
Result = TypeVar("Result")


async def kept_alive(connection: AsyncConnection[TupleRow], work: Callable[[], Result]) -> Result:
    """Return what `work` returns, done in a thread; raises what it raises.

    The event loop, and so the other tasks of the worker, goes on. A thread cannot be stopped: who
    cancels waits for its end, and nobody else touches what it works on.
    """
    working = asyncio.create_task(asyncio.to_thread(work))
    try:
        return await waited_for(connection, working)
    finally:
        if not working.done():
            await asyncio.wait((working,))
            working.exception()  # fetched, so that nobody complains that it never was


async def waited_for(
    connection: AsyncConnection[TupleRow], working: asyncio.Task[Result]
) -> Result:
    """Return what a task returns; every second the server hears of us until then."""
    while not (await asyncio.wait((working,), timeout=_EVERY_S))[0]:
        await connection.execute("SELECT 1")
    return working.result()
