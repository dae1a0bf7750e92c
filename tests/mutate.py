"""Mutation testing: `python -m tests.mutate`, or `make mutate`. Which changes of code no test sees.

cosmic-ray changes one place of a module at a time, in a copy of the tree in `.cache/mutation`, and
runs the tests of that module that need no server. What has been judged of the survivors stands in
`docs/mutation.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkItem

ROOT: Final = Path(__file__).parents[1]
COPY: Final = ROOT / ".cache" / "mutation"
COPIED: Final = ("schemas", "processors", "optimizer", "infra", "stream", "tests")

TESTS: Final = {
    "processors/depot_index.py": "places round_trips",
    "processors/geodesy.py": "places round_trips mileage",
    "processors/trackers.py": "trackers",
    "processors/alerts/": "alert_rules thresholds retired_vehicles",
    "processors/timeline/": "arrivals timeline_rules mileage long_silences private_mode repeats"
    " unseen_drives complaints round_trips thresholds property/bulk_fold property/checkpoints"
    " property/fold_equals_batch property/late_windows",
    "processors/usage/": "calendar round_trips long_silences thresholds property/fold_equals_batch",
    "optimizer/costs.py": "costs thresholds backtest followup",
    "optimizer/demand.py": "demand thresholds retired_vehicles",
    "optimizer/drift.py": "drift triggers thresholds retired_vehicles",
    "optimizer/followup.py": "followup followup_of_lending thresholds property/followup_adds_up",
    "optimizer/backtest/": "backtest thresholds retired_vehicles property/backtest_replay",
}
"""Of a module or a package: its tests, of tests/unit unless said otherwise."""

NOISE: Final = re.compile(
    r"Operator_BitOr_"  # in a type mostly
    r"|_(BitAnd|BitOr|BitXor|LShift|RShift|Pow|Mod)$"  # no slip of a hand; any test sees it
    r"|(?<!_IsNot)_Is$|(?<!_Is)_IsNot$|_Is_(?!IsNot)|_IsNot_(?!Is$)"
)
TOOL: Final = str(Path(sys.executable).with_name("cosmic-ray"))


def command_of(names: str) -> str:
    """Return the command that runs some tests."""
    words = [name if "/" in name else f"unit/{name}" for name in names.split()]
    files = [f"tests/{word.replace('/', '/test_')}.py" for word in words]
    return shlex.join([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", *files])


def run(command: Sequence[str]) -> None:
    """Run a command in the copy, with few examples; end with its output where it fails."""
    few = {**os.environ, "FLEETPULSE_LAW_FACTOR": "0.05"}
    done = subprocess.run(command, cwd=COPY, env=few, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")


def copy_tree() -> None:
    """Copy what is mutated and what its tests need, compiled, with the times of its files."""
    shutil.rmtree(COPY, ignore_errors=True)
    COPY.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", COPY)
    # Mutants are run without writing compiled modules: without these, each would compile all.
    run([sys.executable, "-m", "compileall", "-q", *COPIED])


def sessions(only: str) -> list[Path]:
    """Write a configuration and a session of cosmic-ray for each module that is asked for."""
    written = []
    for place, names in TESTS.items():
        paths = [COPY / place] if place.endswith(".py") else sorted((COPY / place).glob("*.py"))
        modules = [str(path.relative_to(COPY)) for path in paths if path.name != "__init__.py"]
        modules = [module for module in modules if module.startswith(only)]
        began = time.monotonic()
        if modules:
            run(shlex.split(command_of(names)))
        timeout = 3 * (time.monotonic() - began)  # a mutant may loop for ever
        for module in modules:
            session = COPY / f"{module.removesuffix('.py').replace('/', '.')}.sqlite"
            # JSON's strings are TOML's.
            session.with_suffix(".toml").write_text(
                f"[cosmic-ray]\nmodule-path = {json.dumps(module)}\ntimeout = {timeout:.1f}\n"
                f"excluded-modules = []\ntest-command = {json.dumps(command_of(names))}\n"
                '[cosmic-ray.distributor]\nname = "local"\n'
            )
            run([TOOL, "init", session.with_suffix(".toml").name, session.name])
            written.append(session)
    return written


def mutants_of(session: Path) -> list[WorkItem]:
    """Return the mutants of a module that may tell something, in an order of their own."""
    with use_db(session, WorkDB.Mode.open) as database:
        items = [(item.mutations[0], item) for item in database.work_items]
    useful = [pair for pair in items if not NOISE.search(pair[0].operator_name)]
    # The names that the tool gives are drawn anew each time: the seed needs an order of ours.
    useful.sort(key=lambda pair: (pair[0].operator_name, pair[0].occurrence))
    return [item for _, item in useful]


def execute(session: Path, items: list[WorkItem]) -> Counter[str]:
    """Run the mutants drawn, print those that survive, and count the outcomes."""
    with use_db(session, WorkDB.Mode.open) as database:
        database.clear()
        database.add_work_items(items)
    run([TOOL, "exec", session.with_suffix(".toml").name, session.name])
    with use_db(session, WorkDB.Mode.open) as database:
        results = [result for _, result in database.results]
    sys.stdout.writelines(f"{result.diff}\n" for result in results if not result.is_killed)
    counts = Counter(str(result.test_outcome.value) for result in results if result.test_outcome)
    report(session.stem, counts)
    return counts


def report(subject: str, counts: Counter[str]) -> None:
    """Print the outcomes and how many there are of each."""
    outcomes = (f"{counts[name]} {name}" for name in ("killed", "survived", "incompetent"))
    sys.stdout.write(f"{subject}: {', '.join(outcomes)}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the mutants that are asked for, and print what survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=150, help="mutants to draw (default: 150)")
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: 1)")
    parser.add_argument("--all", action="store_true", help="run all; takes hours")
    parser.add_argument("--only", default="", metavar="PREFIX", help="modules whose path begins so")
    options = parser.parse_args()
    copy_tree()
    mutants = [(path, item) for path in sessions(options.only) for item in mutants_of(path)]
    if not mutants:
        raise SystemExit(f"no module's path begins with {options.only!r}; see TESTS in {__file__}")
    count = len(mutants) if options.all else min(options.sample, len(mutants))
    drawn = random.Random(options.seed).sample(mutants, count)
    total: Counter[str] = Counter()
    for session in sorted({path for path, _ in drawn}):
        total += execute(session, [item for path, item in drawn if path == session])
    report(f"{count} of {len(mutants)} mutants, seed {options.seed}", total)


if __name__ == "__main__":
    main()
