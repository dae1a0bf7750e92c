"""The documents: every command, option, setting, target and file that they name exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from infra.database.access.service_roles import Service
from infra.settings import KafkaSettings, PlannerSettings, Settings, TravelSettings
from tests.unit.test_compose import command_names

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    *("README.md", "CHANGELOG.md", ".env.example", "docker-compose.yml"),
    *("docs/operations.md", "docs/dead-letters.md", "docs/mutation.md", "CONTRIBUTING.md"),
    *("docs/laws.md", "docs/domain.md", "docs/architecture.md", "docs/glossary.md"),
)
DECISIONS: Final = tuple(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/adr/*.md"))
_ROOMS: Final = "bench|docs|infra|optimizer|processors|schemas|stream|tests"
_CODE: Final = re.compile(r"^```\n(?P<block>.*?)^```|`(?P<span>[^`]+)`", re.MULTILINE | re.DOTALL)
_OURS: Final = re.compile(
    r"(?:(?<![\w=/.-])fleetpulse|\brun (?:-.* )?(?:admin|owner)) (?P<words>[a-z][^\n]*)"
)
_VARIABLE: Final = re.compile(r"\bFLEETPULSE_[A-Z_]*[A-Z]\b")
_OF_NO_FIELD: Final = {
    "FLEETPULSE_READER_PASSWORD",
    *(f"FLEETPULSE_{service.upper()}_ROLE_PASSWORD" for service in Service),
}
"""Passwords that an option of one command reads."""


def code(page: str) -> Iterator[str]:
    """Yield what a page shows as code; of a file that is no page, its comments."""
    text = (ROOT / page).read_text()
    if not page.endswith(".md"):
        yield from re.findall(r"^\s*# ?(.*)$", text, re.MULTILINE)
        return
    for match in _CODE.finditer(text):
        yield from (match["block"] or match["span"].replace("\n", " ")).splitlines()


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of every command of ours that a page shows."""
    for line in code(page):
        for part in re.split(r"&&|\|", line):
            if match := _OURS.search(part):
                yield shlex.split(match["words"].partition(" < ")[0], comments=True)


def check(words: list[str]) -> str | None:
    """Return what of a command does not exist, or None."""
    command: Any = None
    names = command_names()
    rest = list(words)
    while rest and names:
        if rest[0] not in names:
            # `plan MUNICIPALITY` is a group that takes an argument.
            return None if rest[0].isupper() else f"no command {rest[0]!r}"
        command = names[rest.pop(0)]
        names = getattr(command, "commands", {})
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in rest:
        if word.startswith("--") and word.partition("=")[0] not in options | {"--help"}:
            return f"no option {word!r}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_shows_exists(page: str) -> None:
    wrong = {" ".join(words): fault for words in commands(page) if (fault := check(words))}
    assert not wrong


def test_the_pages_show_commands() -> None:
    shown = {page: len(list(commands(page))) for page in PAGES}
    assert shown["README.md"] > 15
    assert shown["docs/operations.md"] > 15
    assert shown["docs/dead-letters.md"] > 5


@pytest.mark.parametrize(
    "words", [["no-such"], ["offsets", "no-such"], ["offsets", "show", "--no-such"]]
)
def test_a_command_that_does_not_exist_is_noticed(words: list[str]) -> None:
    assert check(words)


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_page_names_exists(page: str) -> None:
    settings = {
        f"{model.model_config.get('env_prefix')}{name.upper()}"
        for model in (Settings, KafkaSettings, PlannerSettings, TravelSettings)
        for name in model.model_fields
    }
    assert set(_VARIABLE.findall((ROOT / page).read_text())) <= settings | _OF_NO_FIELD


@pytest.mark.parametrize("page", [page for page in PAGES if page.endswith(".md")])
def test_every_file_and_target_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert ((ROOT / page).parent / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ((?:bench|tests)\.[a-z_.]+)", text):
        path = ROOT.joinpath(*module.split("."))
        assert path.with_suffix(".py").exists() or path.is_dir(), module


@pytest.mark.parametrize("page", [*(page for page in PAGES if page.endswith(".md")), *DECISIONS])
def test_every_path_and_module_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    for path in re.findall(rf"`((?:{_ROOMS})/[\w./-]*\w/?)`", text):
        assert (ROOT / path).exists(), path
    for dotted in re.findall(rf"`((?:{_ROOMS})\.[a-z_.]+)(?:\.\w+)?`", text):
        path = ROOT.joinpath(*dotted.split("."))
        assert (
            path.with_suffix(".py").exists()
            or path.exists()
            or path.parent.with_suffix(".py").exists()
        ), dotted
