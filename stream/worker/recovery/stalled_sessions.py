"""A worker that stopped in the midst of its transaction must not stop its successor."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from infra.database.connection.pool import Pool
from infra.database.connection.stalled_sessions import StalledSessions
from stream.process.background import repeat

_LOOKS_IN_SILENCE: Final = 3
_log: Final = structlog.get_logger(__name__)


async def end_hung_sessions(pool: Pool, silence_s: float, stop: asyncio.Event) -> None:
    """Look for hung sessions until `stop` is set, thrice in the time after which one counts."""
    sessions = StalledSessions(silence_s)

    async def look() -> None:
        async with pool.connection() as connection:
            for hung in await sessions.look(connection):
                _log.warning("hung session ended", **hung._asdict())

    await repeat("hung-sessions", look, silence_s / _LOOKS_IN_SILENCE, stop)
