"""Arguments that several commands take: municipalities, ids and instants."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from schemas.events.fix import UtcDatetime
from schemas.ids import SCOPED_PATTERN

MunicipalityArgument = Annotated[str, typer.Argument(help="Id of the municipality.")]


def instant(option: str, text: str) -> datetime:
    """Return what an option says, in UTC. Raises `typer.BadParameter`."""
    try:
        return TypeAdapter(UtcDatetime).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(
            f"{option} {text!r}: {error.errors()[0]['msg']}; give date, time and offset, such as "
            "2026-03-01T00:00:00+01:00"
        ) from None


def scoped_id(what: str, text: str, remedy: str) -> str:
    """Return an id that has its municipality before it. Raises `typer.BadParameter`."""
    if re.fullmatch(SCOPED_PATTERN.strip("^$"), text, re.ASCII) is None:
        raise typer.BadParameter(f"{what} {text!r} does not match {SCOPED_PATTERN}; {remedy}")
    return text
