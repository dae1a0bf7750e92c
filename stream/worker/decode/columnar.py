"""The fast path: whole messages of plain fixes, decoded and judged column by column.

Nearly every message is a batch in which nothing is out of the ordinary, and pydantic, an object an
item and a row an object cost more on it than the fold does. Here msgspec decodes such messages,
each value within its bounds, and numpy holds what is asked of a fix against whole columns.

The fast path decides nothing by itself: what it takes is a subset of what
`schemas.events.fix.FixBatch` takes, with the same values, and a message with anything else in it,
right or wrong, is left to `stream.worker.decode.records` (`tests/property/test_columnar_decoder.py`
holds both against each other). See ADR 0008.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from processors.timeline.validation import Arrival, Receipt
from processors.trackers import Tracker
from schemas.events.fix import FIX_FIELDS, MAX_FIXES_PER_BATCH
from schemas.events.fix_struct import FixStruct
from schemas.events.history import HistoryRange
from schemas.ids import MUNICIPALITY_PATTERN, SCOPED_PATTERN, municipality_of
from stream.worker.decode.records import DecodedFix, Record

_MUNICIPALITY: Final = re.compile(MUNICIPALITY_PATTERN.strip("^$"), re.ASCII)
_SCOPED: Final = re.compile(SCOPED_PATTERN.strip("^$"), re.ASCII)
_VENDOR_LENGTH: Final = 60
_DIGITS: Final = bytes(ord("0") if chr(code).isdigit() else code for code in range(128)) + bytes(
    range(128, 256)
)
_SHAPES: Final = frozenset(
    b"0000-00-00T00:00:00" + fraction + b"Z"
    for fraction in (b"", *(b"." + b"0" * digits for digits in range(1, 7)))
)
"""Of instants in UTC, with every digit a 0. pydantic takes other ways of writing, too."""
_FLOATS: Final = tuple(field.name for field in FIX_FIELDS if field.kind is float)
_FLAGS: Final = tuple(field.name for field in FIX_FIELDS if field.kind is bool)
_CODES: Final = {None: -1, False: 0, True: 1}
_NO_HISTORY: Final = HistoryRange(
    datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
)

Mask = NDArray[np.bool_]


class PlainFix(FixStruct, gc=False, forbid_unknown_fields=True):
    """A fix with a position; `recorded_at` is text until `decode` has read it."""

    recorded_at: Any


class _Envelope(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A `FixBatch` of plain fixes."""

    municipality_id: str
    vendor: str
    received_at: str
    fixes: list[PlainFix]
    history_since: str | None = None
    history_until: str | None = None


