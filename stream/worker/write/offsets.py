"""Which records of a batch are new, by their offsets, and where the stream has a gap."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from infra.database.stream.progress import Partition
from infra.kafka.client import Watermarks
from schemas.errors import UserError
from stream.worker.decode.batch import ProgressMoves
from stream.worker.decode.records import Record

FetchOffsets = Callable[[Sequence[Partition]], Awaitable[Mapping[tuple[str, int], Watermarks]]]
"""Asks the broker what it holds of partitions."""


class OffsetGap(NamedTuple):
    """Offsets from `expected` to before `delivered` that the broker did not deliver."""

    partition: Partition
    expected: int
    delivered: int


class OffsetGapError(UserError):
    """Records that were never processed are missing: nothing may be guessed here."""

    exit_code = 1

    def __init__(self, message: str, gap: OffsetGap | None = None) -> None:
        super().__init__(message)
        self.gap = gap
        """Where in the stream, when one was seen between two records."""


def records_lost(gap: OffsetGap) -> OffsetGapError:
    """Return the error of a gap, with the remedy."""
    partition, expected, delivered = gap
    return OffsetGapError(
        f"{partition.topic}[{partition.partition}]: records {expected} to {delivered - 1} are gone "
        "from Kafka before they were processed (retention shorter than our absence?); to accept "
        f"the loss: fleetpulse offsets set {partition.topic} {partition.partition} {delivered}",
        gap,
    )


def new_records(
    records: Sequence[Record],
    positions: Mapping[Partition, int],
    benign_gaps: Collection[OffsetGap],
) -> tuple[ProgressMoves, list[Record]]:
    """Return how the progress moves, and the records that are not yet processed.

    `positions` is the next offset of each partition. Raises `OffsetGapError`.
    """
    next_offsets: dict[Partition, int] = {}
    new: list[Record] = []
    for record in records:
        partition = record.source
        if partition not in positions:
            raise OffsetGapError(
                f"{partition.topic}[{partition.partition}] was never assigned to this worker"
            )
        next_offset = next_offsets.get(partition, positions[partition])
        if record.offset < next_offset:
            continue
        gap = OffsetGap(partition, next_offset, record.offset)
        if record.offset > next_offset and gap not in benign_gaps:
            raise records_lost(gap)
        next_offsets[partition] = record.offset + 1
        new.append(record)
    moves = {
        partition: (positions[partition], offset) for partition, offset in next_offsets.items()
    }
    return moves, new
