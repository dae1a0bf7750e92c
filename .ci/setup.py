"""Create `.venv` with everything that `uv.lock` names. Needs Python and PyPI, nothing else.

Run as `python3 .ci/setup.py`. It returns at once when nothing has changed since the last time.
"""
# ruff: noqa: INP001 - a program that lies beside the package, not in it

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

OLDEST_PYTHON = (3, 11)
UV = "uv==0.13.9"
ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "setup.json"
CACHE = ROOT / ".cache"
LOCK = CACHE / "setup.lock"


def wanted() -> dict[str, str]:
    """Return what the environment depends on."""
    return {
        "project": str(ROOT),
        "python": f"{platform.python_version()} of {sys.base_prefix}",
        **{
            name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
            for name in ("pyproject.toml", "uv.lock")
        },
    }


def found() -> dict[str, str]:
    """Return what the present environment was made from; empty when it is not complete."""
    if not (STAMP.is_file() and PYTHON.exists()):
        return {}
    stamp: dict[str, str] = json.loads(STAMP.read_text())
    return stamp


def usable() -> bool:
    """Return whether the environment has our interpreter and pip, and has not moved."""
    moved = found().get("project", str(ROOT)) != str(ROOT)
    if moved or not PYTHON.exists():
        return False
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [str(PYTHON), "-c", "import pip, sys; print(sys.base_prefix, sys.version)"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    return result.stdout.rstrip("\n") == f"{sys.base_prefix} {sys.version}"


def run(*command: str, **env: str) -> None:
    """Run a command in the project. Raises `SystemExit` with its code when it fails."""
    inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    caches = {"PIP_CACHE_DIR": str(CACHE / "pip"), "UV_CACHE_DIR": str(CACHE / "uv")}
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=ROOT, env={**inherited, **caches, **env}, check=False
    )
    if done.returncode:
        sys.stderr.write(f"setup: {' '.join(command)} ended with code {done.returncode}\n")
        raise SystemExit(1)


def create() -> None:
    """Create an empty environment, in place of an unusable one."""
    if importlib.util.find_spec("ensurepip") is None:
        version = ".".join(platform.python_version_tuple()[:2])
        raise SystemExit(
            f"setup: Python {version} of {sys.base_prefix} cannot create environments with pip; "
            f"on Debian and Ubuntu: apt-get install python{version}-venv"
        )
    base = getattr(sys, "_base_executable", sys.executable)
    run(base, "-m", "venv", "--clear", str(VENV))


def main() -> None:
    """Make the environment what the project asks for."""
    if sys.version_info < OLDEST_PYTHON:
        raise SystemExit(
            f"setup: Python {platform.python_version()} is too old, 3.11 or newer is needed; "
            "choose one with: make setup PYTHON=python3.11"
        )
    aim = wanted()
    if found() == aim:
        return
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found() == aim:
            return
        if not usable():
            create()
        STAMP.unlink(missing_ok=True)
        run(str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
        # Compiled now: where Python may write no bytecode, each process would do it anew, and that
        # takes longer than all else of its start.
        sync = ("sync", "--quiet", "--frozen", "--inexact", "--all-extras", "--compile-bytecode")
        run(
            *(str(VENV / "bin" / "uv"), *sync),
            UV_PYTHON=str(PYTHON),
            UV_PROJECT_ENVIRONMENT=str(VENV),
        )
        STAMP.write_text(json.dumps(aim, indent=2) + "\n")


if __name__ == "__main__":
    main()
