"""Has records written whatever happens: waits for the database, sets poison aside."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

import structlog
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from stream.process.outages import Fault, is_session_lost, judge
from stream.worker import metrics
from stream.worker.decode.records import Record
from stream.worker.write.offsets import FetchOffsets, OffsetGapError
from stream.worker.write.reread import Reread, record_of
from stream.worker.write.writer import Writer

RETRY_FIRST_S: Final = 0.1
RETRY_LONGEST_S: Final = 5.0
_SPLIT_AFTER: Final = 3
"""So often the database ends our session over a batch, and takes other writes: then we split it."""
_POISON_AFTER: Final = 3
"""So often it does over a record that is alone: then that becomes a dead letter."""
_POISON_AFTER_LOSSES: Final = 10
"""The same where the connection is lost without a word, which a bad network does as well."""
_BATCH_BYTES: Final = 2_000_000
"""Most of message values in one transaction: some ten thousand fixes."""
_log: Final = structlog.get_logger(__name__)


class HealthReport(Protocol):
    """Where it is said that we wait, and that we end."""

    problem: str | None

    def end(self, error: Exception) -> None:
        """Stop the worker, loudly."""


class Committer:
    """Has records written whatever happens: waits for the database, sets poison aside.

    What fails by its own fault is split until the culprit is alone, which becomes a dead letter.
    So is what the database ends our session over again and again while it takes other writes: a
    statement that runs into its time limit, memory, a backend that dies. While it takes none, all
    wait, and nothing becomes a dead letter.
    """

    def __init__(
        self, writer: Writer, health: HealthReport, fetch_offsets: FetchOffsets, reread: Reread
    ) -> None:
        self._writer = writer
        self._health = health
        self._fetch_offsets = fetch_offsets
        self._reread = reread

    async def take(self, messages: Sequence[Any]) -> None:
        """Return once these messages of Faust are in the database. Raises nothing.

        A fault of this very code is logged and counted, and the messages are taken again: those
        that are written already are recognised by their offsets.
        """
        while True:
            try:
                records = [
                    record_of(
                        message, None if message.timestamp is None else message.timestamp * 1000
                    )
                    for message in messages
                ]
                parts = portions(records)
                for number, portion in enumerate(parts):
                    await self.commit(portion, parts[number + 1] if parts[number + 1 :] else ())
            except Exception as error:  # noqa: BLE001 - what leaves the agent is acknowledged
                self._health.problem = f"a fault of this program: {error!r}"
                metrics.BATCH_FAULTS.labels("agent").inc()
                _log.exception("messages are taken again", retry_s=RETRY_LONGEST_S)
                await asyncio.sleep(RETRY_LONGEST_S)
            else:
                return

    async def commit(
        self,
        records: Sequence[Record],
        following: Sequence[Record] = (),
        *,
        suspected: bool = False,
    ) -> None:
        """Return once the records are in the database, as rows or as dead letters.

        Those that follow are prepared meanwhile. `suspected` are those of a batch over which the
        database ended our session: where that happens once more, they are split at once.
        """
        trial = _Trial(len(records), suspected=suspected)
        while True:
            try:
                await self._writer.write(records, following)
            except OffsetGapError as error:
                await self._fill(error)
            except Exception as error:  # noqa: BLE001 - one bad record must not stop its partition
                if await self._is_guilty(records, error, trial):
                    if len(records) > 1:
                        await self._split(records, error, suspected=trial.failures > 0)
                        return
                    self._mark_poison(records[0], error)
                    trial = _Trial(1, suspected=False)
                    continue
                fault = judge(error)
                self._health.problem = f"database: {error}"
                _log.warning(
                    "batch waits for the database",
                    reason=repr(error),
                    fault=fault.name.lower(),
                    failures=trial.failures,
                    retry_s=trial.delay_s,
                )
                await trial.wait()
            else:
                self._health.problem = None
                return

    async def _is_guilty(self, records: Sequence[Record], error: Exception, trial: _Trial) -> bool:
        """Return whether a batch fails by its own fault, as far as we can tell."""
        if len(records) == 1 and self._writer.is_poison(records[0]):
            # Not even its letter can be written: that is nothing to give up a record for.
            _log.critical("a dead letter cannot be written", offset=records[0].offset)
            return False
        match judge(error):
            case Fault.WORK:
                metrics.BATCH_FAULTS.labels("work").inc()
                return True
            case Fault.OUTAGE:
                trial.acquit()
                return False
            case Fault.SESSION:
                metrics.BATCH_FAULTS.labels("session").inc()
                if not await self._takes_writes(records):
                    trial.acquit()
                    return False
                return trial.convicts(error)

    async def _takes_writes(self, records: Sequence[Record]) -> bool:
        try:
            await self._writer.probe(records)
        except Exception as error:  # noqa: BLE001 - whatever it is, others fare no better than we
            _log.warning("the database takes no other writes either", reason=repr(error))
            return False
        return True

    async def _split(self, records: Sequence[Record], error: Exception, *, suspected: bool) -> None:
        _log.error("batch fails; its halves are tried", records=len(records), exc_info=error)
        middle = len(records) // 2
        for half in (records[:middle], records[middle:]):
            await self.commit(half, suspected=suspected)

    def _mark_poison(self, record: Record, error: Exception) -> None:
        _log.error(
            "record becomes a dead letter",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            exc_info=error,
        )
        self._writer.mark_poison(record, error)

    async def _fill(self, error: OffsetGapError) -> None:
        """Read a gap again, and have what is there written; pass it where there is nothing.

        Waits for the broker to say so. Ends the worker, and never returns, where records are gone.
        """
        while error.gap is not None:
            gap = error.gap
            try:
                records = await self._reread(gap)
                if records:
                    _log.warning("offsets were not delivered", **gap._asdict(), read=len(records))
                    metrics.RECORDS_READ_AGAIN.inc(len(records))
                    for portion in portions(records):
                        await self.commit(portion)
                    return
                passable = await self._writer.is_benign_gap(gap, self._fetch_offsets)
            except OffsetOutOfRangeError:
                passable = False
            except (KafkaError, OSError) as away:
                self._health.problem = f"kafka: {away!r}"
                _log.warning("a gap waits for the broker", reason=repr(away))
                await asyncio.sleep(RETRY_LONGEST_S)
                continue
            if passable:
                _log.info("offsets without records", **gap._asdict())
                return
            break
        _log.critical("the worker stops", reason=str(error))
        self._health.end(error)
        await asyncio.Event().wait()  # until it is gone: nothing is acknowledged


class _Trial:
    """How often one batch has failed in a row, and how long to wait before it is tried again."""

    def __init__(self, size: int, *, suspected: bool) -> None:
        self.failures = 0
        self.delay_s = RETRY_FIRST_S
        self._size = size
        self._suspected = suspected

    def acquit(self) -> None:
        """Begin to count anew: what failed was not the batch."""
        self.failures = 0

    def convicts(self, error: Exception) -> bool:
        """Count a failure while others succeed; return whether it is one too many."""
        self.failures += 1
        if self._size > 1:
            return self.failures >= (1 if self._suspected else _SPLIT_AFTER)
        limit = _POISON_AFTER_LOSSES if is_session_lost(error) else _POISON_AFTER
        return self.failures >= limit

    async def wait(self) -> None:
        """Wait, each time longer."""
        await asyncio.sleep(self.delay_s)
        self.delay_s = min(2 * self.delay_s, RETRY_LONGEST_S)


def portions(records: Sequence[Record]) -> list[list[Record]]:
    """Cut records into portions of at most so many bytes, at least one record each."""
    cut: list[list[Record]] = []
    size = 0
    for record in records:
        length = len(record.value or b"")
        if not cut or size + length > _BATCH_BYTES:
            cut.append([])
            size = 0
        cut[-1].append(record)
        size += length
    return cut
