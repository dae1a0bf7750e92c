"""A worker that stopped in the midst of its transaction must not stop its successor."""

from __future__ import annotations

import asyncio
from typing import Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from infra.database.hung import HungSessions
from infra.database.pool import Pool

_LOOKS_IN_SILENCE: Final = 3
_log: Final = structlog.get_logger(__name__)


async def end_hung_sessions(pool: Pool, silence_s: float, stop: asyncio.Event) -> None:
    """Look for hung sessions until `stop` is set, thrice in the time after which one counts."""
    every_s = silence_s / _LOOKS_IN_SILENCE
    sessions = HungSessions(silence_s)
    while not stop.is_set():
        try:
            async with pool.connection() as connection:
                for hung in await sessions.look(connection):
                    _log.warning("hung session ended", **hung._asdict())
        except (psycopg.Error, PoolTimeout, OSError) as away:
            _log.warning("hung sessions are not looked for", reason=repr(away), retry_s=every_s)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue
