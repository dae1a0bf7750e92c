"""Work that goes on beside the stream: repeated, and never fatal to what it stands beside.

A fault of one round, one municipality or one vehicle is logged with what it concerns, counted, and
left behind: the next round, and the others, go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog
from prometheus_client import Counter

from stream.process.outages import is_away

FAULTS: Final = Counter(
    "fleetpulse_background_faults_total", "Faults in work beside the stream, by task", ["task"]
)
_log: Final = structlog.get_logger(__name__)
Item = TypeVar("Item")


async def repeat(
    task: str, work: Callable[[], Awaitable[object]], every_s: float, stop: asyncio.Event
) -> None:
    """Do `work` every `every_s` seconds until `stop` is set, whatever it raises."""
    while not stop.is_set():
        await attempt(task, work, retry_s=every_s)
        await pause(stop, every_s)


async def attempt(task: str, work: Callable[[], Awaitable[object]], *, retry_s: float) -> bool:
    """Do `work` once and return whether it succeeded; log why not, and count what is a fault.

    `retry_s` is only told: when it is done again.
    """
    try:
        with guarded(task):
            await work()
            return True
    except Exception as away:  # noqa: BLE001 - what `guarded` lets pass is an outage
        _log.warning("background task waits", task=task, reason=repr(away), retry_s=retry_s)
    return False


@contextmanager
def guarded(task: str, **concerned: object) -> Iterator[None]:
    """Log and count any fault inside, but let pass that database or broker is away.

    `concerned` names in the log whom the fault concerns, such as `vehicle_id`.
    """
    try:
        yield
    except Exception as error:
        if is_away(error):
            raise
        count_fault(task, error, **concerned)


def count_fault(task: str, error: BaseException, **concerned: object) -> None:
    """Log and count one fault."""
    FAULTS.labels(task).inc()
    _log.error("background fault", task=task, exc_info=error, **concerned)


async def in_parts(
    task: str,
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Awaitable[int]],
    concerned: Callable[[Item], dict[str, object]],
) -> int:
    """Do `work` on all items at once; on ever smaller parts where it fails.

    So that an item which fails alone is left behind, named by `concerned`, and all others are
    done. Each call of `work` must do all of its items or none, as a transaction does. Returns
    the sum of what `work` returned. Raises only that database or broker is away.
    """
    if not items:
        return 0
    try:
        return await work(items)
    except Exception as error:
        if is_away(error):
            raise
        if len(items) == 1:
            count_fault(task, error, **concerned(items[0]))
            return 0
    middle = len(items) // 2
    return sum(
        [await in_parts(task, part, work, concerned) for part in (items[:middle], items[middle:])]
    )


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait for so long, or until `stop` is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
