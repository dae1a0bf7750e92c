"""What the demo and `up` do when a process of theirs dies, and when the disk is full."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.leftovers import Place, wait_until_gone, working_in
from tests.processes import wait_for
from tests.scenario.test_demo import SMALL, base, gone, output_of, place_in, started

__all__ = ["base"]
pytestmark = pytest.mark.long


def process_of(place: Place, word: str) -> psutil.Process | None:
    """Return the process there whose command ends with a word, or begins with a program's name."""
    for process in working_in(place.temporary):
        command = process.cmdline()
        if command and (command[-1] == word or Path(command[0]).name == word):
            return process
    return None


def kill(place: Place, word: str) -> psutil.Process:
    """Kill a process there, once it is there."""
    wait_for(lambda: process_of(place, word) is not None, limit_s=60, what=f"{word} runs")
    process = process_of(place, word)
    assert process is not None
    process.kill()
    return process


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what a process says up to the line that holds a text."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    pytest.fail(f"it ended and never said {text!r}:\n{''.join(lines)}")


def test_up_starts_a_dead_service_again_and_says_so(base: Path) -> None:
    place = place_in(base, "up")
    with started(place, "up", "--empty") as up:
        read_until(up, "key create")
        killed = kill(place, "worker")
        text = read_until(up, "is started again")
        assert "worker-1 ended by SIGKILL" in text
        wait_for(
            lambda: (again := process_of(place, "worker")) is not None and again.pid != killed.pid,
            limit_s=30,
            what="another worker runs",
        )
        os.killpg(up.pid, signal.SIGTERM)
        assert "nothing is left" in output_of(up)
        assert up.returncode == 0
    assert gone(place) == []


@pytest.mark.parametrize("server", ["tansu", "postgres"])
def test_up_ends_with_the_last_lines_of_a_server_that_died(base: Path, server: str) -> None:
    place = place_in(base, "up")
    with started(place, "up", "--empty") as up:
        read_until(up, "key create")
        # Of PostgreSQL's processes the first is the postmaster's: the others are its children.
        kill(place, server)
        text = output_of(up)
        assert up.returncode == 1
        assert f"{'broker' if server == 'tansu' else server} ended by SIGKILL" in text
        assert "Traceback" not in text
    wait_until_gone(lambda: gone(place))


def test_a_demo_ends_at_once_with_the_last_lines_of_a_worker_that_died(base: Path) -> None:
    place = place_in(base, "demo")
    with started(place, *SMALL) as demo:
        read_until(demo, "municipalities")
        kill(place, "worker")
        killed_at = time.monotonic()
        text = output_of(demo)
        assert time.monotonic() - killed_at < 30
        assert demo.returncode == 1
        assert "worker-1 ended by SIGKILL" in text
        assert "Traceback" not in text
    wait_until_gone(lambda: gone(place))


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[None]:
    """Mount a file system of so many bytes; skip where we may not."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", f"size={size},mode=0711", "tmpfs", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([umount, "--lazy", str(directory)], check=True)


def test_a_full_disk_ends_the_demo_within_a_minute(base: Path) -> None:
    place = place_in(base, "demo")
    with small_disk(place.temporary, "400m"), started(place, *SMALL) as demo:
        read_until(demo, "municipalities")
        full = place.temporary / "full"
        with full.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1_000_000))
            except OSError:
                full_at = time.monotonic()
        text = output_of(demo)
        assert time.monotonic() - full_at < 60
        assert demo.returncode == 1
        assert "No space left on device" in text
        assert "Traceback" not in text
        full.unlink()
        wait_until_gone(lambda: gone(place))


def test_a_disk_that_is_too_small_to_start_on_says_so(base: Path) -> None:
    place = place_in(base, "demo")
    with small_disk(place.temporary, "30m"), started(place, *SMALL) as demo:
        text = output_of(demo)
        assert demo.returncode == 1
        assert "No space left on device" in text
        assert "Traceback" not in text
