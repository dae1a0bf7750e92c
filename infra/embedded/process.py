"""A child process with a log, watched by the reaper."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from infra.embedded.reaper import Reaper
from schemas.errors import OutageError

_TAIL_LINES: Final = 25
_POLL_S: Final = 0.05


class ChildFailedError(OutageError):
    """A child process ended or did not become ready; the message carries the end of its log."""


def free_port() -> int:
    """Return a loopback TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Child:
    """One running child. Its output goes to a file, so that a failure can be explained."""

    def __init__(  # noqa: PLR0913 - one keyword for each property of a process
        self,
        name: str,
        command: Sequence[str],
        *,
        reaper: Reaper,
        directory: Path,
        env: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 - commands are our own
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=directory,
                # Ctrl-C in a terminal reaches a whole group; we stop our children in order.
                start_new_session=True,
                **(options or {}),
            )
        reaper.watch(self.process.pid)

    def tail(self) -> str:
        """Return the last lines of the log."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def ended(self) -> str | None:
        """Return how the child ended, with the end of its log; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"{self.name} ended {how}:\n{self.tail()}"

    def wait_until(self, ready: Callable[[], bool], *, limit_s: float) -> None:
        """Wait until `ready()`. Raises `ChildFailedError` when the child ends or time runs out."""
        deadline = time.monotonic() + limit_s
        while not ready():
            if (end := self.ended()) is not None:
                raise ChildFailedError(end)
            if time.monotonic() > deadline:
                raise ChildFailedError(
                    f"{self.name} was not ready within {limit_s:g} s:\n{self.tail()}"
                )
            time.sleep(_POLL_S)

    def stop(self, *, how: signal.Signals = signal.SIGTERM, limit_s: float = 10.0) -> None:
        """Ask the child to end, wait, and kill it when it does not."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(limit_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
