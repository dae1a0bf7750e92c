"""Who is at the door: the valid keys, kept in memory and read again every few seconds."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from infra.database.connection.pool import Pool
from infra.database.fleet.api_keys import KeyHolder, valid_keys

REFRESH_S: Final = 10.0
"""A new or revoked key takes effect within this."""
_UNKNOWN_REFRESH_S: Final = 1.0
CONNECT_LIMIT_S: Final = 2.0
ANSWER_LIMIT_S: Final = 2.5
"""Nobody waits longer for keys: a database that hangs leaves the last known ones."""
_log: Final = structlog.get_logger(__name__)


class Keys:
    """The valid keys. While the database is away the last known ones stay valid."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._holders: dict[bytes, KeyHolder] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self.problem: str | None = "keys not read yet"

    async def holder(self, hashed: bytes) -> KeyHolder | None:
        """Return whom the key of a hash speaks for; None for one that is unknown or revoked."""
        holder = self._holders.get(hashed)
        # A key that was made a moment ago is looked for at once, though not on every request.
        allowed_age_s = REFRESH_S if holder is not None else _UNKNOWN_REFRESH_S
        if time.monotonic() - self._read_at > allowed_age_s:
            await self.refresh(allowed_age_s)
            holder = self._holders.get(hashed)
        return holder

    async def refresh(self, allowed_age_s: float = 0.0) -> None:
        """Read the keys again unless that has just been done; wait a moment for them at most."""
        if time.monotonic() - self._read_at <= allowed_age_s:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        reading = self._reading
        await asyncio.wait((reading,), timeout=ANSWER_LIMIT_S)
        if reading.done():
            reading.result()
        else:
            self._missed(f"no answer within {ANSWER_LIMIT_S:g} s")

    async def _read(self) -> None:
        try:
            async with self._pool.connection(timeout=CONNECT_LIMIT_S) as connection:
                self._holders = await valid_keys(connection)
        except (psycopg.Error, PoolTimeout) as away:
            self._missed(str(away))
        else:
            self.problem = None
            self._read_at = time.monotonic()
        finally:
            self._reading = None

    def _missed(self, reason: str) -> None:
        self._read_at = time.monotonic()
        problem = f"database: {reason}"
        if problem != self.problem:  # once, not for each who waits
            _log.warning("keys not refreshed", reason=reason)
        self.problem = problem
