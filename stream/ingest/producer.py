"""From accepted events to Kafka: gathered for a few milliseconds, one message a partition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
)
from aiokafka.partitioner import DefaultPartitioner

from infra.database.fleet.api_keys import KeyHolder
from infra.kafka.client import Topics, producer_options
from infra.settings import Settings
from schemas.errors import OutageError
from schemas.events.history import HistoryRange
from schemas.ids import scoped
from stream.ingest.http.event_codec import Message, PushedFix, encode
from stream.ingest.metrics import ACK_SECONDS, MESSAGES

MAX_FIXES_PER_MESSAGE: Final = 2_000
"""Keeps a message below the broker's usual limit of 1 MiB, whatever a fix carries."""
MAX_FIXES_WAITING: Final = 200_000
"""Beyond this the gateway asks vendors to wait, before memory does."""
REQUEST_TIMEOUT_MS: Final = 10_000
"""Until then the producer tries again by itself, so that a new leader costs no answer `503`."""
ACK_LIMIT_S: Final = 12.0
"""An idempotent producer tries for ever; who waits for an answer does not."""
_CHECK_LIMIT_S: Final = 2.0
_FIRST_TRY_LIMIT_S: Final = 5.0
_RETRY_S: Final = 1.0
_FATAL: Final = (ProducerClosed, ProducerFenced, OutOfOrderSequenceNumber)
"""After these a producer refuses whatever it is given, though the broker is well."""
_STOP_LIMIT_S: Final = 5.0
_MAX_PARTITIONS_KNOWN: Final = 1_000_000
"""Vehicles of which the partition is remembered: to calculate it costs ten times a fix."""
_log: Final = structlog.get_logger(__name__)

_Place = tuple[int, KeyHolder, HistoryRange | None]
"""What the fixes of one message share: partition, key holder and declared range of history."""


class BusyError(OutageError):
    """Too many fixes wait for Kafka; the vendor should come back in a moment."""


class UnavailableError(OutageError):
    """Kafka does not take what we send."""


@dataclass(slots=True)
class _Gathering:
    """The message that is being filled for one place."""

    received_at: datetime
    sent: asyncio.Future[None]
    fixes: list[PushedFix] = field(default_factory=list)


