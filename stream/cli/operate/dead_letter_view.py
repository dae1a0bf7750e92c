"""Dead letters on the terminal: a list that fits 80 columns, a summary, and one letter whole."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from infra.database.stream.dead_letters import ID_DIGITS, LetterCount, StoredLetter

_INDENT: Final = ID_DIGITS + 2
_WHITE: Final = frozenset("\n\t")


def show_letters(letters: Sequence[StoredLetter], console: Console) -> None:
    """Print letters: id, instant and reason on the first line, below them subject and why."""
    if not letters:
        console.print("no dead letter waits")
    for letter in letters:
        console.print(
            f"{letter.letter_id.hex[:ID_DIGITS]}  {_minute(letter.created_at)}  {letter.reason}",
            markup=False,
        )
        for line in (_subject(letter), *_state(letter), letter.detail):
            console.print(Padding(Text(_printable(line), overflow="fold"), (0, 0, 0, _INDENT)))


def show_summary(counts: Sequence[LetterCount], console: Console) -> None:
    """Print how many letters are open by reason and vendor."""
    table = Table("reason", "vendor", "letters", "oldest, UTC", "newest, UTC", box=box.SIMPLE_HEAD)
    for column in table.columns:
        column.overflow = "fold"
        column.no_wrap = column.header != "vendor"
    table.columns[2].justify = "right"
    for count in counts:
        table.add_row(
            count.reason,
            Text(_printable(count.vendor or "not known")),
            f"{count.count:,}",
            f"{count.oldest_at:%Y-%m-%d}",
            f"{count.newest_at:%Y-%m-%d}",
        )
    console.print(table)
    console.print(f"{sum(count.count for count in counts):,} open letters in all")


def show_letter(letter: StoredLetter, console: Console) -> None:
    """Print a whole letter, its message as text where it is that, else in base64."""
    lines = {
        "id": str(letter.letter_id),
        "written": f"{letter.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "reason": f"{letter.reason}, see docs/dead-letters.md",
        "detail": letter.detail,
        "vendor": letter.vendor or "not known",
        "municipality": letter.municipality_id or "not known",
        "vehicle": letter.vehicle_id or "not known",
        "origin": _origin(letter),
        "state": "; ".join(_state(letter)) or "open",
    }
    if letter.message_key is not None:
        lines["key"] = _text(letter.message_key) or _base64(letter.message_key)
    for name, value in lines.items():
        console.print(Text(f"{name:<12}  {_printable(value)}", overflow="fold"))
    text = _text(letter.message_value)
    form = "UTF-8" if text is not None else "base64"
    console.print(f"{'value':<12}  {len(letter.message_value):,} bytes, {form}:")
    # As it is, to be copied: a terminal wraps by itself.
    console.print(Text(text if text is not None else _base64(letter.message_value)), soft_wrap=True)


def _subject(letter: StoredLetter) -> str:
    subject = letter.vehicle_id or letter.municipality_id or "vehicle not known"
    return f"{subject}, vendor {letter.vendor or 'not known'}, {_origin(letter)}"


def _origin(letter: StoredLetter) -> str:
    index = "" if letter.item_index is None else f", fix {letter.item_index}"
    return f"{letter.topic}[{letter.partition}]@{letter.record_offset}{index}"


def _state(letter: StoredLetter) -> Iterator[str]:
    if letter.replayed_at is not None:
        yield f"replayed {_minute(letter.replayed_at)}"
    if letter.discarded_at is not None:
        yield f"discarded {_minute(letter.discarded_at)} by {letter.discarded_by}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _text(value: bytes) -> str | None:
    """Return bytes as text, unless they are none or could steer a terminal."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if all(letter.isprintable() or letter in _WHITE for letter in text) else None


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _printable(text: str) -> str:
    """Return what others wrote without what could steer a terminal."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )
