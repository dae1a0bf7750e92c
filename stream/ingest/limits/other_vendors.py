"""Vehicles that another vendor reports: what the answer tells of them.

The worker decides (ADR 31); this only tells the vendor at once. So nobody waits long for it, and
while the database does not say, nothing is told.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from infra.database.connection.pool import Pool
from infra.database.fleet.api_keys import KeyHolder
from infra.database.fleet.vendors import VendorsOf, vendors_of
from schemas.ids import scoped
from stream.ingest.http.event_codec import PushedFix

ASK_AGAIN_S: Final = 60.0
"""A vendor that was none of a vehicle's is looked up again after this: it may be one by now."""
_ASK_OF_NEW_AGAIN_S: Final = 5.0
"""A vehicle that nobody has reported is looked up again after this: the worker notes its vendor."""
_ANSWER_LIMIT_S: Final = 1.0
_MAX_REMEMBERED: Final = 1_000_000
_log: Final = structlog.get_logger(__name__)


class OtherVendors:
    """Tells which vehicles of a request have vendors, and the sender is none of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._own: dict[KeyHolder, set[str]] = {}
        self._others: dict[KeyHolder, dict[str, float]] = {}
        """Until when, by our clock, we remember that a vehicle has other vendors."""
        self._new: dict[KeyHolder, dict[str, float]] = {}
        """The same of vehicles that nobody has reported yet."""
        self._asleep_until = 0.0
        self._asking = asyncio.Lock()
        self._tasks: set[asyncio.Task[VendorsOf]] = set()

    async def of(self, holder: KeyHolder, events: Sequence[PushedFix]) -> list[str]:
        """Return the local ids, each once, of vehicles that the holder's vendor may not report."""
        own = self._own.setdefault(holder, set())
        others = self._others.setdefault(holder, {})
        new = self._new.setdefault(holder, {})
        now = time.monotonic()
        ids = dict.fromkeys(event.vehicle_id for event in events if event.vehicle_id not in own)
        to_ask = [local for local in ids if max(others.get(local, 0.0), new.get(local, 0.0)) <= now]
        if to_ask and now >= self._asleep_until:
            vendors = await self._ask([scoped(holder.municipality_id, local) for local in to_ask])
            for local in to_ask:
                of_vehicle = vendors.get(scoped(holder.municipality_id, local))
                if of_vehicle is None:
                    others.pop(local, None)
                    new[local] = now + _ASK_OF_NEW_AGAIN_S
                elif holder.vendor in of_vehicle:
                    others.pop(local, None)
                    own.add(local)
                else:
                    others[local] = now + ASK_AGAIN_S
            if len(own) + len(others) + len(new) > _MAX_REMEMBERED:
                for remembered in (own, others, new):
                    remembered.clear()
        return [local for local in ids if others.get(local, 0.0) > now]

    async def _ask(self, ids: Sequence[str]) -> VendorsOf:
        """Return the vendors of these ids; nothing where the database does not say so in time."""
        looking_up = asyncio.create_task(self._look_up(ids))
        self._tasks.add(looking_up)
        looking_up.add_done_callback(self._tasks.discard)
        await asyncio.wait((looking_up,), timeout=_ANSWER_LIMIT_S)
        if looking_up.done():
            return looking_up.result()
        self._sleep(f"no answer within {_ANSWER_LIMIT_S:g} s")
        return {}

    async def _look_up(self, ids: Sequence[str]) -> VendorsOf:
        try:
            async with self._asking:  # one at a time: a database that hangs holds one connection
                if time.monotonic() < self._asleep_until:
                    return {}
                async with self._pool.connection(timeout=_ANSWER_LIMIT_S) as connection:
                    return await vendors_of(connection, ids)
        except (psycopg.Error, PoolTimeout) as away:
            self._sleep(str(away))
            return {}

    def _sleep(self, reason: str) -> None:
        if time.monotonic() >= self._asleep_until:
            _log.warning("vendors of vehicles are not told", reason=reason, retry_s=ASK_AGAIN_S)
        self._asleep_until = time.monotonic() + ASK_AGAIN_S
