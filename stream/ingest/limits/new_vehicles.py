"""Vehicles that nobody has heard of: a key may bring some a day, and no more.

A vehicle is known when the municipality has entered it, a worker has seen it, or it is a tracker
that was assigned. The database is asked once for each id, and again a minute after it said no; what
is known is remembered. Counts are this process's own: with several, each lets in as many. ADR 0026.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from infra.database.connection.pool import Pool
from infra.database.fleet.api_keys import KeyHolder
from infra.database.stream.known_ids import known_vehicles
from schemas.ids import scoped
from stream.ingest.http.event_codec import PushedFix
from stream.ingest.http.refusals import try_again
from stream.ingest.metrics import NEW_VEHICLES

CONNECT_LIMIT_S: Final = 2.0
ANSWER_LIMIT_S: Final = 2.5
"""Nobody waits longer for an answer of the database; while it gives none, nobody waits at all."""
ASK_AGAIN_S: Final = 60.0
"""An id that was refused is looked up again after this: it may have been entered meanwhile."""
_MAX_REMEMBERED: Final = 1_000_000
_MAX_REFUSED_REMEMBERED: Final = 100_000
_log: Final = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Lookup:
    """Ids that are asked for together; `answered` has the known ones, None when nobody knows."""

    ids: set[str]
    answered: asyncio.Future[set[str] | None]


@dataclass(slots=True)
class _Day:
    """What a key has brought in a day (UTC)."""

    day: date
    new: int = 0
    is_logged: bool = False
    """Whether the log has said that there are too many."""
    refused: set[str] = field(default_factory=set)
    """Local ids that were refused in the last minute."""
    refused_until: float = 0.0
    unsure: set[str] = field(default_factory=set)
    """Taken while the database could not be asked; looked up when they come again."""


class Newcomers:
    """Lets known vehicles in, and of others so many a key and day."""

    def __init__(self, pool: Pool, most_per_day: int) -> None:
        self._pool = pool
        self._most = most_per_day
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        self._remembered = 0
        self._days: dict[str, _Day] = {}
        self._next: _Lookup | None = None
        self._asking = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._away = False

    async def strangers(
        self, holder: KeyHolder, key_prefix: str, events: Sequence[PushedFix]
    ) -> frozenset[str]:
        """Return the vehicles of some events, by local id, that the key may not bring today.

        Raises `RefusedError` 503 when the database cannot say which of too many are known.
        """
        remembered = self._known[holder.municipality_id]
        in_order = dict.fromkeys(
            event.vehicle_id for event in events if event.vehicle_id not in remembered
        )
        missing = in_order.keys()
        if not missing:
            return frozenset()
        day = self._day(key_prefix)
        if time.monotonic() > day.refused_until or len(day.refused) > _MAX_REFUSED_REMEMBERED:
            day.refused, day.refused_until = set(), time.monotonic() + ASK_AGAIN_S
        to_ask = missing - day.refused
        existing = await self._ask({scoped(holder.municipality_id, local) for local in to_ask})
        if existing is None:
            self._take_unsure(day, to_ask)
            return frozenset(missing - to_ask)
        day.unsure.clear()
        new = [
            local
            for local in in_order
            if local in to_ask and scoped(holder.municipality_id, local) not in existing
        ]
        room = max(0, self._most - day.new)
        taken, refused = new[:room], new[room:]
        day.new += len(taken)
        self._remember(holder.municipality_id, to_ask.difference(refused))
        day.refused.update(refused)
        NEW_VEHICLES.labels(holder.vendor, "accepted").inc(len(taken))
        NEW_VEHICLES.labels(holder.vendor, "rejected").inc(len(refused))
        if refused and not day.is_logged:
            day.is_logged = True
            _log.warning(
                "new vehicles refused for the rest of the day",
                key_prefix=key_prefix,
                vendor=holder.vendor,
                municipality_id=holder.municipality_id,
                limit=self._most,
                first=refused[0],
            )
        return frozenset(refused) | (missing - to_ask)

    def reason(self) -> str:
        """Return what a vendor is told of a vehicle that it may not bring."""
        return (
            f"is a vehicle that is not known here, and this key has brought {self._most:,} new "
            "ones today, the limit; have the municipality enter it (`fleetpulse fleet apply`), or "
            "send it tomorrow (UTC)"
        )

    def _day(self, key_prefix: str) -> _Day:
        today = datetime.now(UTC).date()
        day = self._days.get(key_prefix)
        if day is None or day.day != today:
            day = self._days[key_prefix] = _Day(today)
        return day

    def _take_unsure(self, day: _Day, local_ids: Collection[str]) -> None:
        unsure = day.unsure.union(local_ids)
        if len(unsure) > self._most:
            raise try_again(
                503,
                "vehicles-unknown",
                f"whether {len(unsure):,} vehicles are known cannot be looked up now; send the "
                "same again later",
            )
        day.unsure = unsure

    def _remember(self, municipality_id: str, local_ids: Collection[str]) -> None:
        if self._remembered > _MAX_REMEMBERED:
            self._known.clear()
            self._remembered = 0
        self._known[municipality_id].update(local_ids)
        self._remembered += len(local_ids)

    async def _ask(self, ids: Collection[str]) -> set[str] | None:
        """Return which of some ids are known; None when the database does not say so in time."""
        if not ids:
            return set()
        if self._next is None:
            self._next = _Lookup(set(), asyncio.get_running_loop().create_future())
            task = asyncio.create_task(self._look_up(self._next))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        lookup = self._next
        lookup.ids.update(ids)
        await asyncio.wait((lookup.answered,), timeout=0.05 if self._away else ANSWER_LIMIT_S)
        if not lookup.answered.done():
            self._miss(f"no answer within {ANSWER_LIMIT_S:g} s")
            return None
        return lookup.answered.result()

    async def _look_up(self, lookup: _Lookup) -> None:
        """Ask for all ids that came while the last question was asked."""
        existing = None
        try:
            async with self._asking:
                self._next = None
                async with self._pool.connection(timeout=CONNECT_LIMIT_S) as connection:
                    existing = await known_vehicles(connection, lookup.ids)
            self._away = False
        except (psycopg.Error, PoolTimeout) as away:
            self._miss(str(away))
        finally:
            lookup.answered.set_result(existing)

    def _miss(self, reason: str) -> None:
        if not self._away:
            _log.warning("vehicles not looked up", reason=reason)
        self._away = True
