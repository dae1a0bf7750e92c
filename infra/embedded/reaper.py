"""Cleans up however its owner ends: a small process that lives a moment longer.

The owner holds the write end of a pipe. When the pipe closes, whether by `close()`, by an
error, by Ctrl-C or because the owner was killed, the reaper stops every process that it was
told of and removes the owner's directory. It runs in a session of its own, so that a signal to
the owner's process group does not reach it.

Run as a program: `python reaper.py DIRECTORY`, process ids on standard input, one a line.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, Self

import psutil

GRACE_S: Final = 5.0
"""How long a process may take to end after SIGTERM before it is killed."""
_REMOVE_AGAIN_S: Final = 0.1


class Reaper:
    """The owner's end: tells the reaper what to stop and remove."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process = subprocess.Popen(  # noqa: S603 - our own file, our own interpreter
            [sys.executable, str(Path(__file__).resolve()), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def watch(self, pid: int) -> None:
        """Stop this process, and its children, when we end."""
        stdin = self._process.stdin
        if stdin is None or stdin.closed:
            raise RuntimeError(f"cannot watch process {pid}: the reaper is closed; open a new one")
        stdin.write(f"{pid} {psutil.Process(pid).create_time()!r}\n".encode())
        stdin.flush()

    def outlive_exec(self) -> None:
        """Go on guarding when this process replaces itself with another program."""
        if self._process.stdin is not None:
            os.set_inheritable(self._process.stdin.fileno(), True)

    def close(self) -> None:
        """Have everything stopped and removed, and wait until it is."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _running(pid: int, created: float) -> psutil.Process | None:
    """Return the process unless it is gone or its id has been given to another one."""
    try:
        process = psutil.Process(pid)
        return process if process.create_time() == created else None
    except psutil.NoSuchProcess:
        return None


def stop_all(watched: list[tuple[int, float]]) -> None:
    """Stop the watched processes and all their children, youngest first."""
    roots = [running for pid, created in reversed(watched) if (running := _running(pid, created))]
    family: list[psutil.Process] = []
    for process in roots:
        try:
            family += [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    for process in roots:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(family, timeout=GRACE_S)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=GRACE_S)


def _main() -> None:
    watched = []
    for line in sys.stdin:
        pid, created = line.split()
        watched.append((int(pid), float(created)))
    stop_all(watched)
    remove(Path(sys.argv[1]))


def remove(directory: Path) -> None:
    """Remove a directory, again where something was written meanwhile.

    A child that was born while its parent ended, such as a backend of a killed postmaster, is not
    among those that were stopped: it ends by itself, and writes until then.
    """
    deadline = time.monotonic() + GRACE_S
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(_REMOVE_AGAIN_S)


if __name__ == "__main__":
    _main()