_decoder: Final = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True, slots=True)
class PlainMessage:
    """What the reports of one message have in common."""

    record: Record
    municipality_id: str
    vendor: str
    received_at: datetime
    history: HistoryRange | None
    receipt: Receipt = field(init=False)
    """When it was received and from whom: one object for all of its fixes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "receipt", Receipt(self.received_at, self.vendor))


@dataclass(slots=True, eq=False)
class FixColumns:
    """Plain fixes of some messages, in the order in which they came.

    Arrays have one element a fix. Of `floats` NaN stands for what was not reported, of `flags` -1;
    both are by the names of fields. `vehicle` and `message` are indices into `vehicle_ids` and
    `messages`; `number` is the position of a fix within its message.
    """

    messages: list[PlainMessage]
    vehicle_ids: list[str]
    reports: NDArray[np.object_]
    message: NDArray[np.int64]
    number: NDArray[np.int64]
    vehicle: NDArray[np.int64]
    recorded_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    floats: dict[str, NDArray[np.float64]]
    flags: dict[str, NDArray[np.int8]]
    sender: NDArray[np.int64] | None = None
    """As `vehicle`, of the tracker that sent a fix, where any is in a vehicle of another id."""

    def __len__(self) -> int:
        return len(self.reports)

    def only(self, which: Mask | NDArray[np.int64]) -> FixColumns:
        """Return some of the fixes: those of a mask, or of indices in their order."""
        return FixColumns(
            self.messages,
            self.vehicle_ids,
            self.reports[which],
            self.message[which],
            self.number[which],
            self.vehicle[which],
            self.recorded_us[which],
            self.received_us[which],
            {name: values[which] for name, values in self.floats.items()},
            {name: values[which] for name, values in self.flags.items()},
            None if self.sender is None else self.sender[which],
        )

    def carried(self, trackers: Mapping[str, Tracker]) -> tuple[FixColumns, Mask | None]:
        """Return the fixes by the vehicles that their trackers were in, and which are of none.

        What is of none keeps its sender as its vehicle. Without a tracker of these among the
        senders nothing changes, and the mask is None.
        """
        is_tracker = np.array([vehicle_id in trackers for vehicle_id in self.vehicle_ids])
        if not is_tracker.any():
            return self, None
        vehicle_ids = {vehicle_id: code for code, vehicle_id in enumerate(self.vehicle_ids)}
        vehicle, of_none = self.vehicle.copy(), np.zeros(len(self), bool)
        rows = np.flatnonzero(is_tracker[self.vehicle])
        rows = rows[np.argsort(self.vehicle[rows], kind="stable")]
        for where in np.split(rows, np.flatnonzero(np.diff(self.vehicle[rows])) + 1):
            if not len(where):  # all fixes of the trackers have been taken out
                continue
            tracker = trackers[self.vehicle_ids[self.vehicle[where[0]]]]
            codes = np.array(
                [
                    -1 if carrier is None else vehicle_ids.setdefault(carrier, len(vehicle_ids))
                    for carrier in tracker.vehicles
                ]
            )[tracker.places_at(self.recorded_us[where])]
            vehicle[where] = np.where(codes < 0, vehicle[where], codes)
            of_none[where] = codes < 0
        carried = replace(self, vehicle_ids=list(vehicle_ids), vehicle=vehicle, sender=self.vehicle)
        return carried, of_none

    def receipts(self, which: slice) -> list[Receipt]:
        """Return when some of the fixes were received, and from whom."""
        return [self.messages[index].receipt for index in self.message[which].tolist()]

    def senders(self) -> Iterator[tuple[str, PlainMessage]]:
        """Yield each id that is sent with each message that sends it. Call it before `carried`."""
        pairs = np.unique(self.message * len(self.vehicle_ids) + self.vehicle)
        for message, vehicle in zip(*np.divmod(pairs, len(self.vehicle_ids)), strict=True):
            yield self.vehicle_ids[vehicle], self.messages[message]

    def of_other_vendors(self, vendors: Mapping[str, Sequence[str]]) -> Mask | None:
        """Return which fixes come from a vendor that may not report their id; None: no one.

        `vendors` are those that may, by the id that is sent. Call it before `carried`.
        """
        names = dict.fromkeys(message.vendor for message in self.messages)
        codes = {vendor: code for code, vendor in enumerate(names)}
        allowed = np.zeros((len(self.vehicle_ids), len(codes)), bool)
        for row, vehicle_id in enumerate(self.vehicle_ids):
            for vendor in vendors.get(vehicle_id, ()):
                if vendor in codes:
                    allowed[row, codes[vendor]] = True
        if allowed.all():
            return None
        of_message = np.array([codes[message.vendor] for message in self.messages])
        mask: Mask = ~allowed[self.vehicle, of_message[self.message]]
        return mask if mask.any() else None

    def history_us(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return of each message from when and until when it declares history, in microseconds.

        Of one that declares none the end is before the start.
        """
        bounds = [message.history or _NO_HISTORY for message in self.messages]
        since = _microseconds([since.isoformat() for since, _ in bounds])
        return since, _microseconds([until.isoformat() for _, until in bounds])

    def item(self, index: int) -> DecodedFix:
        """Return one of the fixes as what the slower way of a single fix takes."""
        report: PlainFix = self.reports[index]
        message = self.messages[self.message[index]]
        arrival = Arrival(report.as_fix(), *message.receipt)
        return DecodedFix(
            arrival, message.vendor, message.record, int(self.number[index]), message.history
        )


def decode(records: Sequence[Record]) -> tuple[FixColumns | None, list[Record]]:
    """Return the fixes of all messages that are plain, and the records that are not."""
    messages: list[PlainMessage] = []
    reports: list[PlainFix] = []
    instants: list[list[str]] = []
    counts: list[int] = []
    others: list[Record] = []
    for record in records:
        plain = _plain(record)
        if plain is None:
            others.append(record)
            continue
        message, fixes, written = plain
        messages.append(message)
        reports += fixes
        instants.append(written)
        counts.append(len(fixes))
    if not messages:
        return None, others
    columns = _columns(messages, reports, instants, np.array(counts))
    strange = np.unique(columns.message[_strange(columns)])
    if len(strange):
        others += [messages[index].record for index in strange]
        columns = columns.only(~np.isin(columns.message, strange))
        if not len(columns):
            return None, others
    return columns, others


