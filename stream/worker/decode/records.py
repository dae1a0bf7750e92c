"""What a Kafka record says: fixes, and what in it cannot be used."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from infra.database.stream.progress import DeadLetterRecord, Partition, event_id
from processors.timeline.validation import Arrival
from schemas.events.dead_letters import DeadLetterReason
from schemas.events.fix import Fix, FixBatch
from schemas.events.history import HistoryRange
from schemas.events.outgoing import DeadLetter
from schemas.ids import MUNICIPALITY_PATTERN, municipality_of
from stream.process.outages import Fault, judge

RecordPlace = tuple[Partition, int]
"""A partition and an offset in it."""

_FIX: Final = TypeAdapter(Fix)
_DETAIL_LIMIT: Final = 2_000
_ERROR_LIMIT: Final = 1_500
_VENDOR_LENGTH: Final = 60
_MUNICIPALITY: Final = re.compile(MUNICIPALITY_PATTERN.strip("^$"), re.ASCII)


@dataclass(frozen=True, slots=True)
class Record:
    """A message as Kafka delivered it; `received_at` is the broker's time of it, if it can be."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    received_at: datetime | None

    @property
    def source(self) -> Partition:
        """The partition that it is of."""
        return Partition(self.topic, self.partition)

    @property
    def place(self) -> RecordPlace:
        """Where it lies in the stream."""
        return Partition(self.topic, self.partition), self.offset


class DecodedFix(NamedTuple):
    """One usable fix and where it came from."""

    arrival: Arrival
    vendor: str
    record: Record
    number: int | None
    """Its position within its message, from 0; None where it is not known."""
    history: HistoryRange | None = None
    """The range of history that its message declares."""


@dataclass(slots=True)
class Decoded:
    """What came out of some records."""

    items: list[DecodedFix] = field(default_factory=list)
    letters: list[DeadLetterRecord] = field(default_factory=list)


def decode(records: Iterable[Record]) -> Decoded:
    """Return the fixes of some records, in order, and dead letters for what is no fix.

    A record is a `FixBatch`, as the gateway writes it.
    """
    decoded = Decoded()
    for record in records:
        _decode(record, decoded)
    return decoded


def _decode(record: Record, into: Decoded) -> None:
    value = record.value
    if value is None:
        into.letters.append(
            letter(record, DeadLetterReason.EMPTY, "the message has no value; send a fix")
        )
        return
    try:
        batch = FixBatch.model_validate_json(value)
    except ValidationError as error:
        _decode_one_by_one(record, value, error, into)
        return
    received_at, vendor, own = batch.received_at, batch.vendor, f"{batch.municipality_id}/"
    history = batch.history
    for index, fix in enumerate(batch.fixes):
        item = DecodedFix(
            Arrival(fix.discreet(), received_at, vendor), vendor, record, index, history
        )
        if fix.vehicle_id.startswith(own):
            into.items.append(item)
        else:
            into.letters.append(_wrong_tenant(item, batch.municipality_id))


def _decode_one_by_one(record: Record, value: bytes, error: ValidationError, into: Decoded) -> None:
    """Take what is good of a batch with bad fixes."""
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as fault:
        into.letters.append(
            letter(record, DeadLetterReason.NOT_JSON, f"{fault}; send JSON in UTF-8")
        )
        return
    if isinstance(document, dict) and "fixes" not in document and "vehicle_id" in document:
        # Whoever may write to the topic would choose municipality, vendor and receipt.
        detail = (
            "the fix has no envelope, so that nobody vouches for its municipality and its receipt; "
            "push it to POST /v1/events with a key"
        )
        into.letters.append(letter(record, DeadLetterReason.NO_ENVELOPE, detail))
        return
    if not isinstance(document, dict) or not isinstance(document.get("fixes"), list):
        into.letters.append(letter(record, DeadLetterReason.NOT_A_FIX, _explain(error)))
        return
    try:
        # The envelope is checked with a fix that is known to be good.
        envelope = FixBatch.model_validate({**document, "fixes": [_SOUND]})
    except ValidationError as fault:
        into.letters.append(letter(record, DeadLetterReason.BAD_ENVELOPE, _explain(fault)))
        return
    for index, loose in enumerate(document["fixes"]):
        _decode_single(record, index, loose, envelope, into)


def _decode_single(
    record: Record, index: int, loose: Any, envelope: FixBatch, into: Decoded
) -> None:
    try:
        fix = _FIX.validate_json(orjson.dumps(loose))
    except ValidationError as error:
        into.letters.append(
            letter(
                record,
                DeadLetterReason.BAD_FIX,
                _explain(error),
                index=index,
                value=_alone(envelope, loose),
            )
        )
        return
    fix = fix.discreet()
    item = DecodedFix(
        Arrival(fix, envelope.received_at, envelope.vendor),
        envelope.vendor,
        record,
        index,
        envelope.history,
    )
    if municipality_of(fix.vehicle_id) == envelope.municipality_id:
        into.items.append(item)
    else:
        into.letters.append(_wrong_tenant(item, envelope.municipality_id))


