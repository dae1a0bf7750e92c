"""What no fix brings about: calendars, silent vehicles, alerts. Looked for now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from infra.database.connection.pool import Pool
from infra.kafka.client import Topics
from stream.calendars import CalendarKeeper
from stream.process.background import attempt, pause
from stream.worker.housekeeping.alerts import look
from stream.worker.housekeeping.inactivity import settle_silent

_UNWRITTEN_FOR: Final = timedelta(minutes=10)
"""A vehicle whose fixes come in, however old they are, is not silent."""
_log: Final = structlog.get_logger(__name__)


async def watch(pool: Pool, topics: Topics, every_s: float, stop: asyncio.Event) -> None:
    """Look again and again until `stop` is set; wait while the database is away.

    Whatever one of the three raises, the others are looked after.
    """
    calendars = CalendarKeeper()

    async def keep_calendars() -> None:
        if written := await calendars.look(pool):
            _log.info("calendars written", municipalities=written)

    tasks: dict[str, Callable[[], Awaitable[object]]] = {
        "calendars": keep_calendars,
        "silence": partial(settle_silent, pool, topics, unwritten_for=_UNWRITTEN_FOR),
        "alerts": partial(look, pool, topics),
    }
    while not stop.is_set():
        for task, work in tasks.items():
            await attempt(task, work, retry_s=every_s)
        await pause(stop, every_s)
