"""Watches the processes of an installation on this machine, and the disk that they write to."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Coroutine
from types import NoneType
from typing import Any, Final

import typer
from rich.console import Console
from rich.markup import escape

from infra.embedded.process import Child, ChildFailedError
from stream.demo.stack import Stack

_POLL_S: Final = 0.5
_MAX_RESTARTS: Final = 5
"""Of a service in a row; then something is wrong that no restart mends."""
_FORGIVEN_AFTER_S: Final = 60.0
_MIN_FREE_BYTES: Final = 24_000_000
"""The database writes its log in files of 16 MB: with less it is about to fail, or has failed."""
_FULL_FOR_S: Final = 2.0


class Supervisor:
    """Starts services again that have ended, where it is asked to; a dead server is the end.

    What broker and database held is gone with them, so that there is nothing to go on with.
    """

    def __init__(self, stack: Stack, console: Console, *, restart: bool) -> None:
        self._stack = stack
        self._console = console
        self._restart = restart
        self._restarts: Counter[str] = Counter()
        self._started_at_s: dict[str, float] = {}
        self._full_since_s: float | None = None

    async def guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, watched. Raises `ChildFailedError`, with the last lines of what died.

        An error of the work that comes of a death is told as that death.
        """
        working = asyncio.create_task(work)
        watching = asyncio.create_task(self._watch())
        try:
            await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
            if working.done() and not isinstance(working.exception(), (typer.Exit, NoneType)):
                # What the work stumbled over may take a moment to end.
                await asyncio.wait((watching,), timeout=2 * _FULL_FOR_S)
            if watching.done():
                watching.result()
            await working
        finally:
            for task in (working, watching):
                task.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            self._check_disk()
            for server in self._stack.servers.children:
                if (end := server.ended()) is not None:
                    raise ChildFailedError(end)
            for name, child in list(self._stack.children.items()):
                if (end := child.ended()) is not None:
                    await self._start_again(name, child, end)
            await asyncio.sleep(_POLL_S)

    async def _start_again(self, name: str, child: Child, end: str) -> None:
        clock = asyncio.get_running_loop().time
        if clock() - self._started_at_s.get(name, 0.0) > _FORGIVEN_AFTER_S:
            self._restarts[name] = 0
        if not self._restart:
            raise ChildFailedError(end)
        if self._restarts[name] >= _MAX_RESTARTS:
            raise ChildFailedError(f"{end}\n{name} was started {_MAX_RESTARTS} times in vain")
        wait_s = 2.0 ** self._restarts[name] - 1
        self._restarts[name] += 1
        self._console.print(
            f"[red]{escape(end)}[/]\n[bold]{name} is started again[/] in {wait_s:.0f} s, all it "
            f"says is in {child.log}",
            highlight=False,
        )
        await asyncio.sleep(wait_s)
        self._stack.start_again(name)
        self._started_at_s[name] = clock()

    def _check_disk(self) -> None:
        """Raise when the disk has been full for a moment; the database may live on, in vain."""
        free = shutil.disk_usage(self._stack.servers.directory).free
        if free >= _MIN_FREE_BYTES:
            self._full_since_s = None
            return
        now_s = asyncio.get_running_loop().time()
        if self._full_since_s is None:
            self._full_since_s = now_s
        if now_s - self._full_since_s >= _FULL_FOR_S:
            raise ChildFailedError(
                f"No space left on device: {free / 1e6:.0f} MB are free for "
                f"{self._stack.servers.directory}, at least {_MIN_FREE_BYTES / 1e6:.0f} MB are "
                "needed; set TMPDIR to a directory on a larger disk"
            )
