"""Tables on the terminal."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.table import Table

SHOWN: Final = 10


def first_of(title: str, count: int, shown: int = SHOWN) -> str:
    """Return a title that says how many of how many are shown."""
    return f"{title}, the first {shown} of {count}" if count > shown else f"{title}: {count}"


def table_of(title: str, *columns: str) -> Table:
    """Return an empty table that cuts nothing short."""
    table = Table(*columns, box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    return table
