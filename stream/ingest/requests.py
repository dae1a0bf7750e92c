"""What a vendor sent: the good fixes, and what is wrong with each of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from schemas.fix import NO_POSITION, NativeFix

MAX_EVENTS: Final = 5_000
"""Most events in one request."""
_EVENTS: Final = TypeAdapter(list[NativeFix])
_EVENT: Final = TypeAdapter(NativeFix)
_TOO_DEEP: Final = "is nested too deeply; send a flat object"


class Rejected(BaseModel):
    """One event that was not accepted."""

    index: int = Field(description="Position in the array, from 0; 0 for a single event")
    field: str = Field(description="Which field is wrong; empty when the event as a whole is")
    reason: str = Field(description="Value, limit and remedy")


class Answer(BaseModel):
    """What became of a request."""

    accepted: int = Field(description="Events that Kafka has acknowledged")
    rejected: list[Rejected] = Field(description="Events to correct and send again")


class Refusal(BaseModel):
    """Why nothing of a request was looked at."""

    detail: str = Field(description="Value, limit and remedy")


class UnreadableError(ValueError):
    """The body is not JSON, or neither an event nor an array of events."""


class TooManyError(ValueError):
    """The array holds more events than one request may."""


def parse(body: bytes) -> tuple[Sequence[NativeFix], list[Rejected]]:
    """Return the good events of a body and what is wrong with the others.

    Raises `UnreadableError` and `TooManyError` when nothing of the body can be taken.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f"the body is not JSON: {error}; send JSON in UTF-8") from error
    if isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise UnreadableError(
            f"the body is a {type(document).__name__}; send one event as an object, or an array"
        )
    if len(document) > MAX_EVENTS:
        raise TooManyError(
            f"{len(document)} events in one request, limit {MAX_EVENTS}; send them in parts"
        )
    try:
        return _EVENTS.validate_json(orjson.dumps(document)), []
    except (ValidationError, orjson.JSONEncodeError):
        return _one_by_one(document)


def _one_by_one(events: Sequence[Any]) -> tuple[list[NativeFix], list[Rejected]]:
    good: list[NativeFix] = []
    rejected: list[Rejected] = []
    for index, event in enumerate(events):
        try:
            good.append(_EVENT.validate_json(orjson.dumps(event)))
        except ValidationError as error:
            faults = error.errors(include_url=False)
            rejected += [
                Rejected(
                    index=index,
                    field=".".join(map(str, fault["loc"])),
                    reason=_reason(fault),
                )
                for fault in faults
                if fault["type"] != NO_POSITION
            ]
            rejected += [
                Rejected(index=index, field=name, reason="is missing, and private_mode is not true")
                for name in ([] if _too_deep(faults) else _missing_position(event))
            ]
        except orjson.JSONEncodeError:
            rejected.append(Rejected(index=index, field="", reason=_TOO_DEEP))
    return good, rejected


def _too_deep(faults: Sequence[Any]) -> bool:
    """Return whether the parser gave up: it was JSON, but deeper than it goes."""
    return any(fault["type"] == "json_invalid" for fault in faults)


def _missing_position(event: Any) -> list[str]:
    """Return which of an event's coordinates are not there though they should be."""
    if not isinstance(event, dict) or event.get("private_mode") is True:
        return []
    return [name for name in ("lat", "lon") if event.get(name) is None]


def _reason(fault: Any) -> str:
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "timezone_aware":
        return f"{fault['input']!r} has no offset from UTC; send for example 2026-01-31T08:00:00Z"
    if fault["type"] == "extra_forbidden":
        return "is not a field of this event; see /docs for those that are"
    if _too_deep([fault]):
        return _TOO_DEEP
    return f"{fault['msg']}, got {str(fault['input'])[:100]!r}"
