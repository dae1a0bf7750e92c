"""What we log ourselves: names of our own choosing, none of which holds a position or a key."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_LEVELS: Final = {"debug", "info", "warning", "error", "exception", "critical"}
_NEVER: Final = {
    *("body", "document", "event_body", "fix", "fixes", "headers", "input", "item", "key", "lat"),
    *("letter", "lon", "message", "password", "payload", "point", "position", "record", "records"),
    *("rejected", "request", "token", "url", "value"),
}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for room in ("stream", "infra"):
        for path in sorted((_ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in _LEVELS
                    and ast.unparse(node.func.value) in {"_log", "log", "logger"}
                ):
                    yield f"{path.relative_to(_ROOT)}:{node.lineno}", node


def test_lines_have_a_fixed_text_and_say_nothing_of_whom_they_must_not() -> None:
    calls = list(_calls())
    assert len(calls) > 20
    for place, call in calls:
        assert [type(arg) for arg in call.args] == [ast.Constant], f"{place}: text is not fixed"
        for keyword in call.keywords:
            if ast.unparse(keyword.value).startswith("len("):
                continue  # how many, and nothing of what
            names = {name.id for name in ast.walk(keyword.value) if isinstance(name, ast.Name)}
            attributes = {
                attribute.attr
                for attribute in ast.walk(keyword.value)
                if isinstance(attribute, ast.Attribute)
            } - {"value"}  # of an enum
            entries = {keyword.arg or ""} | attributes | (names if not attributes else set())
            assert not entries & _NEVER, f"{place}: {ast.unparse(keyword.value)}"
