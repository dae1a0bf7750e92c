"""A health check that answers within a limit; at most one runs at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

_ABANDONED_AFTER_S: Final = 10.0
"""A question that was not answered for so long is given up, and asked anew."""
Result = TypeVar("Result")


class BoundedCheck(Generic[Result]):
    """Asks something that may never answer.

    A server that is frozen takes the question and keeps it. Who asked gets a `TimeoutError`; the
    question stays under way, so that who asks next waits for the same answer instead of using
    another connection.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Result]], limit_s: float) -> None:
        self._ask = ask
        self._limit_s = limit_s
        self._asking: asyncio.Task[Result] | None = None
        self._asked_at_s = 0.0

    async def __call__(self) -> Result:
        """Return the answer; raises what asking raises, `TimeoutError` after `limit_s` seconds."""
        clock = asyncio.get_running_loop().time
        asking = self._asking
        if asking is None or asking.done():
            asking = self._asking = asyncio.create_task(self._ask())
            asking.add_done_callback(_retrieve)
            self._asked_at_s = clock()
        elif clock() - self._asked_at_s > _ABANDONED_AFTER_S:
            asking.cancel()
        await asyncio.wait((asking,), timeout=self._limit_s)
        if not asking.done() or asking.cancelled():
            raise TimeoutError(f"no answer for {clock() - self._asked_at_s:.0f} s")
        return asking.result()


def _retrieve(asking: asyncio.Task[Any]) -> None:
    """Fetch an error that nobody waits for any more, so that it is not reported as forgotten."""
    if not asking.cancelled():
        asking.exception()
