"""Embedded servers leave nothing behind, however their owner ends and whoever it is."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from infra.embedded.directory import Account, make_run_directory
from infra.embedded.reaper import Reaper
from infra.kafka.client import create_topics
from infra.settings import KafkaSettings
from tests.leftovers import Place, wait_until_gone, working_in
from tests.processes import wait_for

ROOT = Path(__file__).parents[2]
END_LIMIT_S = 30.0

# Tells what it started, then waits for its end.
OWNER = """
import json, os, psutil, sys
from infra.embedded.servers import EmbeddedServers

with EmbeddedServers() as servers:
    family = psutil.Process().children(recursive=True)
    print(json.dumps({
        "processes": [(process.pid, process.create_time()) for process in family],
        "directory": str(servers.directory),
        "database_url": servers.postgres.url,
        "bootstrap_servers": servers.broker.bootstrap_servers,
    }), flush=True)
    if sys.stdin.readline() == "fail\\n":
        raise RuntimeError("as the test asked")
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that runs embedded servers, and what it told of them."""

    process: subprocess.Popen[str]
    processes: list[tuple[int, float]]
    directory: Path
    database_url: str
    bootstrap_servers: str

    def remains(self) -> list[str]:
        """Return what is left of its servers: processes that it told of or that work there."""
        entries = [str(self.directory)] if self.directory.exists() else []
        processes = [
            process for pid, created in self.processes if (process := _alive(pid, created))
        ]
        return entries + [repr(process) for process in {*processes, *working_in(self.directory)}]

    def wait_until_gone(self) -> None:
        """Wait until nothing is left."""
        wait_until_gone(self.remains)

    def serves(self) -> None:
        """Use both servers."""
        with psycopg.connect(self.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        kafka = KafkaSettings(bootstrap_servers=self.bootstrap_servers)
        asyncio.run(create_topics(kafka))


def _alive(pid: int, created: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        same = process.create_time() == created
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


@pytest.fixture
def base() -> Iterator[Path]:
    """Yield a directory that the database's account can walk through."""
    path = make_run_directory(Account.current())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def place(base: Path) -> Place:
    """Return a place for an owner that is the user who runs the tests."""
    return Place.make(base, Account(os.geteuid(), os.getegid()))


@contextmanager
def owner(place: Place, options: dict[str, Any] | None = None) -> Iterator[Owner]:
    """Run an owner in a process group of its own; kill it when the test has not ended it."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=place.environment(),
        start_new_session=True,
        **(options or {}),
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            line = process.stdout.readline()
            assert line, process.stderr.read()
            entry = json.loads(line)
            yield Owner(
                process,
                [(pid, created) for pid, created in entry["processes"]],
                Path(entry["directory"]),
                entry["database_url"],
                entry["bootstrap_servers"],
            )
        finally:
            process.kill()


def leave(process: subprocess.Popen[str], *, last_word: str = "leave") -> None:
    """Have an owner leave its context."""
    assert process.stdin is not None
    process.stdin.write(f"{last_word}\n")
    process.stdin.flush()


def fail(process: subprocess.Popen[str]) -> None:
    """Have an owner leave its context by an error."""
    leave(process, last_word="fail")


def interrupt(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C, which reaches the whole process group."""
    os.killpg(process.pid, signal.SIGINT)


@pytest.mark.parametrize("end", [leave, fail, interrupt])
def test_an_owner_that_ends_has_cleaned_up(
    place: Place, end: Callable[[subprocess.Popen[str]], None]
) -> None:
    with owner(place) as servers:
        servers.serves()
        # The broker, the reaper and the database with its own processes.
        assert len(servers.remains()) > 3
        end(servers.process)
        servers.process.wait(END_LIMIT_S)
        assert servers.remains() == []
    assert place.leftovers() == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_what_a_killed_owner_started_goes_soon(place: Place, how: signal.Signals) -> None:
    with owner(place) as servers:
        servers.serves()
        servers.process.send_signal(how)
        assert servers.process.wait(END_LIMIT_S) == -how
        servers.wait_until_gone()
    assert place.leftovers() == []


def test_what_is_written_while_the_guardian_cleans_up_goes_too(tmp_path: Path) -> None:
    """As a backend does whose postmaster was killed: it ends a moment later."""
    place = tmp_path / "place"
    place.mkdir()
    late = (
        "import itertools, pathlib, sys, time\n"
        "ends_at = time.monotonic() + 2\n"
        "for number in itertools.count():\n"
        "    if time.monotonic() > ends_at: break\n"
        "    try: (pathlib.Path(sys.argv[1]) / str(number)).touch()\n"
        "    except FileNotFoundError: break\n"
    )
    with subprocess.Popen([sys.executable, "-c", late, str(place)]), Reaper(place):
        wait_for(lambda: len(list(place.iterdir())) > 500, limit_s=20, what="it writes")
    assert not place.exists()


def test_a_killed_process_group_is_cleaned_up(place: Place) -> None:
    with owner(place) as servers:
        os.killpg(servers.process.pid, signal.SIGKILL)
        servers.process.wait(END_LIMIT_S)
        servers.wait_until_gone()
    assert place.leftovers() == []


def test_two_run_side_by_side_and_the_end_of_one_does_not_touch_the_other(place: Place) -> None:
    with owner(place) as first, owner(place) as second:
        assert first.directory != second.directory
        first.serves()
        second.serves()
        first.process.kill()
        first.process.wait(END_LIMIT_S)
        first.wait_until_gone()
        second.serves()
        leave(second.process)
        second.process.wait(END_LIMIT_S)
        assert second.remains() == []
    assert place.leftovers() == []


@pytest.fixture
def ordinary(base: Path) -> tuple[Place, dict[str, Any]]:
    """Return a place for an ordinary user, and the options that make a process theirs."""
    if os.geteuid() != 0:
        pytest.skip("not root: the other tests ran as an ordinary user")
    account = Account.current()
    place, options = Place.make(base, account), account.popen_options()
    try:
        subprocess.run(
            [sys.executable, "-c", "import infra.embedded.servers"],
            cwd=ROOT,
            env=place.environment(),
            check=True,
            capture_output=True,
            text=True,
            **options,
        )
    except PermissionError as error:
        pytest.skip(f"user id {account.uid} cannot reach the environment: {error}")
    except subprocess.CalledProcessError as error:
        if "ModuleNotFoundError" not in error.stderr and "PermissionError" not in error.stderr:
            raise
        pytest.skip(f"user id {account.uid} cannot read the environment: {error.stderr[-300:]}")
    return place, options


@pytest.mark.parametrize("how", [None, signal.SIGKILL])
def test_an_ordinary_user_leaves_nothing_either(
    ordinary: tuple[Place, dict[str, Any]], how: signal.Signals | None
) -> None:
    place, options = ordinary
    with owner(place, options) as servers:
        assert psutil.Process(servers.process.pid).uids().effective == options["user"]
        servers.serves()
        if how is None:
            leave(servers.process)
        else:
            servers.process.send_signal(how)
        servers.process.wait(END_LIMIT_S)
        if how is not None:
            servers.wait_until_gone()
        assert servers.remains() == []
    assert place.leftovers() == []
