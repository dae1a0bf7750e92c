"""The demo as a newcomer runs it: it closes the loop, and however it ends it leaves nothing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.embedded.directory import Account, make_run_directory
from tests.days import DAY
from tests.leftovers import Place, wait_until_gone, working_in
from tests.processes import wait_for

pytestmark = pytest.mark.long

UNTIL = ("--last-day", DAY.isoformat())
SMALL = ("demo", "--days", "6", "--vehicles", "14", *UNTIL)
FOLLOWED = ("demo", "--days", "42", "--vehicles", "8", *UNTIL)
"""The fewest days of which a plan is carried out, and followed for whole weeks."""


@pytest.fixture
def base() -> Iterator[Path]:
    """Yield a directory that the database's account can walk through."""
    path = make_run_directory(Account.current())
    yield path
    shutil.rmtree(path)


def place_in(base: Path, name: str) -> Place:
    """Return a place of its own for one demo."""
    folder = base / name
    folder.mkdir()
    folder.chmod(0o711)
    return Place.make(folder, Account(os.geteuid(), os.getegid()))


@contextmanager
def started(place: Place, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command there, in a process group of its own, killed if the test has not ended it."""
    with subprocess.Popen(
        [sys.executable, "-m", "stream.cli.main", *command],
        cwd=Path(__file__).parents[2],
        env={**place.environment(), "COLUMNS": "120"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def gone(place: Place) -> list[str]:
    """Return what is left."""
    return [*map(str, place.leftovers()), *map(repr, working_in(place.temporary))]


def output_of(process: subprocess.Popen[str]) -> str:
    """Return all that a demo said, once it has ended."""
    assert process.stdout is not None
    text = process.stdout.read()
    process.wait(30)
    return text


def test_two_demos_side_by_side_both_close_the_loop_and_leave_nothing(base: Path) -> None:
    places = [place_in(base, name) for name in ("first", "second")]
    with started(places[0], *SMALL) as first, started(places[1], *FOLLOWED) as second:
        texts = [output_of(first), output_of(second)]
        codes = [first.returncode, second.returncode]
    assert codes == [0, 0], texts
    for text in texts:
        for heading in (
            "From fixes to timelines",
            "idling over 200 s",
            "Utilisation by home depot",
            "Utilisation by class",
            "Underused",
            "Alerts: ",
            "Plan for syddjurs",
            "Plan for favrskov",
            "Study, assignment of syddjurs: ",
            "Study, carpool of syddjurs: ",
            "Study, composition of syddjurs: ",
            "Study, sites of syddjurs: ",
            "From push to row",
        ):
            assert heading in text
        # Asked for by nobody, scheduled for the night: the stream itself has triggered it.
        assert "why drift: " in text
        assert "why on-request: asked for by the demo" in text
        match = re.search(r"([\d,]+) fixes of (?:28|16) vehicles", text)
        assert match is not None
        assert int(match[1].replace(",", "")) > 10_000
        assert re.search(r"Pushed " + match[1] + " fixes", text), "every pushed fix is a row"
    small, followed = texts
    # Six days are too few to keep a week back, and every plan says so.
    assert small.count("back-test No back-test: ") == small.count("Plan for ")
    assert "Follow-up" not in small
    # How many weeks depends on the weekday of the last day, and on when the planner came to it.
    assert re.search(r"back-test Fitted on [3-5]\.\d", followed)
    assert "Follow-up of syddjurs, accepted and carried out since " in followed
    weeks = re.findall(r"(\d+) of\s+(\d+)\s+moves\s+were\s+carried\s+out", followed)
    assert weeks
    assert all(carried_out == of_all for carried_out, of_all in weeks)
    assert [gone(place) for place in places] == [[], []]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_demo_that_is_ended_half_way_leaves_nothing_and_the_next_one_works(
    base: Path, how: signal.Signals
) -> None:
    place = place_in(base, "demo")
    with started(place, *SMALL) as demo:
        wait_for(lambda: len(working_in(place.temporary)) > 8, limit_s=60, what="all of it runs")
        os.killpg(demo.pid, how)
        output_of(demo)
        assert demo.returncode == (-how if how is signal.SIGKILL else 130)
    wait_until_gone(lambda: gone(place))


def test_it_stays_up_until_it_is_told_to_stop(base: Path) -> None:
    place = place_in(base, "up")
    with started(place, "up", "--empty") as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "key create" in line:
                break
        else:
            pytest.fail("it ended by itself")
        os.killpg(up.pid, signal.SIGTERM)
        assert "nothing is left" in output_of(up)
        assert up.returncode == 0
    assert gone(place) == []
