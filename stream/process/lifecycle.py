"""How a process of ours runs: until it is done, told to stop, or orphaned."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

STOP_WITH_PARENT: Final = "FLEETPULSE_STOP_WITH_PARENT"
"""Environment: `1` ends the process when the one that started it is gone, as `make` wants."""
_PARENT: Final = os.getppid()
"""Who started us, noted at once: by the time that we look it may be gone."""
_PARENT_POLL_S: Final = 0.2
Result = TypeVar("Result")


def run(
    main: Callable[[asyncio.Event], Awaitable[Result]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Result:
    """Run `main(stop)` in an event loop; Ctrl-C and SIGTERM set `stop`, a second one kills.

    `loop_factory` makes the loop, unless asyncio's own will do. Raises whatever `main` raises.
    """
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(_run(main))


async def _run(main: Callable[[asyncio.Event], Awaitable[Result]]) -> Result:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(signum: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(signum)

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, asked, signum)
    watching = asyncio.create_task(_watch_parent(stop))
    try:
        return await main(stop)
    finally:
        watching.cancel()


async def _watch_parent(stop: asyncio.Event) -> None:
    if os.environ.get(STOP_WITH_PARENT) != "1":
        return
    while os.getppid() == _PARENT:  # noqa: ASYNC110 - the system offers no event for it
        await asyncio.sleep(_PARENT_POLL_S)
    stop.set()