class Gateway:
    """Sends fixes to the fix topic; `accept()` returns when Kafka has them on all replicas.

    A broker that is away is waited for, at the start and later: `problem` says so meanwhile.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = Topics.named(settings.kafka.topic_prefix).fixes
        self._wait_s = settings.linger_ms / 1000
        self._options = producer_options(settings.kafka)
        self._producer: AIOKafkaProducer | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._partitioner = DefaultPartitioner()
        self._partitions: list[int] = []
        self._partition_of: dict[str, int] = {}
        self._gathering: dict[_Place, _Gathering] = {}
        self._flushing: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self.problem: str | None = "kafka: not connected yet"

    async def start(self) -> None:
        """Connect; return after the first try, whatever it brought: more tries follow."""
        self._connect_soon()
        try:
            await asyncio.wait_for(self._tried.wait(), _FIRST_TRY_LIMIT_S)
        except TimeoutError:
            _log.warning("waiting for Kafka", reason="no answer", limit_s=_FIRST_TRY_LIMIT_S)

    async def stop(self) -> None:
        """Send what is gathered and disconnect."""
        self._flush_all()
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait((self._connecting,))
        await self._disconnect(self._producer)

    async def _disconnect(self, producer: AIOKafkaProducer | None) -> None:
        if producer is None:
            return
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await producer.stop()
        except TimeoutError:
            # What it still holds was answered 503 long ago.
            _log.warning("Kafka did not take the rest in time", limit_s=_STOP_LIMIT_S)

    def _connect_soon(self) -> None:
        """Have a producer made, or one that can send no more replaced."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        """Try until a producer has started and knows the topic; say once that we wait, and why."""
        waits = False
        while True:
            # Within the loop: a producer that did not start cannot be started again.
            producer = AIOKafkaProducer(
                **self._options, max_request_size=1_000_000, request_timeout_ms=REQUEST_TIMEOUT_MS
            )
            try:
                await producer.start()
                partitions = await producer.partitions_for(self._topic)
            except (KafkaError, OSError) as away:
                self.problem = f"kafka: {away!r}"
                if not waits:
                    _log.warning("waiting for Kafka", reason=self.problem, retry_s=_RETRY_S)
                waits = True
                await self._disconnect(producer)
                self._tried.set()
                await asyncio.sleep(_RETRY_S)
                continue
            except BaseException:
                await self._disconnect(producer)
                raise
            old, self._producer = self._producer, producer
            self._use(partitions)
            self._tried.set()
            await self._disconnect(old)
            return

    def _note(self, problem: str | None) -> None:
        """Note how Kafka is; log when that changes, once."""
        if problem is not None and self.problem is None:
            _log.warning("Kafka does not take events", reason=problem)
        elif problem is None and self.problem is not None:
            _log.info("Kafka takes events")
        self.problem = problem

    def _use(self, partitions: set[int]) -> None:
        if (now := sorted(partitions)) != self._partitions:
            self._partitions = now
            self._partition_of.clear()
        self._note(None)

    async def check(self) -> str | None:
        """Ask the broker for the topic; return what is wrong, or None."""
        producer = self._producer
        if producer is None:
            return self.problem
        try:
            async with asyncio.timeout(_CHECK_LIMIT_S):
                # The partitions alone would come from memory, whether or not a broker is there.
                if not await producer.client.force_metadata_update():
                    raise KafkaConnectionError("no broker answers")
                self._use(await producer.partitions_for(self._topic))
        except (KafkaError, TimeoutError) as error:
            self._note(f"kafka: {error!r}")
        return self.problem

    async def accept(
        self, holder: KeyHolder, events: Sequence[PushedFix], history: HistoryRange | None = None
    ) -> None:
        """Return when Kafka has acknowledged every event with `acks=all`.

        The events are the gateway's from now on. `history` is the range that the holder has
        declared, if any: the worker judges by it.

        Raises `BusyError` when too much waits already, and `UnavailableError` when Kafka refuses
        or does not answer; then some of the fixes may still have arrived, so send them again.
        """
        if not events:
            return
        if self._producer is None:
            raise UnavailableError(self.problem)
        if self._waiting + len(events) > MAX_FIXES_WAITING:
            raise BusyError(
                f"{self._waiting} fixes wait for Kafka, limit {MAX_FIXES_WAITING}; try again later"
            )
        self._waiting += len(events)
        try:
            sent = {self._gather(holder, history, event) for event in events}
            # Not gather(): who gives up would cancel a message that others wait for as well.
            await asyncio.wait(sent)
        finally:
            self._waiting -= len(events)
        for message in sent:
            if (error := message.exception()) is not None:
                self._note(f"kafka: {error!r}")
                raise UnavailableError(self.problem) from error
        self._note(None)

    def _gather(
        self, holder: KeyHolder, history: HistoryRange | None, event: PushedFix
    ) -> asyncio.Future[None]:
        event.vehicle_id = scoped(holder.municipality_id, event.vehicle_id)
        partition = self._partition_of.get(event.vehicle_id)
        if partition is None:
            partition = self._reckon_partition(event.vehicle_id)
        place = (partition, holder, history)
        gathering = self._gathering.get(place)
        if gathering is None:
            loop = asyncio.get_running_loop()
            gathering = _Gathering(datetime.now(UTC), loop.create_future())
            self._gathering[place] = gathering
            if self._flushing is None:
                # One moment for all partitions: then they leave in one request to the broker.
                self._flushing = loop.call_later(self._wait_s, self._flush_all)
        gathering.fixes.append(event)
        if len(gathering.fixes) >= MAX_FIXES_PER_MESSAGE:
            del self._gathering[place]
            self._send_soon(place, gathering)
        return gathering.sent

    def _reckon_partition(self, vehicle_id: str) -> int:
        if len(self._partition_of) >= _MAX_PARTITIONS_KNOWN:
            self._partition_of.clear()
        partition: int = self._partitioner(vehicle_id.encode(), self._partitions, self._partitions)
        self._partition_of[vehicle_id] = partition
        return partition

    def _flush_all(self) -> None:
        """Send what is gathered, of all places."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        gathered, self._gathering = self._gathering, {}
        for place, gathering in gathered.items():
            self._send_soon(place, gathering)

    def _send_soon(self, place: _Place, gathering: _Gathering) -> None:
        # There is one: nothing is gathered before, and one that fails is kept till there is another
        task = asyncio.create_task(self._send(self._producer, place, gathering))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, producer: AIOKafkaProducer, place: _Place, gathering: _Gathering) -> None:
        partition, holder, history = place
        message = Message(
            municipality_id=holder.municipality_id,
            vendor=holder.vendor,
            received_at=gathering.received_at,
            fixes=gathering.fixes,
            history_since=None if history is None else history.since,
            history_until=None if history is None else history.until,
        )
        began = time.monotonic()
        try:
            async with asyncio.timeout(ACK_LIMIT_S):
                await producer.send_and_wait(
                    self._topic,
                    encode(message),
                    key=gathering.fixes[0].vehicle_id.encode(),
                    partition=partition,
                )
        except (KafkaError, OSError) as error:
            _log.warning("message not sent", partition=partition, reason=repr(error))
            gathering.sent.set_exception(error)
            if isinstance(error, _FATAL):
                self._connect_soon()
        except BaseException as error:
            gathering.sent.set_exception(UnavailableError(repr(error)))
            raise
        else:
            MESSAGES.inc()
            ACK_SECONDS.observe(time.monotonic() - began)
            gathering.sent.set_result(None)
