"""Events as the gateway takes them from JSON and writes them to Kafka, without pydantic.

`NativeFix` says what an event is, and what is wrong with one. `PushedFix` decodes the good ones,
and only them, in a fifth of the time (`tests/property/test_events.py` holds both against each
other); it is also what a message to Kafka is made of, so that there is nothing in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.events.fix import PLACE_FIELDS, NativeFix
from schemas.events.fix_struct import FixStruct
from schemas.ids import LOCAL_PATTERN


class PushedFix(FixStruct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A fix as a vendor pushes it; with a scoped vehicle id, one as it travels in Kafka."""

    # Of Python's, `$` would let a line feed through.
    vehicle_id: Annotated[str, Meta(pattern=rf"\A{LOCAL_PATTERN.strip('^$')}\Z")]
    recorded_at: Annotated[datetime, Meta(tz=True)]
    private_mode: bool = False
    type: Literal["fix"] = "fix"

    @classmethod
    def of(cls, fix: NativeFix) -> PushedFix:
        """Return what pydantic has accepted, discreet already."""
        return cls(**vars(fix.discreet()))

    def settle(self) -> bool:
        """Make the event what may be kept; return whether it is good.

        Its instant becomes UTC, and in private mode it loses what tells the place.
        """
        if self.recorded_at.tzinfo is not UTC:
            try:
                self.recorded_at = self.recorded_at.astimezone(UTC)
            except OverflowError:
                return False
        if self.private_mode:
            for name in PLACE_FIELDS:
                setattr(self, name, None)
            return True
        return self.lat is not None and self.lon is not None


class Message(msgspec.Struct, gc=False, omit_defaults=True):
    """The value of one Kafka message, as `schemas.events.fix.FixBatch` reads it."""

    municipality_id: str
    vendor: str
    received_at: datetime
    fixes: list[PushedFix]
    history_since: datetime | None = None
    history_until: datetime | None = None


_one: Final = msgspec.json.Decoder(PushedFix)
_many: Final = msgspec.json.Decoder(list[PushedFix])
_encoder: Final = msgspec.json.Encoder()
encode: Final = _encoder.encode


def decode_event(raw: bytes | msgspec.Raw) -> PushedFix | None:
    """Return one event, or None for what is not good."""
    try:
        event = _one.decode(raw)
    except (ValueError, RecursionError):
        return None
    return event if event.settle() else None


def decode_events(body: bytes) -> Sequence[PushedFix] | None:
    """Return the events of a body in which all are good, else None."""
    if body.lstrip()[:1] != b"[":
        event = decode_event(body)
        return None if event is None else (event,)
    try:
        events = _many.decode(body)
    except (ValueError, RecursionError):
        return None
    for event in events:
        if not event.settle():
            return None
    return events
