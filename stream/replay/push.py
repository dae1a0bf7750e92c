"""Files to the gateway: read, brought into time if asked, and pushed as a vendor does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from schemas.events.history import HistoryRange
from stream.history_header import range_to_declare
from stream.ingest_client import PushResult, VendorClient, paced
from stream.replay.mapping import FieldMapping
from stream.replay.reader import EventFields, ReadCounts, read_events

PORTION_EVENTS: Final = 5_000
"""Events that are pushed before progress is told again."""

ReplayCallback = Callable[[PushResult, ReadCounts], None]


async def push_files(  # noqa: PLR0913 - files, how to read them, where to and how fast
    paths: Iterable[Path],
    mapping: FieldMapping,
    client: VendorClient,
    *,
    speed: float = 0.0,
    history: HistoryRange | None = None,
    counts: ReadCounts | None = None,
    progress: ReplayCallback | None = None,
) -> PushResult:
    """Push the fixes of files through a gateway; return what became of them.

    At speed 0 events go out as they are read, in the order of the files, and never are all in
    memory. At a multiple of real time they are first read whole and put in order of device time,
    since files are often sorted by vehicle.

    `history` is the range that is declared to be history. Without it each portion of events that
    reaches back further than live ones may declares its own.

    Raises `ReplayError` for files that cannot be read as the mapping says, and
    `stream.ingest_client.PushFailedError` when the gateway refuses or stays away. What was pushed
    until then may be pushed again without harm.
    """
    counts = ReadCounts() if counts is None else counts
    events: Iterable[EventFields] = read_events(paths, mapping, counts)
    if speed:
        events = sorted(events, key=_recorded_at)
    total = PushResult()
    first = 0
    async for portion in paced(events, _recorded_at, speed=speed, size=PORTION_EVENTS):
        declared = history or range_to_declare(map(_recorded_at, portion))
        total.add(await client.push(_as_sent(portion), first_index=first, history=declared))
        first += len(portion)
        if progress is not None:
            progress(total, counts)
    return total


def check_files(paths: Iterable[Path], mapping: FieldMapping, counts: ReadCounts) -> int:
    """Read files and push nothing; return how many vehicles they tell of.

    Raises `ReplayError` as `push_files` does.
    """
    return len({event["vehicle_id"] for event in read_events(paths, mapping, counts)})


def _recorded_at(event: EventFields) -> datetime:
    at: datetime = event["recorded_at"]
    return at


def _as_sent(events: Iterable[EventFields]) -> Iterator[dict[str, Any]]:
    """Yield events as a vendor's JSON has them."""
    for event in events:
        yield {**event, "recorded_at": event["recorded_at"].isoformat()}
