"""Files that commands are given."""

from __future__ import annotations

from typing import BinaryIO, Final, TypeVar

import typer
from pydantic import BaseModel, ValidationError

_OF_LIMITS: Final = frozenset(
    {
        "less_than",
        "less_than_equal",
        "greater_than",
        "greater_than_equal",
        "finite_number",
        "enum",
    }
)
"""Faults whose message names the limit and not the value."""
Model = TypeVar("Model", bound=BaseModel)


def read_json(file: BinaryIO, model: type[Model]) -> Model:
    """Return what a file holds.

    Raises `typer.Exit` with code 2 when that is something else, having named each fault with its
    place.
    """
    try:
        return model.model_validate_json(file.read())
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            place = ".".join(map(str, fault["loc"]))
            given = f", not {fault['input']!r}" if fault["type"] in _OF_LIMITS else ""
            typer.echo(
                f"{file.name}: {place + ': ' if place else ''}{fault['msg']}{given}", err=True
            )
        raise typer.Exit(2) from None
