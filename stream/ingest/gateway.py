"""From accepted fixes to Kafka: gathered for a few milliseconds, one message a partition."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson
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
from prometheus_client import Histogram

from infra.database.keys import KeyHolder
from infra.kafka import Topics, producer_options
from infra.settings import Settings
from schemas.fix import NativeFix
from schemas.history import HistoryRange
from schemas.ids import scoped

MAX_FIXES_PER_MESSAGE: Final = 2_000
"""Keeps a message below the broker's usual limit of 1 MiB, whatever a fix carries."""
MAX_FIXES_WAITING: Final = 200_000
"""Beyond this the gateway asks vendors to wait, before memory does."""
REQUEST_TIMEOUT_MS: Final = 10_000
"""Until then the producer tries again by itself, so that a new leader costs no answer `503`."""
ACK_LIMIT_S: Final = 12.0
"""An idempotent producer tries for ever; who waits for an answer does not."""
_CHECK_LIMIT_S: Final = 2.0
_RENEW_S: Final = 1.0
_FATAL: Final = (ProducerClosed, ProducerFenced, OutOfOrderSequenceNumber)
"""After these a producer refuses whatever it is given, though the broker is well."""
_STOP_LIMIT_S: Final = 5.0
_ACK_SECONDS: Final = Histogram("fleetpulse_ingest_ack_seconds", "Time until Kafka had a message")
_log: Final = structlog.get_logger(__name__)

_Place = tuple[int, KeyHolder, HistoryRange | None]
"""What the fixes of one message share: partition, key holder and declared range of history."""


class BusyError(RuntimeError):
    """Too many fixes wait for Kafka; the vendor should come back in a moment."""


class UnavailableError(RuntimeError):
    """Kafka does not take what we send."""


@dataclass(slots=True)
class _Gathering:
    """The message that is being filled for one place."""

    received_at: datetime
    sent: asyncio.Future[None]
    fixes: list[dict[str, Any]] = field(default_factory=list)


