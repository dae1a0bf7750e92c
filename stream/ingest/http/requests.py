"""What a vendor sent: the good events, and what is wrong with each of the others.

Work on what is wrong is bounded, whoever sends it: an event that is not good and longer than 4 KiB
is not looked into, at most ten faults of an event and a hundred of a request are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
import orjson
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from schemas.errors import UserError
from schemas.events.fix import NO_POSITION, NativeFix
from stream.ingest.http.event_codec import PushedFix, decode_event, decode_events

MAX_EVENTS: Final = 5_000
"""Most events in one request."""
MAX_BAD_EVENT_BYTES: Final = 4_096
"""A longer event that is not good is refused for its length; the longest good one has 600 bytes."""
MAX_EVENT_FAULTS: Final = 10
MAX_REQUEST_FAULTS: Final = 100
MAX_VEHICLES_TOLD: Final = 10
MAX_VALUES: Final = 1_000_000
"""Most values of a body that is looked into: two hundred for each of the most events."""
_SHOWN: Final = 100
"""Characters of a field's name, or of its value, that are told."""
_EVENT: Final = TypeAdapter(NativeFix)
_ONE: Final = msgspec.json.Decoder(msgspec.Raw)
_MANY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_T = TypeVar("_T")
_TOO_DEEP: Final = "is nested too deeply; send a flat object"


class Rejected(BaseModel):
    """One event that was not accepted."""

    index: int = Field(description="Position in the array, from 0; 0 for a single event")
    field: str = Field(description="Which field is wrong; empty when the event as a whole is")
    reason: str = Field(description="Value, limit and remedy")


class KeptAside(BaseModel):
    """Accepted events of vehicles that other vendors report: they wait for the municipality."""

    events: int = Field(description="How many of the accepted ones")
    vehicles: list[str] = Field(description=f"Whose they are: {MAX_VEHICLES_TOLD} ids at most")
    detail: str = Field(description="Why, and what to do")


class Answer(BaseModel):
    """What became of a request."""

    accepted: int = Field(description="Events that Kafka has acknowledged; the rest is rejected")
    rejected: list[Rejected] = Field(
        description=f"What to correct before it is sent again: at most {MAX_EVENT_FAULTS} faults "
        f"of an event and {MAX_REQUEST_FAULTS} of a request"
    )
    untold: int | None = Field(
        default=None,
        description="How many more faults there are; absent when there are none",
    )
    other_vendor: KeptAside | None = Field(
        default=None,
        description="Events that are kept until the municipality allows this vendor to report "
        "their vehicles; absent when there are none",
    )


class Refusal(BaseModel):
    """Why nothing of a request was looked at."""

    detail: str = Field(description="Value, limit and remedy")


class UnreadableError(UserError):
    """The body is not JSON, or neither an event nor an array of events."""


class TooManyError(UserError):
    """The array holds more events than one request may."""


@dataclass(slots=True)
class Parsed:
    """A body: its good events, with their places in it, and the faults of the others."""

    good: Sequence[PushedFix]
    places: Sequence[int]
    count: int
    """Of all events."""
    rejected: list[Rejected] = field(default_factory=list)
    untold: int = 0

    def reject(self, index: int, faults: Sequence[tuple[str, str]], more: int = 0) -> None:
        """Tell the faults of an event, pairs of field and reason, as far as there is room."""
        room = min(MAX_EVENT_FAULTS, MAX_REQUEST_FAULTS - len(self.rejected))
        self.rejected += [
            Rejected(index=index, field=name, reason=reason) for name, reason in faults[:room]
        ]
        self.untold += max(0, len(faults) - room) + more


def parse_good(body: bytes) -> Parsed | None:
    """Return a body in which everything is good, else None; quick whatever the body is.

    Raises `TooManyError` for more than 5,000 events.
    """
    events = decode_events(body)
    if events is None:
        return None
    _refuse_too_many(len(events))
    return Parsed(events, range(len(events)), len(events))


