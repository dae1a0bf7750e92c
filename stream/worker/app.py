"""The Faust app: takes batches of records off the fix topic and has them written.

Faust carries the records and spreads the partitions over workers. It does not hold the truth: it
acknowledges a message whatever became of it. So the partitions are positioned at the progress in
the database, nothing but the database decides what has been processed, and no exception leaves
the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

import faust
import psycopg
import structlog
from aiokafka.errors import KafkaError
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode.utils.locks import Event
from psycopg_pool import PoolTimeout

from infra.database.connection.pool import Pool
from infra.database.stream.progress import Partition
from infra.kafka.client import Topics, read_watermarks, ssl_context
from infra.settings import KafkaSettings, Settings
from schemas.errors import InternalError
from stream.worker.decode import record_batches
from stream.worker.write.commit import RETRY_FIRST_S, RETRY_LONGEST_S, Committer
from stream.worker.write.offsets import FetchOffsets, OffsetGapError
from stream.worker.write.reread import read_again
from stream.worker.write.writer import Writer

_NEVER_S: Final = 86_400.0
_STOP_LIMIT_S: Final = 10.0
_log: Final = structlog.get_logger(__name__)


class Health:
    """What the worker says of itself: ready, or what it waits for; and what ended it."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.fatal: Exception | None = None
        self.ended = asyncio.Event()
        self.is_writing = False
        self.is_stuck = False
        """Faust did not stop when it was asked to: its threads may go on."""

    def end(self, error: Exception) -> None:
        """Stop the worker, loudly."""
        self.problem = str(error)
        self.fatal = error
        self.ended.set()


