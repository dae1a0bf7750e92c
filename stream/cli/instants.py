"""Instants on the command line: with an offset, or refused."""

from __future__ import annotations

from datetime import datetime

import typer
from pydantic import TypeAdapter, ValidationError

from schemas.events.fix import UtcDatetime


def instant(option: str, text: str) -> datetime:
    """Return what an option says, in UTC. Raises `typer.BadParameter`."""
    try:
        return TypeAdapter(UtcDatetime).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(
            f"{option} {text!r}: {error.errors()[0]['msg']}; give date, time and offset, such as "
            "2026-03-01T00:00:00+01:00"
        ) from None
