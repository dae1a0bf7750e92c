"""What no fix brings about: calendars, silent vehicles, alerts. Looked for now and then."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout
from pydantic import ValidationError

from infra.database.pool import Pool
from infra.kafka import Topics
from stream.calendars import CalendarKeeper
from stream.worker.alerts import look
from stream.worker.silence import settle_silent

_UNWRITTEN_FOR: Final = timedelta(minutes=10)
"""A vehicle whose fixes come in, however old they are, is not silent."""
_log: Final = structlog.get_logger(__name__)


async def watch(pool: Pool, topics: Topics, every_s: float, stop: asyncio.Event) -> None:
    """Look again and again until `stop` is set; wait while the database is away."""
    calendars = CalendarKeeper()
    while not stop.is_set():
        try:
            if written := await calendars.look(pool):
                _log.info("calendars written", municipalities=written)
            await settle_silent(pool, topics, unwritten_for=_UNWRITTEN_FOR)
            await look(pool, topics)
        except (psycopg.Error, PoolTimeout, OSError) as away:
            _log.warning("calendars, silence and alerts wait", reason=repr(away), retry_s=every_s)
        except ValidationError as error:
            _log.error("master data cannot be read, mend it", reason=str(error), retry_s=every_s)
        try:
            await asyncio.wait_for(stop.wait(), every_s)
        except TimeoutError:
            continue
