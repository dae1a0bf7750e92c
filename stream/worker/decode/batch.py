"""A batch on its way: decoded, judged and shared out to its vehicles, without the database.

What comes in plain messages stays in columns all the way to the rows, unless its vehicle also sent
something that needs a second look: a fix twice, or late, or in a message that is not plain. Then
it goes fix by fix, as `Item`s, in the order of arrival.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from operator import add
from typing import Final

import numpy as np

from infra.database.connection.binary_copy import boolean, encode, float8, text, timestamptz
from infra.database.fleet.master_data import Fleet
from infra.database.stream.progress import Letter, Partition
from infra.database.timeline.tables import FIX
from infra.kafka.client import Topics
from processors.timeline.bulk_fold import Measured, measure
from processors.timeline.validation import fault, suspects
from schemas.events.dead_letters import DeadLetterReason
from schemas.ids import municipality_of
from stream.worker.decode import columnar
from stream.worker.decode.columnar import Columns
from stream.worker.decode.records import Item, Record, item_letter
from stream.worker.decode.records import decode as decode_items
from stream.worker.fold.vehicle import Ground, Known, Writes

Place = tuple[Partition, int]
_REASON_LIMIT: Final = 1_000


@dataclass(slots=True)
class Share:
    """One vehicle's share of a batch: a slice of the plain columns, or items, never both."""

    plain: slice | None = None
    items: list[Item] = field(default_factory=list)