def _wrong_tenant(item: DecodedFix, municipality_id: str) -> DeadLetterRecord:
    return fix_letter(
        item,
        DeadLetterReason.FOREIGN_VEHICLE,
        f"vehicle {item.arrival.fix.vehicle_id} is not of municipality {municipality_id}; send it "
        "with a key of its own municipality",
        municipality_id,
    )


_SOUND: Final = {
    "vehicle_id": "a/a",
    "recorded_at": "2000-01-01T00:00:00Z",
    "lat": 0,
    "lon": 0,
}


def letter(  # noqa: PLR0913 - what a dead letter says beside its record
    record: Record,
    reason: DeadLetterReason,
    detail: str,
    *,
    index: int | None = None,
    value: bytes | None = None,
    vehicle_id: str | None = None,
) -> DeadLetterRecord:
    """Return the dead letter of a record, or of the item `index` of it as a message `value`."""
    message = value if value is not None else record.value or b""
    vendor, municipality_id = _declared(message)
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
        vendor=vendor,
        municipality_id=municipality_id,
        vehicle_id=vehicle_id,
        message_value=base64.b64encode(message).decode(),
    )
    return DeadLetterRecord(event, record.key, message)


def fix_letter(
    item: DecodedFix, reason: DeadLetterReason, detail: str, municipality_id: str | None = None
) -> DeadLetterRecord:
    """Return the dead letter of one fix, sent for a municipality; by default its vehicle's.

    Its message says that municipality, so that a foreign vehicle is refused when replayed, too, and
    the range of history that was declared.
    """
    fix = item.arrival.fix
    sender = municipality_id or municipality_of(fix.vehicle_id)
    since, until = item.history or (None, None)
    message = FixBatch(
        municipality_id=sender,
        vendor=item.vendor,
        received_at=item.arrival.received_at,
        history_since=since,
        history_until=until,
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


def unprocessable_letter(record: Record, error: Exception) -> DeadLetterRecord:
    """Return the dead letter of a record that fails on its own, through a fault of ours."""
    if judge(error) is Fault.SESSION:
        what = "the database ended our session or statement over it each time, and took others"
    else:
        what = "a fault of this program"
    # An error may cite what no text in the database may hold, such as half a surrogate pair.
    name = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    detail = f"{name[:_ERROR_LIMIT]}; {what}: report it, and replay this letter once it is mended"
    return letter(record, DeadLetterReason.UNPROCESSABLE, detail)


def as_taken(item: DecodedFix) -> DecodedFix:
    """Return the item of a fix that was taken, with a range of history by which it is once more.

    What was declared is not stored with a fix. However old it is, it is no fault of its clock.
    """
    at = item.arrival.fix.recorded_at
    return item._replace(history=HistoryRange(at, at))


def conflict_letter(item: DecodedFix, vehicle_id: str) -> DeadLetterRecord:
    """Return the dead letter of a fix that another one of its vehicle and instant came before."""
    return fix_letter(
        as_taken(item),
        DeadLetterReason.CONFLICTING_FIX,
        f"another fix of {vehicle_id} at {item.arrival.fix.recorded_at.isoformat()} says "
        "something else, or is of another tracker, and comes first in our order; send one fix an "
        "instant",
    )


def _declared(message: bytes) -> tuple[str | None, str | None]:
    """Return the vendor and the municipality that a message says in its envelope, if it does.

    Nobody has vouched for them where the message is not one of the gateway's.
    """
    try:
        document = orjson.loads(message)
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(document, dict):
        return None, None
    vendor, municipality_id = document.get("vendor"), document.get("municipality_id")
    is_name = isinstance(vendor, str) and vendor.isprintable() and len(vendor) <= _VENDOR_LENGTH
    is_id = isinstance(municipality_id, str) and _MUNICIPALITY.fullmatch(municipality_id)
    return (vendor or None) if is_name else None, municipality_id if is_id else None


def _alone(envelope: FixBatch, loose: Any) -> bytes:
    """Return one item of a batch as a message of its own."""
    shell = envelope.model_dump(mode="json", exclude={"fixes"}, exclude_none=True)
    return orjson.dumps({**shell, "fixes": [loose]})


def _explain(error: ValidationError) -> str:
    """Return what is wrong, field by field."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or 'message'}: {fault['msg']}, got "
        f"{str(fault['input'])[:100]!r}"
        for fault in error.errors()[:5]
    )
