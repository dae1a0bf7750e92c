"""Ids on the command line: with their municipality before them, or refused."""

from __future__ import annotations

import re

import typer

from schemas.ids import SCOPED_PATTERN


def scoped_id(what: str, text: str, remedy: str) -> str:
    """Return an id that has its municipality before it. Raises `typer.BadParameter`."""
    if re.fullmatch(SCOPED_PATTERN.strip("^$"), text, re.ASCII) is None:
        raise typer.BadParameter(f"{what} {text!r} does not match {SCOPED_PATTERN}; {remedy}")
    return text