class Batch:
    """Records that follow each other, what they say, and what is written of it."""

    def __init__(
        self,
        records: Sequence[Record],
        moves: Mapping[Partition, tuple[int, int]],
        refused: Mapping[Place, Letter],
    ) -> None:
        """Decode records; those at a refused place become the letters that are given."""
        self.records = records
        self.moves = moves
        """From where to where the progress of each partition goes."""
        self.writes = Writes()
        self.ground: Ground | None = None
        """By which master data the batch was shared out, once it is."""
        self.waiting: dict[str, Share] = {}
        """What is still to be folded, by vehicle."""
        self.of_no_vehicle = False
        """Whether a tracker sent a fix of a time at which it was in no vehicle."""
        self.received: Counter[datetime] = Counter()
        """How many fixes were received when."""
        self._rank = {place_of(record): rank for rank, record in enumerate(records)}
        usable = [record for record in records if place_of(record) not in refused]
        self._columns, others = columnar.decode(usable)
        self._legs: Measured | None = None
        others.sort(key=lambda record: self._rank[place_of(record)])
        decoded = decode_items(others)
        self._items = decoded.items
        self.writes.letters += decoded.letters
        self.writes.letters += [refused[place] for place in self._rank if place in refused]
        self.municipalities = {municipality_of(one.arrival.fix.vehicle_id) for one in self._items}
        for item in self._items:
            self.received[item.arrival.received_at] += 1
        if self._columns is not None:
            counts = np.bincount(self._columns.message, minlength=len(self._columns.messages))
            for message, count in zip(self._columns.messages, counts.tolist(), strict=True):
                if count:
                    self.municipalities.add(message.municipality_id)
                    self.received[message.received_at] += count

    @property
    def following(self) -> dict[Partition, int]:
        """Where the progress of each partition is after this batch."""
        return {partition: following for partition, (_, following) in self.moves.items()}

    def first_vendors(self, ground: Ground) -> dict[str, str]:
        """Return who is the first to report which ids that nobody has reported yet.

        The first one in the stream: of messages as plain as of others. Of a municipality that is
        not entered nothing is.
        """
        first: dict[str, tuple[int, str]] = {}

        def note(vehicle_id: str, vendor: str, rank: int) -> None:
            if vehicle_id in ground.vendors or (
                municipality_of(vehicle_id) not in ground.fleet.municipalities
            ):
                return
            first[vehicle_id] = min(first.get(vehicle_id, (rank, vendor)), (rank, vendor))

        for item in self._items:
            note(item.arrival.fix.vehicle_id, item.vendor, self._rank_of(item))
        columns = self._columns
        if columns is not None and not ground.vendors.keys() >= set(columns.vehicle_ids):
            for vehicle_id, message in columns.senders():
                note(vehicle_id, message.vendor, self._rank[place_of(message.record)])
        return {vehicle_id: vendor for vehicle_id, (_, vendor) in first.items()}

    def share_out(self, ground: Ground) -> None:
        """Give each vehicle what is good; what is wrong by itself becomes a dead letter."""
        self.ground, fleet = ground, ground.fleet
        every: defaultdict[str, list[Item]] = defaultdict(list)
        for item in self._judged(self._items, fleet):
            fix = item.arrival.fix
            if item.vendor not in ground.vendors.get(fix.vehicle_id, ()):
                self.writes.letters.append(_other_vendor(item, ground))
                continue
            tracker = ground.trackers.get(fix.vehicle_id)
            vehicle_id = fix.vehicle_id if tracker is None else tracker.vehicle_at(fix.recorded_at)
            if vehicle_id is None:
                self._of_no_vehicle(item, ground)
            else:
                every[vehicle_id].append(item)
        self.waiting = {vehicle_id: Share(items=good) for vehicle_id, good in every.items()}
        if self._columns is not None:
            self._share_out_columns(self._columns, ground)

    def _share_out_columns(self, columns: Columns, ground: Ground) -> None:
        fleet = ground.fleet
        rules = [
            None if whose is None else whose.rules
            for whose in (
                fleet.municipalities.get(message.municipality_id) for message in columns.messages
            )
        ]
        # Of an unknown municipality everything is a suspect, and nothing is good.
        ahead_s = np.array([-np.inf if one is None else one.max_future_s for one in rules])
        age_days = np.array([0.0 if one is None else one.max_age_days for one in rules])
        since_us, until_us = columns.history_us()
        suspect = suspects(
            lat=columns.floats["lat"],
            lon=columns.floats["lon"],
            recorded_us=columns.recorded_us,
            received_us=columns.received_us,
            max_future_s=ahead_s[columns.message],
            max_age_days=age_days[columns.message],
            history_since_us=since_us[columns.message],
            history_until_us=until_us[columns.message],
        )
        if suspect.any():
            for index in np.flatnonzero(suspect).tolist():
                suspect[index] = not list(self._judged([columns.item(index)], fleet))
            columns = columns.only(~suspect)
        columns = self._of_vehicles(columns, ground)
        if not len(columns):
            self._columns = None
            return
        order = np.lexsort((columns.recorded_us, columns.vehicle))
        self._columns = columns = columns.only(order)
        begins = np.diff(columns.vehicle, prepend=-1) != 0
        starts = np.flatnonzero(begins)
        twice = np.flatnonzero(
            (np.diff(columns.vehicle) == 0) & (np.diff(columns.recorded_us) == 0)
        )
        contested = set(columns.vehicle[twice].tolist())
        ends = [*starts[1:].tolist(), len(columns)]
        codes = columns.vehicle[starts].tolist()
        self._legs = _measured(columns, begins, fleet)
        for code, start, end in zip(codes, starts.tolist(), ends, strict=True):
            vehicle_id = columns.vehicle_ids[code]
            share = Share(slice(start, end))
            other = self.waiting.get(vehicle_id)
            if other is not None or code in contested:
                self._itemise(share)
                share.items += other.items if other is not None else ()
                share.items.sort(key=lambda item: (self._rank_of(item), item.number or 0))
            self.waiting[vehicle_id] = share

    def _of_vehicles(self, columns: Columns, ground: Ground) -> Columns:
        """Return the fixes by vehicle, without those of other vendors and of no vehicle."""
        strangers = columns.of_other_vendors(ground.vendors)
        if strangers is not None:
            for index in np.flatnonzero(strangers).tolist():
                self.writes.letters.append(_other_vendor(columns.item(index), ground))
            columns = columns.only(~strangers)
        if ground.trackers:
            columns, of_none = columns.carried(ground.trackers)
            if of_none is not None and of_none.any():
                for index in np.flatnonzero(of_none).tolist():
                    self._of_no_vehicle(columns.item(index), ground)
                columns = columns.only(~of_none)
        return columns

    def _judged(self, items: Sequence[Item], fleet: Fleet) -> Iterator[Item]:
        """Yield the items that are not wrong by themselves; those that are become dead letters."""
        for item in items:
            fix = item.arrival.fix
            municipality = fleet.municipalities.get(municipality_of(fix.vehicle_id))
            if municipality is None:
                self.writes.letters.append(_unknown_municipality(item, fleet))
                continue
            wrong = fault(fix, item.arrival.received_at, municipality.rules, item.history)
            if wrong is None:
                yield item
            else:
                self.writes.letters.append(item_letter(item, *wrong))

    def _of_no_vehicle(self, item: Item, ground: Ground) -> None:
        fix = item.arrival.fix
        wrong = ground.trackers[fix.vehicle_id].unassigned(fix.recorded_at)
        self.writes.letters.append(item_letter(item, *wrong))
        self.of_no_vehicle = True

    def fold_onward(self, known: Mapping[str, Known], new: Collection[str], topics: Topics) -> None:
        """Fold all plain shares that only go on: of known vehicles from their state, and of new."""
        columns, ground = self._columns, self.ground
        if columns is None or ground is None:
            return
        written = np.zeros(len(columns), bool)
        quarantine: dict[int, str] = {}
        for vehicle_id, share in list(self.waiting.items()):
            state = known.get(vehicle_id)
            where = share.plain
            if where is None or (state is None and vehicle_id not in new):
                continue
            reports = columns.reports[where].tolist()
            if state is not None and reports[0].recorded_at <= state.last_recorded_at:
                continue
            legs = None if self._legs is None else self._legs.part(where)
            fold = ground.fold(vehicle_id, topics, self.writes)
            refused = fold.onward(state, reports, columns.receipts(where), legs)
            if refused:
                for index, report in enumerate(reports, where.start):
                    if report.recorded_at in refused:
                        quarantine[index] = refused[report.recorded_at]
            written[where] = True
            del self.waiting[vehicle_id]
        self.writes.quarantined.update(quarantine.values())
        if written.any():
            self.writes.encoded_fixes.append(_encoded(columns, written, quarantine))

    def items_of(self, share: Share) -> list[Item]:
        """Return a share as items, in the order of their arrival."""
        if share.plain is not None:
            self._itemise(share)
            share.items.sort(key=lambda item: (self._rank_of(item), item.number or 0))
        return share.items

    def _itemise(self, share: Share) -> None:
        if self._columns is None or share.plain is None:
            raise AssertionError("only a share of the columns is made items")
        where = range(share.plain.start, share.plain.stop)
        share.items = [self._columns.item(index) for index in where]
        share.plain = None

    def _rank_of(self, item: Item) -> int:
        return self._rank[place_of(item.record)]


