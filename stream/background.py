"""Work that goes on beside the stream: repeated, and never fatal to what it stands beside.

A fault of one round, one municipality or one vehicle is logged with what it concerns, counted, and
left behind: the next round, and the others, go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import structlog
from aiokafka.errors import KafkaError
from prometheus_client import Counter
from psycopg_pool import PoolTimeout

FAULTS: Final = Counter(
    "fleetpulse_background_faults_total", "Faults in work beside the stream, by task", ["task"]
)
AWAY: Final = (psycopg.OperationalError, PoolTimeout, KafkaError, OSError)
"""What is raised while database or broker is away: waited for, no fault of ours."""
_log: Final = structlog.get_logger(__name__)


async def repeat(
    task: str, work: Callable[[], Awaitable[object]], every_s: float, stop: asyncio.Event
) -> None:
    """Do `work` every `every_s` seconds until `stop` is set, whatever it raises."""
    while not stop.is_set():
        try:
            with guarded(task):
                await work()
        except AWAY as away:
            _log.warning("background task waits", task=task, reason=repr(away), retry_s=every_s)
        await pause(stop, every_s)


@contextmanager
def guarded(task: str, **concerned: str) -> Iterator[None]:
    """Log and count any fault inside, but let pass on that database or broker is away.

    `concerned` names in the log whom the fault concerns, such as `vehicle_id`.
    """
    try:
        yield
    except AWAY:
        raise
    except Exception:  # noqa: BLE001 - one fault must not stop the others; it is told and counted
        FAULTS.labels(task).inc()
        _log.exception("background fault", task=task, **concerned)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for so long, or until `stop` is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
