"""One worker process: the Faust app, the relay of the outbox, the watcher, probes and metrics."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from infra.database.pool import make_pool
from infra.kafka import Topics
from infra.settings import Settings
from stream.background import repeat
from stream.health import database_problem, probes
from stream.relay import relay
from stream.worker.app import Health, make_app, running
from stream.worker.reader_guard import EVERY_S, guard_readers
from stream.worker.successor import end_hung_sessions
from stream.worker.watch import watch

_COLLECT: Final = (50_000, 20, 50)
_STOP_LIMIT_S: Final = 10.0
_CONNECTIONS: Final = 6
"""For stream, outbox, watch, hung sessions, readers and probe: none waits for another's."""


async def run_worker(settings: Settings, stop: asyncio.Event) -> None:
    """Work until `stop` is set.

    Raises what ended the worker before that, such as `OffsetGapError`: a supervisor should start
    it again, and a human should read why.
    """
    # The fold makes many small objects that live for a batch, beside states that live for long:
    # collected as often as Python does by default, they cost a fifth of all time.
    gc.set_threshold(*_COLLECT)
    health = Health()
    async with AsyncExitStack() as stack:
        silence_s = settings.kafka.session_timeout_s
        pool = await stack.enter_async_context(
            make_pool(settings, max_size=_CONNECTIONS, silence_s=silence_s)
        )

        async def problem() -> str | None:
            return health.problem or await database_problem(pool)

        await stack.enter_async_context(
            probes(problem, settings.metrics_host, settings.metrics_port)
        )
        beside_stop = asyncio.Event()
        topics = Topics.named(settings.kafka.topic_prefix)
        beside = [
            asyncio.create_task(relay(pool, settings.kafka, beside_stop)),
            asyncio.create_task(watch(pool, topics, settings.watch_every_s, beside_stop)),
            asyncio.create_task(end_hung_sessions(pool, silence_s, beside_stop)),
            asyncio.create_task(
                repeat("readers", partial(guard_readers, pool), EVERY_S, beside_stop)
            ),
        ]
        try:
            async with running(make_app(settings, pool, health)):
                asked = asyncio.create_task(stop.wait())
                ended = asyncio.create_task(health.ended.wait())
                await asyncio.wait((asked, ended, *beside), return_when=asyncio.FIRST_COMPLETED)
                asked.cancel()
                ended.cancel()
        finally:
            beside_stop.set()
            _, slow = await asyncio.wait(beside, timeout=_STOP_LIMIT_S)
            for task in slow:  # nothing half done: each works in one transaction
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            for task in beside:
                if task not in slow:
                    task.result()
    if health.fatal is not None:
        raise health.fatal