def parse(body: bytes) -> Parsed:
    """Return the good events of a body and what is wrong with the others.

    Raises `UnreadableError` and `TooManyError` when nothing of the body can be taken.
    """
    parsed = parse_good(body)
    return _one_by_one(_split(body)) if parsed is None else parsed


def _refuse_too_many(count: int) -> None:
    if count > MAX_EVENTS:
        raise TooManyError(f"{count} events in one request, limit {MAX_EVENTS}; send them in parts")


def _split(body: bytes) -> Sequence[msgspec.Raw]:
    """Return the events of a body without a look into them."""
    values = body.count(b",") + 1
    if values > MAX_VALUES:
        raise TooManyError(
            f"some {values:,} values in one request, limit {MAX_VALUES:,}; send the fields of "
            "/docs only, and fewer events"
        )
    first = body.lstrip()[:1]
    if first == b"{":
        return [_decoded(_ONE, body)]
    if first != b"[":
        kind = type(_unreadable_unless_json(body)).__name__
        raise UnreadableError(f"the body is a {kind}; send one event as an object, or an array")
    raws = _decoded(_MANY, body)
    _refuse_too_many(len(raws))
    return raws


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """Return parts of a body as they are written: nothing is made of them, whatever they hold."""
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"the body is not JSON: {error}; send JSON in UTF-8") from error


def _unreadable_unless_json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnreadableError(f"the body is not JSON: {error}; send JSON in UTF-8") from error


def _one_by_one(raws: Sequence[msgspec.Raw]) -> Parsed:
    good: list[PushedFix] = []
    places: list[int] = []
    parsed = Parsed(good, places, len(raws))
    for index, raw in enumerate(raws):
        event = decode_event(raw)
        if event is None:
            event = _look_into(parsed, index, bytes(raw))
        if event is not None:
            good.append(event)
            places.append(index)
    return parsed


def _look_into(parsed: Parsed, index: int, raw: bytes) -> PushedFix | None:
    """Note what is wrong with an event; return it if nothing is, such as with a field twice."""
    if len(raw) > MAX_BAD_EVENT_BYTES:
        length = f"is {len(raw):,} bytes long, limit {MAX_BAD_EVENT_BYTES:,}"
        parsed.reject(index, [("", f"{length}; send the fields of /docs only")])
        return None
    try:
        document = _unreadable_unless_json(raw)
        return PushedFix.of(_EVENT.validate_json(raw))
    except ValidationError as error:
        if len(parsed.rejected) >= MAX_REQUEST_FAULTS:
            parsed.untold += error.error_count()
        else:
            parsed.reject(index, list(_faults(error, document)))
        return None


def _faults(error: ValidationError, event: Any) -> Iterator[tuple[str, str]]:
    """Yield field and reason of each fault of an event."""
    faults = error.errors(include_url=False)
    for fault in faults:
        if fault["type"] != NO_POSITION:
            yield ".".join(map(str, fault["loc"]))[:_SHOWN], _reason(fault)
    if not any(map(_is_too_deep, faults)):
        for name in _missing_position(event):
            yield name, "is missing, and private_mode is not true"


def _is_too_deep(fault: Any) -> bool:
    """Return whether the parser gave up: it was JSON, but deeper than it goes."""
    return bool(fault["type"] == "json_invalid")


def _missing_position(event: Any) -> list[str]:
    """Return which of an event's coordinates are not there though they should be."""
    if not isinstance(event, dict) or event.get("private_mode") is True:
        return []
    return [name for name in ("lat", "lon") if event.get(name) is None]


def _reason(fault: Any) -> str:
    if fault["type"] == "missing":
        return "is missing"
    if fault["type"] == "timezone_aware":
        written = fault["input"][:_SHOWN]
        return f"{written!r} has no offset from UTC; send for example 2026-01-31T08:00:00Z"
    if fault["type"] == "extra_forbidden":
        return "is not a field of this event; see /docs for those that are"
    if _is_too_deep(fault):
        return _TOO_DEEP
    return f"{fault['msg']}, got {str(fault['input'])[:_SHOWN]!r}"