class Gateway:
    """Sends fixes to the fix topic; `accept()` returns when Kafka has them on all replicas."""

    def __init__(self, settings: Settings) -> None:
        self._topic = Topics.named(settings.kafka.topic_prefix).fixes
        self._wait_s = settings.coalesce_ms / 1000
        self._options = producer_options(settings.kafka)
        self._producer = self._new_producer()
        self._renewing: asyncio.Task[None] | None = None
        self._partitioner = DefaultPartitioner()
        self._partitions: list[int] = []
        self._gathering: dict[_Place, _Gathering] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self.problem: str | None = "not connected to Kafka yet"

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._options, max_request_size=1_000_000, request_timeout_ms=REQUEST_TIMEOUT_MS
        )

    async def start(self) -> None:
        """Connect. Raises `aiokafka.errors.KafkaError` when no broker answers."""
        await self._producer.start()
        await self._read_partitions()

    async def stop(self) -> None:
        """Send what is gathered and disconnect."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait((self._renewing,))
        await self._disconnect(self._producer)

    async def _disconnect(self, producer: AIOKafkaProducer) -> None:
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await producer.stop()
        except TimeoutError:
            # What it still holds was answered 503 long ago.
            _log.warning("Kafka did not take the rest in time", limit_s=_STOP_LIMIT_S)

    def _renew_soon(self) -> None:
        """Have a producer that can send no more replaced; until then requests are answered 503."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        while True:
            producer = self._new_producer()
            try:
                await producer.start()
            except (KafkaError, OSError) as away:
                _log.warning("no new producer yet", reason=repr(away), retry_s=_RENEW_S)
                await self._disconnect(producer)
                await asyncio.sleep(_RENEW_S)
                continue
            old, self._producer = self._producer, producer
            _log.info("sending with a new producer")
            await self._disconnect(old)
            return

    async def _read_partitions(self) -> None:
        self._partitions = sorted(await self._producer.partitions_for(self._topic))
        self.problem = None

    async def check(self) -> str | None:
        """Ask the broker for the topic; return what is wrong, or None."""
        try:
            async with asyncio.timeout(_CHECK_LIMIT_S):
                # The partitions alone would come from memory, whether or not a broker is there.
                if not await self._producer.client.force_metadata_update():
                    raise KafkaConnectionError("no broker answers")
                await self._read_partitions()
        except (KafkaError, TimeoutError) as error:
            self.problem = f"kafka: {error!r}"
        return self.problem

    async def accept(
        self,
        holder: KeyHolder,
        fixes: Sequence[NativeFix],
        history: HistoryRange | None = None,
    ) -> None:
        """Return when Kafka has acknowledged every fix with `acks=all`.

        `history` is the range that the holder has declared, if any: the worker judges by it.

        Raises `BusyError` when too much waits already, and `UnavailableError` when Kafka refuses
        or does not answer; then some of the fixes may still have arrived, so send them again.
        """
        if not fixes:
            return
        if self._waiting + len(fixes) > MAX_FIXES_WAITING:
            raise BusyError(
                f"{self._waiting} fixes wait for Kafka, limit {MAX_FIXES_WAITING}; try again later"
            )
        self._waiting += len(fixes)
        try:
            sent = {self._gather(holder, history, fix) for fix in fixes}
            # Not gather(): who gives up would cancel a message that others wait for as well.
            await asyncio.wait(sent)
        finally:
            self._waiting -= len(fixes)
        for one in sent:
            if (error := one.exception()) is not None:
                self.problem = f"kafka: {error!r}"
                raise UnavailableError(self.problem) from error
        self.problem = None

    def _gather(
        self, holder: KeyHolder, history: HistoryRange | None, fix: NativeFix
    ) -> asyncio.Future[None]:
        vehicle_id = scoped(holder.municipality_id, fix.vehicle_id)
        partition = self._partitioner(vehicle_id.encode(), self._partitions, self._partitions)
        place = (partition, holder, history)
        gathering = self._gathering.get(place)
        if gathering is None:
            loop = asyncio.get_running_loop()
            gathering = _Gathering(datetime.now(UTC), loop.create_future())
            self._gathering[place] = gathering
            loop.call_later(self._wait_s, self._flush, place, gathering)
        report = {
            name: value
            for name, value in vars(fix.discreet()).items()
            if value is not None and name not in {"type", "vehicle_id", "private_mode"}
        }
        if fix.private_mode:
            report["private_mode"] = True
        gathering.fixes.append({"vehicle_id": vehicle_id, **report})
        if len(gathering.fixes) >= MAX_FIXES_PER_MESSAGE:
            self._flush(place, gathering)
        return gathering.sent

    def _flush(self, place: _Place, gathering: _Gathering) -> None:
        """Send a message, unless it has gone already because it was full."""
        if self._gathering.get(place) is not gathering:
            return
        del self._gathering[place]
        task = asyncio.create_task(self._send(place, gathering))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, place: _Place, gathering: _Gathering) -> None:
        partition, holder, history = place
        declared = {}
        if history is not None:
            declared = {"history_since": history.since, "history_until": history.until}
        value = orjson.dumps(
            {
                "municipality_id": holder.municipality_id,
                "vendor": holder.vendor,
                "received_at": gathering.received_at,
                **declared,
                "fixes": gathering.fixes,
            }
        )
        began = time.monotonic()
        try:
            async with asyncio.timeout(ACK_LIMIT_S):
                await self._producer.send_and_wait(
                    self._topic,
                    value,
                    key=str(gathering.fixes[0]["vehicle_id"]).encode(),
                    partition=partition,
                )
        except (KafkaError, OSError) as error:
            _log.warning("message not sent", partition=partition, reason=repr(error))
            gathering.sent.set_exception(error)
            if isinstance(error, _FATAL):
                self._renew_soon()
        except BaseException as error:
            gathering.sent.set_exception(UnavailableError(repr(error)))
            raise
        else:
            _ACK_SECONDS.observe(time.monotonic() - began)
            gathering.sent.set_result(None)
