"""Locks of ours: who waits for one has its turn, however many share it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.connection.locks import (
    Lock,
    acquire_exclusive_lock,
    acquire_shared_lock,
    try_lock,
)
from infra.database.connection.stalled_sessions import APPLICATION, StalledSessions
from tests.patience import patience

_SHARING = 5
_HOLD_S = 0.5
_LIMIT_S = 5.0
_Session = AsyncConnection[TupleRow]


async def _share_again_and_again(database_url: str, stop: asyncio.Event) -> None:
    """Hold the shared lock most of the time, as a worker's batches with new vehicles do."""
    async with await AsyncConnection.connect(database_url) as session:
        while not stop.is_set():
            async with session.transaction():
                await acquire_shared_lock(session)
                await asyncio.sleep(_HOLD_S)


def test_a_change_has_its_turn_while_batches_share_the_lock_without_end(database_url: str) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        sharing = []
        for _ in range(_SHARING):  # one after the other, so that some hold it at any time
            sharing.append(asyncio.create_task(_share_again_and_again(database_url, stop)))
            await asyncio.sleep(_HOLD_S / _SHARING)
        try:
            async with await AsyncConnection.connect(database_url) as change:
                async with asyncio.timeout(_LIMIT_S * patience()):
                    await acquire_exclusive_lock(change)
        finally:
            stop.set()
            await asyncio.gather(*sharing)

    asyncio.run(main())


def test_a_change_waits_for_batches_and_batches_for_a_change(database_url: str) -> None:
    async def main() -> None:
        async with (
            await AsyncConnection.connect(database_url) as batch,
            await AsyncConnection.connect(database_url) as other_batch,
            await AsyncConnection.connect(database_url) as change,
        ):
            await acquire_shared_lock(batch)
            await acquire_shared_lock(other_batch)
            assert not await _gets(change, acquire_exclusive_lock)
            await batch.rollback()
            await other_batch.rollback()
            await acquire_exclusive_lock(change)
            assert not await _gets(batch, acquire_shared_lock)
            # Neither stands in the way of those who take other locks.
            assert await try_lock(other_batch, Lock.ALERTS)
            assert await try_lock(other_batch, Lock.CALENDARS)

    asyncio.run(main())


async def _gets(session: _Session, acquire: Callable[[_Session], Awaitable[None]]) -> bool:
    """Return whether a session gets a lock at once; it is left without a transaction."""
    await session.execute("SET LOCAL lock_timeout = '100ms'")
    try:
        await acquire(session)
    except psycopg.errors.LockNotAvailable:
        return False
    finally:
        await session.rollback()
    return True


@pytest.mark.parametrize("acquire", [acquire_shared_lock, acquire_exclusive_lock])
def test_a_stalled_session_that_has_written_nothing_but_holds_the_lock_is_ended(
    database_url: str, acquire: Callable[[_Session], Awaitable[None]]
) -> None:
    async def main() -> None:
        clock = iter((0.0, 20.0)).__next__
        batch = await AsyncConnection.connect(database_url, application_name=APPLICATION)
        async with await AsyncConnection.connect(database_url, autocommit=True) as watcher:
            await watcher.execute("CREATE TABLE copied (id int)")
            await acquire(batch)
            process = batch.info.backend_pid
            batch.pgconn.send_query(b"COPY copied FROM STDIN")
            batch.pgconn.flush()
            await _until_it_waits_for_its_client(watcher, process)
            sessions = StalledSessions(10.0, clock)
            assert await sessions.look(watcher) == []
            assert [ended.pid for ended in await sessions.look(watcher)] == [process]
        batch.pgconn.finish()

    asyncio.run(main())


async def _until_it_waits_for_its_client(watcher: _Session, process: int) -> None:
    for _ in range(1_000):
        cursor = await watcher.execute(
            "SELECT FROM pg_stat_activity "
            "WHERE pid = %s AND wait_event = 'ClientRead' AND state = 'active'",
            [process],
        )
        if await cursor.fetchone() is not None:
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"session {process} does not wait for its client")
