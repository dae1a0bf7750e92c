"""A batch on its way: what its records say, and what the steps make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from infra.database.stream.progress import Partition
from processors.timeline.bulk_fold import LegColumns
from schemas.ids import municipality_of
from stream.worker.decode import columnar
from stream.worker.decode.columnar import FixColumns
from stream.worker.decode.records import DecodedFix, Record, RecordPlace, unprocessable_letter
from stream.worker.decode.records import decode as decode_items
from stream.worker.master_data import MasterData
from stream.worker.unit_of_work import UnitOfWork

ProgressMoves = Mapping[Partition, tuple[int, int]]
"""From where to where the progress of each partition goes."""


@dataclass(slots=True)
class VehicleSlice:
    """One vehicle's part of a batch: a slice of the plain columns, or items, never both."""

    plain: slice | None = None
    items: list[DecodedFix] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """Records that follow each other, what they say, and what is written of it.

    What came in plain messages stays in `columns` all the way to the rows, unless its vehicle also
    sent something that needs a second look: a fix twice, or late, or in a message that is not
    plain. Then it goes fix by fix, as `DecodedFix`es, in the order of arrival.
    """

    records: Sequence[Record]
    moves: ProgressMoves
    ranks: Mapping[RecordPlace, int]
    """Where each record comes in the batch."""
    columns: FixColumns | None
    items: list[DecodedFix]
    work: UnitOfWork = field(default_factory=UnitOfWork)
    master_data: MasterData | None = None
    """By which it was grouped, once it is."""
    waiting: dict[str, VehicleSlice] = field(default_factory=dict)
    """What is still to be folded, by vehicle."""
    legs: LegColumns | None = None
    """What lies before each fix of the columns, once they are grouped."""
    of_no_vehicle: bool = False
    """Whether a tracker sent a fix of a time at which it was in no vehicle."""
    municipalities: set[str] = field(default_factory=set)
    received: Counter[datetime] = field(default_factory=Counter)
    """How many fixes were received when."""

    @property
    def next_offsets(self) -> dict[Partition, int]:
        """Where the progress of each partition is after this batch."""
        return {partition: next_offset for partition, (_, next_offset) in self.moves.items()}

    def rank_of(self, item: DecodedFix) -> int:
        """Return where the record of a fix comes in the batch."""
        return self.ranks[item.record.place]

    def in_order(self, items: Iterable[DecodedFix]) -> list[DecodedFix]:
        """Return fixes in the order of their arrival."""
        return sorted(items, key=lambda item: (self.rank_of(item), item.number or 0))

    def items_of(self, vehicle_slice: VehicleSlice) -> list[DecodedFix]:
        """Return a slice as items, in the order of their arrival."""
        if vehicle_slice.plain is not None:
            if self.columns is None:
                raise AssertionError("a slice of columns that are not there")
            where = range(vehicle_slice.plain.start, vehicle_slice.plain.stop)
            vehicle_slice.items = self.in_order(self.columns.item(index) for index in where)
            vehicle_slice.plain = None
        return vehicle_slice.items


def decode_batch(
    records: Sequence[Record], moves: ProgressMoves, poison: Mapping[RecordPlace, Exception]
) -> Batch:
    """Return the fixes of records; a poison record becomes the letter of its error."""
    usable = [record for record in records if record.place not in poison]
    columns, others = columnar.decode(usable)
    ranks = {record.place: rank for rank, record in enumerate(records)}
    others.sort(key=lambda record: ranks[record.place])
    decoded = decode_items(others)
    batch = Batch(records, moves, ranks, columns, decoded.items)
    batch.work.letters += decoded.letters
    batch.work.letters += [
        unprocessable_letter(record, poison[record.place])
        for record in records
        if record.place in poison
    ]
    for item in batch.items:
        batch.municipalities.add(municipality_of(item.arrival.fix.vehicle_id))
        batch.received[item.arrival.received_at] += 1
    if columns is not None:
        counts = np.bincount(columns.message, minlength=len(columns.messages))
        for message, count in zip(columns.messages, counts.tolist(), strict=True):
            if count:
                batch.municipalities.add(message.municipality_id)
                batch.received[message.received_at] += count
    return batch
