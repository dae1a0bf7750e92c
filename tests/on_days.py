"""Run the tests that read a clock or a calendar on other days, and print a table.

`python -m tests.on_days 2028-02-29 2026-10-25`. The clock of all processes is shifted by `faketime`
(package faketime of Debian); `TEST_DAY` is the day before. Name days to come: tests tell of days in
2026 as past. `--all` runs every test of `make test`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
READ_A_CLOCK: Final = (
    "tests/dashboards",
    "tests/integration/test_alerts.py",
    "tests/integration/test_calendars.py",
    "tests/integration/test_homes.py",
    "tests/integration/test_late_fixes.py",
    "tests/integration/test_retirement.py",
    "tests/integration/test_inactivity.py",
    "tests/property/test_utilisation_views.py",
)
_TOLD: Final = re.compile(r"(\d+) (failed|passed|errors?|skipped)")


def run(faketime: str, day: date, tests: Sequence[str]) -> tuple[str, list[str]]:
    """Run tests at noon of a day; return what pytest counts, and the names of those that failed."""
    done = subprocess.run(
        [
            faketime,
            "-f",
            f"@{day} 12:00:00",
            sys.executable,
            *("-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"),
            *("-m", "not kafka and not timescale", *tests),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "TEST_DAY": str(day - timedelta(days=1)),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    counts = ", ".join(" ".join(entry) for entry in _TOLD.findall(lines[-1] if lines else ""))
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return counts or f"ended with code {done.returncode}", failed


def main(words: Sequence[str]) -> int:
    """Run as the command line says; return 0 when all tests pass on all days."""
    parser = argparse.ArgumentParser(prog="python -m tests.on_days", description=__doc__)
    parser.add_argument("days", nargs="+", type=date.fromisoformat)
    parser.add_argument("--all", action="store_true", help="every test, not only those by a clock")
    arguments = parser.parse_args(words)
    faketime = shutil.which("faketime")
    if faketime is None:
        raise SystemExit("faketime is not installed; on Debian: apt-get install faketime")
    good = True
    for day in arguments.days:
        counts, failed = run(faketime, day, ("tests",) if arguments.all else READ_A_CLOCK)
        good &= not failed and "passed" in counts
        print(f"{day:%a} {day}  {counts}", flush=True)
        for line in failed:
            print(f"    {line}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