def _plain(record: Record) -> tuple[PlainMessage, list[PlainFix], list[str]] | None:
    """Return what a message says, if its form is plain, and its instants as they are written.

    Values are judged later, of all messages at once.
    """
    if record.value is None:
        return None
    try:
        batch = _decoder.decode(record.value)
        fixes = batch.fixes
        written = [fix.recorded_at for fix in fixes]
        declared = [
            instant for instant in (batch.history_since, batch.history_until) if instant is not None
        ]
        if not (_are_plain(written) and _are_plain([batch.received_at, *declared])):
            return None
        received_at = datetime.fromisoformat(batch.received_at)
        history = HistoryRange(*map(datetime.fromisoformat, declared)) if declared else None
        for fix, recorded_at in zip(fixes, map(datetime.fromisoformat, written), strict=True):
            fix.recorded_at = recorded_at
    except (ValueError, TypeError, RecursionError):  # no JSON, not of these types, no such day
        return None
    if not (
        0 < len(fixes) <= MAX_FIXES_PER_BATCH
        and _MUNICIPALITY.fullmatch(batch.municipality_id)
        and 0 < len(batch.vendor) <= _VENDOR_LENGTH
        and (history is None or history.since <= history.until)
    ):
        return None
    message = PlainMessage(record, batch.municipality_id, batch.vendor, received_at, history)
    return message, fixes, written


def _are_plain(instants: list[str]) -> bool:
    """Return whether all instants are of our shapes, in which nothing is left to interpretation."""
    in_utc = "\n".join(instants).replace("+00:00", "Z")
    return _SHAPES.issuperset(in_utc.encode().translate(_DIGITS).split(b"\n"))


def _columns(
    messages: list[PlainMessage],
    reports: list[PlainFix],
    instants: list[list[str]],
    counts: NDArray[np.int64],
) -> FixColumns:
    message = np.repeat(np.arange(len(counts)), counts)
    starts = np.cumsum(counts) - counts
    ids = [report.vehicle_id for report in reports]
    codes = {vehicle_id: code for code, vehicle_id in enumerate(dict.fromkeys(ids))}
    received = _microseconds([each.received_at.isoformat() for each in messages])
    objects = np.empty(len(reports), object)
    objects[:] = reports
    return FixColumns(
        messages=messages,
        vehicle_ids=list(codes),
        reports=objects,
        message=message,
        number=np.arange(len(reports)) - starts[message],
        vehicle=np.fromiter(map(codes.__getitem__, ids), np.int64, len(ids)),
        recorded_us=_microseconds([instant for written in instants for instant in written]),
        received_us=received[message],
        floats={name: _floats(list(map(attrgetter(name), reports))) for name in _FLOATS},
        flags={name: _flags(map(attrgetter(name), reports)) for name in _FLAGS},
    )


def _floats(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return values as an array, None as NaN, which no JSON says; quick where all or none are."""
    unknown = values.count(None)
    if unknown == len(values):
        return np.full(len(values), np.nan)
    if unknown:
        return np.array(values, np.float64)
    return np.fromiter(values, np.float64, len(values))


def _flags(values: Iterable[bool | None]) -> NDArray[np.int8]:
    """Return truth values as 0 and 1, None as -1."""
    return np.array([_CODES[value] for value in values], np.int8)


def _microseconds(instants: list[str]) -> NDArray[np.int64]:
    """Return instants of one of our shapes as microseconds since 1970."""
    bare = "\n".join(instants).replace("+00:00", "").replace("Z", "").split("\n")
    return np.array(bare, "M8[us]").view(np.int64)


def _strange(columns: FixColumns) -> Mask:
    """Return which fixes are not plain: without a position, or of another's vehicle."""
    strange: Mask = np.isnan(columns.floats["lat"]) | np.isnan(columns.floats["lon"])
    senders = [message.municipality_id for message in columns.messages]
    owners = {owner: code for code, owner in enumerate(dict.fromkeys(senders))}
    owned = [
        owners.get(municipality_of(vehicle_id), -1) if _SCOPED.fullmatch(vehicle_id) else -1
        for vehicle_id in columns.vehicle_ids
    ]
    of_message = np.array([owners[owner] for owner in senders])
    strange |= np.array(owned)[columns.vehicle] != of_message[columns.message]
    return strange
