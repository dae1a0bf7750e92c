"""List the licence of each package that production installs; fail on one that nobody has allowed.

Run as `.venv/bin/python .ci/licences.py`: the environment has what is listed.
"""
# ruff: noqa: INP001 - a program that lies beside the package, not in it

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT: Final = "fleetpulse"
EXTRAS: Final = frozenset({"embedded"})

_PERMISSIVE = "asks for its notice to be kept, no more"
ALLOWED: Final = {
    "0BSD": "asks for nothing",
    "Apache-2.0": "asks for its notice to be kept; grants patents",
    "BSD": _PERMISSIVE,
    "BSD-2-Clause": _PERMISSIVE,
    "BSD-3-Clause": _PERMISSIVE,
    "CC0-1.0": "asks for nothing",
    "ISC": _PERMISSIVE,
    "LGPL-3.0-only": "psycopg: imported as it is, and whoever installs us can put another in place",
    "MIT": _PERMISSIVE,
    "MIT-CMU": _PERMISSIVE,
    "MPL-2.0": "our own: changed files of it stay open, other files are free",
    "PSF-2.0": "that of Python itself",
    "Zlib": _PERMISSIVE,
    "ZPL": "Zope's, of the form of BSD",
}
"""SPDX identifiers (two families without a number where packages name none) and why we may."""

SPELLED: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Repoze Public License": "ZPL",
}
"""What packages without an SPDX expression write, as their classifiers or as free text."""

UNSTATED: Final = {
    "verlib2": "BSD-2-Clause OR Apache-2.0",  # its `__license__`
}


def installed() -> Iterator[Distribution]:
    """Return what the project needs in production with all its extras, in the order of names."""
    needed: dict[str, frozenset[str]] = {}
    waiting = [(PROJECT, EXTRAS)]
    while waiting:
        name, extras = waiting.pop()
        if extras <= needed.get(name, frozenset()) and name in needed:
            continue
        needed[name] = needed.get(name, frozenset()) | extras
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                required = canonicalize_name(requirement.name)
                waiting.append((required, frozenset(requirement.extras)))
    return (distribution(name) for name in sorted(needed) if name != PROJECT)


def licence(package: Distribution) -> str:
    """Return an expression of SPDX identifiers; empty where the package states nothing."""
    stated = package.metadata
    if expression := stated.get("License-Expression"):
        return str(expression)
    names = [
        line.rpartition(" :: ")[2]
        for line in stated.get_all("Classifier", [])
        if line.startswith("License :: ")
    ] or [str(stated.get("License", ""))]
    if names == [""]:
        return UNSTATED.get(canonicalize_name(package.name), "")
    return " AND ".join(SPELLED.get(name, name) for name in names)


def is_allowed(expression: str) -> bool:
    """Return whether each part is allowed, or of a choice one."""
    return all(
        any(choice.strip("() ") in ALLOWED for choice in re.split(r"\bOR\b", part))
        for part in re.split(r"\bAND\b", expression)
    )


def main() -> None:
    """Print a line for each package. Ends with code 1 when one is not allowed."""
    refused = []
    for package in installed():
        expression = licence(package)
        sys.stdout.write(f"{package.name:24} {package.version:14} {expression}\n")
        if not is_allowed(expression):
            refused.append(f"{package.name}: {expression or 'states none'}")
    if refused:
        raise SystemExit(
            "licences that nobody has allowed: " + "; ".join(refused) + "; "
            "read them, then allow them with a reason in .ci/licences.py, or do without the package"
        )


if __name__ == "__main__":
    main()
