"""Commands of ours in processes forked from one that has imported them already.

Each has an environment, arguments, streams and an exit code of its own, as one that a shell
starts, and takes a tenth of the processor's time, most of which importing takes.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from io import BufferedReader, BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final, TextIO

_STREAMS: Final = (("stdin", os.O_RDONLY), ("stdout", os.O_WRONLY), ("stderr", os.O_WRONLY))
_FORKS: Final = multiprocessing.get_context("forkserver")
# The second is what nearly all commands load once they run.
_FORKS.set_forkserver_preload(["stream.cli.main", "stream.cli.database"])


def run_forked(
    words: Sequence[str], environment: Mapping[str, str], stdin: str, limit_s: float
) -> CompletedProcess[str]:
    """Run a command to its end. Raises `TimeoutError` when it takes too long."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for stream, _ in _STREAMS:
            (folder / stream).write_text(stdin if stream == "stdin" else "")
        process = _FORKS.Process(target=_run, args=(folder, tuple(words), dict(environment)))
        process.start()
        process.join(limit_s)
        if process.exitcode is None:
            process.kill()
            process.join()
            text = (folder / "stderr").read_text()
            raise TimeoutError(f"{' '.join(words)} did not end within {limit_s:g} s:\n{text}")
        printed, complained = ((folder / stream).read_text() for stream in ("stdout", "stderr"))
        return CompletedProcess(words, process.exitcode, printed, complained)


def _run(folder: Path, words: Sequence[str], environment: Mapping[str, str]) -> None:
    from stream.cli.main import main  # noqa: PLC0415 - the process that forks has it

    os.environ.clear()
    os.environ.update(environment)
    for number, (stream, mode) in enumerate(_STREAMS):
        descriptor = os.open(folder / stream, mode)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = map(_opened, range(3))
    sys.argv = ["fleetpulse", *words]
    main()


def _opened(number: int) -> TextIO:
    """Open a standard stream by its name, as an interpreter does when it starts."""
    raw = FileIO(number, "r" if number == 0 else "w", closefd=False)
    raw.name = f"<{_STREAMS[number][0]}>"
    buffer = BufferedReader(raw) if number == 0 else BufferedWriter(raw)
    return TextIOWrapper(buffer, encoding="utf-8", line_buffering=number == 2)
