"""What a program of ours may leave behind: nothing, neither file nor process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.embedded.directory import Account
from tests.patience import patience


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs: its home and its temporary directory, empty before and after."""

    home: Path
    temporary: Path

    @classmethod
    def make(cls, base: Path, owner: Account) -> Place:
        """Create both for an owner."""
        place = cls(base / "home", base / "temporary")
        for path in (place.home, place.temporary):
            path.mkdir()
            path.chmod(0o711)
            owner.own(path)
        return place

    def leftovers(self) -> list[Path]:
        """Return what lies in either."""
        return [*self.home.iterdir(), *self.temporary.iterdir()]

    def environment(self) -> dict[str, str]:
        """Return the environment that leads there."""
        return {**os.environ, "HOME": str(self.home), "TMPDIR": str(self.temporary)}


def working_in(directory: Path) -> list[psutil.Process]:
    """Return the processes whose command or working directory lies in a directory."""
    processes = []
    for process in psutil.process_iter():
        try:
            there = str(directory) in f"{process.cwd()} {process.cmdline()}"
            if there and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return processes


def wait_until_gone(remains: Callable[[], list[str]], *, limit_s: float = 20.0) -> None:
    """Wait until nothing remains; longer than `limit_s` on a crowded machine."""
    began = time.monotonic()
    while left := remains():
        waited_s = time.monotonic() - began
        assert waited_s < limit_s * patience(), f"{waited_s:.0f} s later there is {left}"
        time.sleep(0.1)