def _measured(columns: Columns, begins: columnar.Mask, fleet: Fleet) -> Measured:
    """Return what lies before each fix, by the rules of its municipality."""
    whose = [municipality_of(vehicle_id) for vehicle_id in columns.vehicle_ids]
    names = {name: number for number, name in enumerate(dict.fromkeys(whose))}
    # Vehicles are in order of id, so that those of a municipality stand together.
    municipality = np.array([names[name] for name in whose])[columns.vehicle]
    cuts = [*np.flatnonzero(np.diff(municipality, prepend=-1)).tolist(), len(columns)]
    legs = Measured([], [], [], [], [], [])
    for start, end in pairwise(cuts):
        part = slice(start, end)
        rules = fleet.municipalities[whose[columns.vehicle[start]]].rules
        of_one = measure(
            lat=columns.floats["lat"][part],
            lon=columns.floats["lon"][part],
            recorded_us=columns.recorded_us[part],
            speed_mps=columns.floats["speed_mps"][part],
            ignition=columns.flags["ignition"][part],
            begins=begins[part],
            rules=rules,
        )
        legs = Measured(*map(add, legs, of_one))
    return legs


def place_of(record: Record) -> Place:
    """Return where a record lies in the stream."""
    return Partition(record.topic, record.partition), record.offset


def _encoded(columns: Columns, which: columnar.Mask, quarantine: Mapping[int, str]) -> bytes:
    """Return rows of `fix` in binary, in the order of its columns."""
    reasons = np.zeros(len(columns), f"S{max(map(len, quarantine.values()), default=1)}")
    for index, reason in quarantine.items():
        reasons[index] = reason.encode()
    ids = np.array([vehicle_id.encode() for vehicle_id in columns.vehicle_ids])
    vendors = np.array([message.vendor.encode() for message in columns.messages])
    if columns.sender is None:
        trackers = np.zeros(len(columns), "S1")
    else:
        trackers = np.where(columns.sender == columns.vehicle, b"", ids[columns.sender])
    encoded = {
        "vehicle_id": text(ids[columns.vehicle[which]]),
        "recorded_at": timestamptz(columns.recorded_us[which]),
        "received_at": timestamptz(columns.received_us[which]),
        **{name: float8(values[which]) for name, values in columns.floats.items()},
        **{name: boolean(values[which]) for name, values in columns.flags.items()},
        "quarantine": text(reasons[which]),
        "tracker_id": text(trackers[which]),
        "vendor": text(vendors[columns.message[which]]),
    }
    return encode([encoded[name] for name in FIX.columns])


def _unknown_municipality(item: Item, fleet: Fleet) -> Letter:
    whose = municipality_of(item.arrival.fix.vehicle_id)
    reason = fleet.unreadable.get(whose, f"no municipality {whose} is entered")
    detail = f"{reason[:_REASON_LIMIT]}; enter it and replay this letter"
    return item_letter(item, DeadLetterReason.UNKNOWN_MUNICIPALITY, detail)


def _other_vendor(item: Item, ground: Ground) -> Letter:
    vehicle_id = item.arrival.fix.vehicle_id
    municipality_id, _, local_id = vehicle_id.partition("/")
    return item_letter(
        item,
        DeadLetterReason.OTHER_VENDOR,
        f"vendor {item.vendor} may not report {vehicle_id}: "
        f"{', '.join(ground.vendors.get(vehicle_id, ())) or 'nobody'} may; if the municipality has "
        f"changed or added a vendor: fleetpulse vendor allow {municipality_id} {item.vendor} "
        f"{local_id}",
    )
