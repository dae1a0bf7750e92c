"""What a Kafka record says: fixes, and what in it cannot be used."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from infra.database.stream import Letter, event_id
from processors.arrivals import Arrival
from schemas.events import DeadLetter
from schemas.fix import Fix, FixBatch
from schemas.ids import municipality_of

CONFLICTING: Final = "conflicting-fix"

_FIX: Final = TypeAdapter(Fix)
_DETAIL_LIMIT: Final = 2_000


@dataclass(frozen=True, slots=True)
class Record:
    """A message as Kafka delivered it; `received_at` is the broker's time of it, if it can be."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    received_at: datetime | None


class Item(NamedTuple):
    """One usable fix and where it came from."""

    arrival: Arrival
    vendor: str
    record: Record
    number: int | None
    """Its position within its message, from 0; None for a bare fix."""


@dataclass(slots=True)
class Decoded:
    """What came out of some records."""

    items: list[Item] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)


def decode(records: Iterable[Record]) -> Decoded:
    """Return the fixes of some records, in order, and dead letters for what is no fix.

    A record is a `FixBatch`, or a single bare `Fix` from a vendor that produces to Kafka itself.
    """
    decoded = Decoded()
    for record in records:
        _decode(record, decoded)
    return decoded


def _decode(record: Record, into: Decoded) -> None:
    value = record.value
    if value is None:
        into.letters.append(letter(record, "empty", "the message has no value; send a fix"))
        return
    try:
        batch = FixBatch.model_validate_json(value)
    except ValidationError as error:
        _decode_one_by_one(record, value, error, into)
        return
    received_at, vendor, own = batch.received_at, batch.vendor, f"{batch.municipality_id}/"
    for index, fix in enumerate(batch.fixes):
        item = Item(Arrival(fix.discreet(), received_at), vendor, record, index)
        if fix.vehicle_id.startswith(own):
            into.items.append(item)
        else:
            into.letters.append(_foreign(item, batch.municipality_id))


def _decode_one_by_one(record: Record, value: bytes, error: ValidationError, into: Decoded) -> None:
    """Take what is good of a batch with bad fixes; or take the record as a bare fix."""
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as fault:
        into.letters.append(letter(record, "not-json", f"{fault}; send JSON in UTF-8"))
        return
    if isinstance(document, dict) and "fixes" not in document and "vehicle_id" in document:
        _take_loose(record, None, document, None, into)
        return
    if not isinstance(document, dict) or not isinstance(document.get("fixes"), list):
        into.letters.append(letter(record, "not-a-fix", _explain(error)))
        return
    try:
        # The envelope is checked with a fix that is known to be good.
        envelope = FixBatch.model_validate({**document, "fixes": [_SOUND]})
    except ValidationError as fault:
        into.letters.append(letter(record, "bad-envelope", _explain(fault)))
        return
    for index, loose in enumerate(document["fixes"]):
        _take_loose(record, index, loose, envelope, into)


def _take_loose(
    record: Record, index: int | None, loose: Any, envelope: FixBatch | None, into: Decoded
) -> None:
    try:
        fix = _FIX.validate_json(orjson.dumps(loose))
    except ValidationError as error:
        into.letters.append(
            letter(record, "bad-fix", _explain(error), index=index, value=_alone(envelope, loose))
        )
        return
    fix = fix.discreet()
    if envelope is None:
        if record.received_at is None:
            # Any instant of ours would be another one when the record is read again.
            detail = (
                "the Kafka timestamp of the message is no instant from 1970 to 9999, so that it is "
                "unknown when the fix was received; replay this letter, or produce it with a "
                "timestamp in milliseconds since 1970"
            )
            into.letters.append(letter(record, "bad-envelope", detail, vehicle_id=fix.vehicle_id))
            return
        into.items.append(Item(Arrival(fix, record.received_at), "kafka", record, index))
        return
    item = Item(Arrival(fix, envelope.received_at), envelope.vendor, record, index)
    if municipality_of(fix.vehicle_id) == envelope.municipality_id:
        into.items.append(item)
    else:
        into.letters.append(_foreign(item, envelope.municipality_id))


def _foreign(item: Item, municipality_id: str) -> Letter:
    return item_letter(
        item,
        "foreign-vehicle",
        f"vehicle {item.arrival.fix.vehicle_id} is not of municipality {municipality_id}; send it "
        "with a key of its own municipality",
    )


_SOUND: Final = {
    "vehicle_id": "a/a",
    "recorded_at": "2000-01-01T00:00:00Z",
    "lat": 0,
    "lon": 0,
}


def letter(  # noqa: PLR0913 - what a dead letter says beside its record
    record: Record,
    reason: str,
    detail: str,
    *,
    index: int | None = None,
    value: bytes | None = None,
    vehicle_id: str | None = None,
) -> Letter:
    """Return the dead letter of a record, or of the item `index` of it as a message `value`."""
    message = value if value is not None else record.value or b""
    event = DeadLetter(
        event_id=event_id(
            "dead-letter",
            record.topic,
            record.partition,
            record.offset,
            index,
            reason,
            hashlib.sha256(message).hexdigest(),
        ),
        reason=reason,
        detail=detail[:_DETAIL_LIMIT].replace("\0", "\\0"),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        index=index,
        municipality_id=municipality_of(vehicle_id) if vehicle_id else None,
        vehicle_id=vehicle_id,
        message_value=base64.b64encode(message).decode(),
    )
    return Letter(event, record.key, message)


def item_letter(item: Item, reason: str, detail: str) -> Letter:
    """Return the dead letter of one fix."""
    fix = item.arrival.fix
    message = FixBatch(
        municipality_id=municipality_of(fix.vehicle_id),
        vendor=item.vendor,
        received_at=item.arrival.received_at,
        fixes=(fix,),
    )
    return letter(
        item.record,
        reason,
        detail,
        index=item.number,
        value=message.model_dump_json(exclude_none=True).encode(),
        vehicle_id=fix.vehicle_id,
    )


def conflict_letter(item: Item, vehicle_id: str) -> Letter:
    """Return the dead letter of a fix that another one of its vehicle and instant came before."""
    return item_letter(
        item,
        CONFLICTING,
        f"another fix of {vehicle_id} at {item.arrival.fix.recorded_at.isoformat()} says "
        "something else, or is of another tracker, and comes first in our order; send one fix an "
        "instant",
    )


def _alone(envelope: FixBatch | None, loose: Any) -> bytes:
    """Return one item of a batch as a message of its own."""
    if envelope is None:
        return orjson.dumps(loose)
    shell = envelope.model_dump(mode="json", exclude={"fixes"})
    return orjson.dumps({**shell, "fixes": [loose]})


def _explain(error: ValidationError) -> str:
    """Return what is wrong, field by field."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'message'}: {fault['msg']}, got "
        f"{str(fault['input'])[:100]!r}"
        for fault in error.errors()[:5]
    )
