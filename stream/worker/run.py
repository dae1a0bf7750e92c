"""One worker process: the Faust app, the relay of the outbox, the watcher, probes and metrics."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from infra.database.connection.pool import Pool, make_pool
from infra.kafka.client import Topics
from infra.settings import Settings
from stream.process.background import pause, repeat
from stream.process.health import database_problem, first_of, probes
from stream.relay import relay
from stream.worker.app import Health, make_app, running
from stream.worker.housekeeping.run import watch
from stream.worker.recovery.reader_guard import EVERY_S, guard_readers
from stream.worker.recovery.stall_watchdog import (
    ClusterReplacedError,
    StalledError,
    StallWatchdog,
    end_for_sure,
)
from stream.worker.recovery.stalled_sessions import end_hung_sessions

_COLLECT: Final = (50_000, 20, 50)
_STOP_LIMIT_S: Final = 10.0
_CONNECTIONS: Final = 8
"""For stream, outbox (two), watch, hung sessions, readers, watchdog and probe: nobody waits."""
_RETRY_S: Final = 2.0
_log: Final = structlog.get_logger(__name__)


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set; broker and database are waited for.

    Raises what ended the worker before that, such as `OffsetGapError`: a supervisor should start
    it again, and a human should read why.
    """
    # The fold makes many small objects that live for a batch, beside states that live for long:
    # collected as often as Python does by default, they cost a fifth of all time.
    gc.set_threshold(*_COLLECT)
    async with AsyncExitStack() as stack:
        silence_s = settings.kafka.session_timeout_s
        pool = await stack.enter_async_context(
            make_pool(settings, max_size=_CONNECTIONS, silence_s=silence_s)
        )
        stream = _Stream(settings, pool)
        problem = first_of(partial(database_problem, pool), stream.problem)
        await stack.enter_async_context(probes(problem, settings.admin_host, settings.admin_port))
        beside_stop = asyncio.Event()
        topics = Topics.named(settings.kafka.topic_prefix)
        beside = [
            asyncio.create_task(relay(pool, settings.kafka, beside_stop)),
            asyncio.create_task(watch(pool, topics, settings.housekeeping_interval_s, beside_stop)),
            asyncio.create_task(end_hung_sessions(pool, silence_s, beside_stop)),
            asyncio.create_task(
                repeat("readers", partial(guard_readers, pool), EVERY_S, beside_stop)
            ),
        ]
        streaming = asyncio.create_task(stream.run(stop))
        try:
            await asyncio.wait((streaming, *beside), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not streaming.done():
                streaming.cancel()
                await asyncio.wait((streaming,))
            beside_stop.set()
            _, slow = await asyncio.wait(beside, timeout=_STOP_LIMIT_S)
            for task in slow:  # nothing half done: each works in one transaction
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            for task in beside:
                if task not in slow:
                    task.result()
        if not streaming.cancelled():
            streaming.result()


class _Stream:
    """The Faust app, built anew as often as it takes."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._settings = settings
        self._pool = pool
        self._watchdog = StallWatchdog(settings, pool)
        self._health = Health()

    async def problem(self) -> str | None:
        """Return why the stream does not flow, or None."""
        return self._health.problem or self._watchdog.problem

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises what no new app can mend."""
        while True:
            try:
                generation = await self._watchdog.wait_for_servers(stop)
                if generation is None:
                    return
                await self._run_app(generation, stop)
                if self._health.is_stuck and not stop.is_set():
                    raise StalledError("a consumer that was to be replaced did not stop")  # noqa: TRY301 - ends like any other
            except Exception as error:
                if isinstance(error, (ClusterReplacedError, StalledError)):
                    _log.critical("the worker stops", reason=str(error))
                end_for_sure()
                raise
            if stop.is_set():
                return

    async def _run_app(self, generation: int, stop: asyncio.Event) -> None:
        """Run one app until it ends, crashes, or must be built anew."""
        health = self._health = Health()
        app = make_app(self._settings, self._pool, health, generation)
        async with running(app):
            ends = [
                asyncio.create_task(stop.wait()),
                asyncio.create_task(health.ended.wait()),
                asyncio.create_task(self._watchdog.watch(app, generation)),
            ]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                watching = ends[-1]
                if watching.done():
                    watching.result()
            finally:
                for task in ends:
                    task.cancel()
                await asyncio.wait(ends)
        if health.fatal is None or stop.is_set():
            return
        if not isinstance(health.fatal.__cause__ or health.fatal, (KafkaError, OSError)):
            raise health.fatal
        _log.warning("the stream lost its broker and begins anew", reason=str(health.fatal))
        await pause(stop, _RETRY_S)
