"""Mutation testing: `python -m tests.mutate`, or `make mutate`. Which changes of code no test sees.

cosmic-ray changes one place of a module at a time, in a copy in `.cache/mutation`, and runs the
tests of the module that need no server. `docs/mutation.md` says what was judged of survivors.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkItem

ROOT: Final = Path(__file__).parents[1]
COPY: Final = ROOT / ".cache" / "mutation"
TOOL: Final = str(Path(sys.executable).with_name("cosmic-ray"))
COPIED: Final = ("schemas", "processors", "optimizer", "infra", "stream", "tests")

TESTS: Final = {
    "processors/[dg]*.py": "places round_trips mileage",
    "processors/trackers.py": "trackers",
    "processors/alerts/[a-z]*.py": "alert_rules thresholds retired_vehicles",
    "processors/timeline/[a-z]*.py": "arrivals timeline_rules mileage long_silences private_mode"
    " repeats unseen_drives complaints round_trips thresholds property/bulk_fold"
    " property/checkpoints property/fold_equals_batch property/late_windows",
    "processors/usage/[a-z]*.py": "calendar round_trips long_silences property/fold_equals_batch",
    "optimizer/costs.py": "costs thresholds placement backtest followup",
    "optimizer/demand.py": "demand thresholds retired_vehicles",
    "optimizer/drift.py": "drift triggers thresholds retired_vehicles",
    "optimizer/followup.py": "followup followup_of_lending thresholds property/followup_adds_up",
    "optimizer/backtest/[a-z]*.py": "backtest thresholds retired_vehicles property/backtest_replay",
}
"""Of modules: their tests, of tests/unit unless said otherwise."""
# In types mostly; what no hand slips to and any test sees; identity for equality.
NOISE: Final = re.compile(
    r"Operator_BitOr_|_(BitAnd|BitOr|BitXor|LShift|RShift|Pow|Mod)$"
    r"|(?<!_IsNot)_Is$|(?<!_Is)_IsNot$|_Is_(?!IsNot)|_IsNot_(?!Is$)"
)


def command_of(names: str) -> str:
    """Return the command that runs some tests."""
    words = [name if "/" in name else f"unit/{name}" for name in names.split()]
    files = [f"tests/{word.replace('/', '/test_')}.py" for word in words]
    return shlex.join([sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:randomly", *files])


def run(command: list[str]) -> None:
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


def sessions(only: str) -> Iterator[Path]:
    """Write a configuration and a session of cosmic-ray for each module that is asked for."""
    for place, names in TESTS.items():
        modules = [str(path.relative_to(COPY)) for path in sorted(COPY.glob(place))]
        modules = [module for module in modules if module.startswith(only)]
        began, command = time.monotonic(), command_of(names)
        if modules:
            run(shlex.split(command))
        timeout = 3 * (time.monotonic() - began)  # a mutant may loop for ever
        for module in modules:
            session = COPY / module.replace("/", ".").replace(".py", ".sqlite")
            # JSON's strings are TOML's.
            session.with_suffix(".toml").write_text(
                f"[cosmic-ray]\nmodule-path = {json.dumps(module)}\ntimeout = {timeout:.1f}\n"
                f'test-command = {json.dumps(command)}\ndistributor.name = "local"\n'
            )
            run([TOOL, "init", session.with_suffix(".toml").name, session.name])
            yield session


def mutants_of(session: Path) -> list[WorkItem]:
    """Return the mutants of a module that may tell something, in order."""
    with use_db(session, WorkDB.Mode.open) as database:
        items = [(item.mutations[0], item) for item in database.work_items]
    # The tool names and sorts them anew each time: the seed needs an order that stays.
    items.sort(key=lambda pair: (pair[0].operator_name, pair[0].occurrence))
    return [item for spec, item in items if not NOISE.search(spec.operator_name)]


def execute(session: Path, items: list[WorkItem]) -> Counter[str]:
    """Run the mutants drawn, print those that survive, and count the outcomes."""
    with use_db(session, WorkDB.Mode.open) as database:
        database.clear()
        database.add_work_items(items)
        run([TOOL, "exec", session.with_suffix(".toml").name, session.name])
        results = [result for _, result in database.results]
    sys.stdout.writelines(f"{result.diff}\n" for result in results if not result.is_killed)
    counts = Counter(str(result.test_outcome.value) for result in results if result.test_outcome)
    report(session.stem, counts)
    return counts


def report(subject: str, counts: Counter[str]) -> None:
    """Print how many mutants had each outcome."""
    outcomes = (f"{counts[name]} {name}" for name in ("killed", "survived", "incompetent"))
    print(f"{subject}: {', '.join(outcomes)}", flush=True)


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
        parser.error(f"no module's path begins with {options.only!r}; TESTS in {__file__} has all")
    count = len(mutants) if options.all else min(options.sample, len(mutants))
    drawn = random.Random(options.seed).sample(mutants, count)
    total: Counter[str] = Counter()
    for session in sorted({path for path, _ in drawn}):
        total += execute(session, [item for path, item in drawn if path == session])
    report(f"{count} of {len(mutants)} mutants, seed {options.seed}", total)


if __name__ == "__main__":
    main()
