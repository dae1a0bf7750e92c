"""Several searches side by side, each from its own seed: the first here, the others in processes.

A process is Python again with this module as its main; problem and answer travel as pickles. The
answers do not depend on which chain is faster.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from tempfile import TemporaryFile
from typing import Final, cast

from optimizer.routes.problem import RouteProblem
from optimizer.routes.search import Chain, Found, Limits, Told

Clock = Callable[[], float]
"""Seconds that never go back and are the same in all processes, such as `time.monotonic`."""

_MOMENT_S: Final = 0.1
_SEED_STEP: Final = 7919
"""Between the seeds of two chains: seeds 1 and 2 of a user share none."""


@dataclass(frozen=True, slots=True)
class Guard:
    """A limit by the clock on the wall."""

    clock: Clock
    from_s: float
    limit_s: float

    def elapsed(self) -> float:
        """Return the used share of the limit."""
        return (self.clock() - self.from_s) / self.limit_s

    def left_s(self) -> float:
        """Return what is left of the limit, at least a moment."""
        return max(_MOMENT_S, self.from_s + self.limit_s - self.clock())


@dataclass(frozen=True, slots=True)
class Task:
    """One chain: its problem, seed, limit and guard."""

    problem: RouteProblem
    seed: int
    operations: float
    guard: Guard | None = None

    def run(self, tell: Told | None = None) -> Found:
        """Search here."""
        elapsed = None if self.guard is None else self.guard.elapsed
        return Chain(self.problem, self.seed).run(Limits(self.operations, elapsed), tell)


def searched(first: Task, chains: int, tell: Told | None = None) -> list[Found]:
    """Return what so many chains found, in the order of their seeds, the first's own before.

    `tell` hears of the first chain. Raises `RuntimeError` when a process ends without an answer.
    """
    tasks = [replace(first, seed=first.seed + _SEED_STEP * number) for number in range(chains)]
    processes = [_started(task) for task in tasks[1:]]
    try:
        found = [tasks[0].run(tell)]
        for process in processes:
            answer, said = process.communicate()
            if process.returncode != 0:
                raise RuntimeError(
                    f"a search ended with code {process.returncode}: "
                    f"{said.decode(errors='replace').strip()[-500:]}; remedy: plan with one chain"
                )
            found.append(cast("Found", pickle.loads(answer)))  # noqa: S301 - our own process
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return found


def _started(task: Task) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(one for one in sys.path if one)
    # A file, since a pipe would hold us up until the other side has imported the solver.
    with TemporaryFile() as told:
        pickle.dump(task, told)
        told.seek(0)
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", __name__],
            stdin=told,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )


def main() -> None:
    """Read a task, search, and write what was found."""
    task = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent
    sys.stdout.buffer.write(pickle.dumps(task.run()))


if __name__ == "__main__":
    main()
