"""Ends sessions of dashboard readers that hold up others: a role lifts its own limits, not these.

`statement_timeout` and the like are defaults that any session may change for itself. So workers
look from outside, and end what goes on for too long.
"""

from __future__ import annotations

from typing import Final

import structlog
from prometheus_client import Counter

from infra.database.access.reader_sessions import end_reader_sessions
from infra.database.connection.pool import Pool

EVERY_S: Final = 5.0
ENDED: Final = Counter(
    "fleetpulse_reader_sessions_ended_total", "Sessions of readers that were ended", ["reason"]
)
_log: Final = structlog.get_logger(__name__)


async def guard_readers(pool: Pool) -> None:
    """End the sessions of readers that are beyond a limit now."""
    async with pool.connection() as connection:
        for ended in await end_reader_sessions(connection):
            ENDED.labels(ended.reason).inc()
            _log.warning("reader's session ended", **ended._asdict())
