"""A reaper goes on when its owner replaces itself with another program."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from infra.embedded.reaper import Reaper
from tests.patience import patience

_OWNER = f"""
import os, sys
from pathlib import Path
from {Reaper.__module__} import Reaper
reaper = Reaper(Path(sys.argv[1]))
reaper.outlive_exec()
os.execv(sys.executable, [sys.executable, "-c", "print('here', flush=True); input()"])
"""


def test_the_directory_goes_with_the_program_that_the_owner_became(tmp_path: Path) -> None:
    directory = tmp_path / "ours"
    directory.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"here\n"
        time.sleep(1)  # a reaper that had lost its owner would have removed it by now
        assert directory.is_dir()
        owner.kill()
    deadline = time.monotonic() + 20 * patience()
    while directory.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