class StreamCrashedError(InternalError):
    """Faust crashed; its reason is the cause."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> Any:
        consumer = super()._create_consumer(loop)
        # Faust waits for 1.5 s and has no setting for it; the value is read when fetching starts.
        consumer._fetch_max_wait_ms = _worker(self.app).kafka.fetch_max_wait_ms  # noqa: SLF001
        return consumer


class _Consumer(driver.Consumer):
    """A consumer that starts where the database says."""

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # An event of mode belongs to the loop that first asks it. Where that is the consumer's
        # own thread, waits of ours are never woken and the intake stands still for good. So we
        # ask first, here, in the loop that runs the app.
        for value in vars(self).values():
            if isinstance(value, Event):
                value.loop  # noqa: B018 - asking is what binds it

    async def perform_seek(self) -> None:
        """Seek every assigned partition to the progress in the database."""
        app = _worker(self.app)
        assigned = sorted(self.assignment())
        if not assigned:
            return
        offsets = await app.starting_offsets([Partition(*tp) for tp in assigned])
        await self.seek_wait({TP(*partition): offset for partition, offset in offsets.items()})
        for partition, offset in offsets.items():
            self._committed_offset[TP(*partition)] = offset or None
        app.health.problem = None


def _worker(app: Any) -> WorkerApp:
    if not isinstance(app, WorkerApp):
        raise TypeError(f"app is {type(app).__name__}; this consumer serves a WorkerApp only")
    return app


class _Transport(driver.Transport):
    Consumer = _Consumer


class WorkerApp(faust.App):
    """A Faust app with our consumer, a writer, and its health."""

    kafka: KafkaSettings
    health: Health
    writer: Writer
    fetch_offsets: FetchOffsets

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    def _create_directories(self) -> None:
        """Create none: Faust's tables, which would live there, are not used."""

    def owned_partitions(self) -> frozenset[Partition] | None:
        """Return the partitions that the group gives us; None while it has not let us in."""
        thread = getattr(self._consumer, "_thread", None)
        consumer = getattr(thread, "_consumer", None)
        if consumer is None or consumer._subscription.reassignment_in_progress:  # noqa: SLF001 - not told otherwise
            return None
        return frozenset(Partition(place.topic, place.partition) for place in consumer.assignment())

    def is_busy(self) -> bool:
        """Return whether a batch is being written."""
        return self.health.is_writing

    def waits_for(self) -> str | None:
        """Return what the app says that it waits for, such as the database."""
        return self.health.problem

    async def starting_offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Return where to read from; waits for database and broker, ends the worker on a gap."""
        delay_s = RETRY_FIRST_S
        while True:
            try:
                return await self.writer.start_at(partitions, self.fetch_offsets)
            except OffsetGapError as gap:
                _log.critical("the worker stops", reason=str(gap))
                self.health.end(gap)
                await asyncio.Event().wait()
            except (psycopg.Error, PoolTimeout, KafkaError, OSError) as away:
                if self.health.problem is None:
                    _log.warning("no positions yet", reason=repr(away))
                self.health.problem = f"no positions yet: {away!r}"
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_LONGEST_S)


def make_app(settings: Settings, pool: Pool, health: Health, generation: int = 0) -> WorkerApp:
    """Return the app of one worker, in the consumer group of this generation.

    Call it in the event loop that will run it.
    """
    record_batches.install()
    topics = Topics.named(settings.kafka.topic_prefix)
    group = f"{settings.kafka.topic_prefix}-worker"
    app = WorkerApp(
        f"{group}-{generation}" if generation else group,
        broker=[
            f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(",")
        ],
        broker_credentials=_credentials(settings.kafka),
        broker_session_timeout=settings.kafka.session_timeout_s,
        broker_rebalance_timeout=settings.kafka.rebalance_timeout_s,
        broker_heartbeat_interval=min(3.0, settings.kafka.session_timeout_s / 3),
        broker_max_poll_records=settings.worker_batch_messages,
        # While the database is away the intake stands still; that must not cost the partitions.
        broker_max_poll_interval=_NEVER_S,
        stream_buffer_maxsize=2 * settings.worker_batch_messages,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.kafka = settings.kafka
    app.health = health
    app.fetch_offsets = partial(read_watermarks, settings.kafka)
    app.writer = Writer(pool, topics)
    committer = Committer(
        app.writer, health, app.fetch_offsets, partial(read_again, settings.kafka)
    )
    channel = app.topic(
        topics.fixes,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )

    @app.agent(channel, name="fixes")
    async def _fixes(stream: Any) -> None:
        async for events in stream.take_events(
            settings.worker_batch_messages, within=settings.worker_batch_wait_ms / 1000
        ):
            health.is_writing = True
            try:
                await committer.take([event.message for event in events])
            finally:
                health.is_writing = False

    return app


def _credentials(settings: KafkaSettings) -> Any:
    context = ssl_context(settings)
    if settings.security_protocol.startswith("SASL") and settings.sasl_password is not None:
        return SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value(),
            ssl_context=context,
            mechanism=settings.sasl_mechanism,
        )
    return SSLCredentials(context) if context is not None else None


@contextlib.asynccontextmanager
async def running(app: WorkerApp) -> AsyncIterator[None]:
    """Run the app until the context is left; what ends it before that is in its health.

    Starting takes as long as the first assignment, which waits for broker and database: it goes
    on beside the context.
    """
    app.finalize()
    living = asyncio.create_task(_live(app))
    try:
        yield
    finally:
        living.cancel()
        await asyncio.wait((living,))
        try:
            async with asyncio.timeout(_STOP_LIMIT_S):
                await app.stop()
        except TimeoutError:
            # What is committed is in the database; the rest will be delivered again.
            app.health.is_stuck = True
            _log.warning("the stream did not stop in time", limit_s=_STOP_LIMIT_S)


async def _live(app: WorkerApp) -> None:
    """Start, then turn a crash inside Faust into an end of the worker."""
    try:
        await app.start()
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends the worker, loudly
        app.health.end(error)
        return
    while not app.crashed:  # noqa: ASYNC110 - Faust offers no event for it
        await asyncio.sleep(0.2)
    crash = StreamCrashedError(f"the stream crashed: {app.crash_reason!r}")
    crash.__cause__ = app.crash_reason
    app.health.end(crash)
