"""Watches that a worker gets records, and gets it out of it when it does not; see ADR 30."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from functools import partial
from typing import Final, Protocol

import psycopg
import structlog
from aiokafka.errors import KafkaError
from prometheus_client import Counter
from psycopg_pool import PoolTimeout

from infra.database.connection.pool import Pool
from infra.database.stream.consumer_group import (
    TopicState,
    adopt_cluster,
    raise_generation,
    read_topic_state,
)
from infra.database.stream.progress import Partition
from infra.kafka.client import Topics, Watermarks, read_cluster_id, read_watermarks
from infra.settings import Settings
from schemas.errors import OutageError, UserError
from stream.process.background import pause
from stream.process.bounded_check import BoundedCheck
from stream.worker.recovery.stall import LOOK_EVERY_S, Look, RecoveryStep, StallDetector

RECOVERIES: Final = Counter(
    "fleetpulse_worker_recoveries",
    "Times that a worker got itself out of a stream that stood still, by step",
    ["step"],
)
_LIMIT_S: Final = 5.0
"""Of the database's and of the broker's part of a look."""
_RETRY_S: Final = 1.0
_END_LIMIT_S: Final = 20.0
_log: Final = structlog.get_logger(__name__)


class StalledError(OutageError):
    """The stream stands still and a new consumer did not help: the process must be replaced."""


class ClusterReplacedError(UserError):
    """Our offsets are of another Kafka cluster than the one that answers."""

    exit_code = 1


class Watched(Protocol):
    """A worker's app, as far as it is watched."""

    def owned_partitions(self) -> frozenset[Partition] | None:
        """Return what the group gives us; None while it has not let us in."""

    def is_busy(self) -> bool:
        """Return whether a batch is being written."""

    def waits_for(self) -> str | None:
        """Return what the app itself says that it waits for, such as the database."""


class StallWatchdog:
    """Looks every few seconds at progress, broker and group."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self._kafka = settings.kafka
        self._pool = pool
        self._topic = Topics.named(settings.kafka.topic_prefix).fixes
        self._detector = StallDetector(settings.kafka.session_timeout_s)
        self._progress: Mapping[Partition, int] = {}
        self._ask_database = BoundedCheck(self._read_state, _LIMIT_S)
        self._ask_cluster = BoundedCheck(partial(read_cluster_id, self._kafka), _LIMIT_S)
        self._ask_held = BoundedCheck(self._read_held, 2 * _LIMIT_S)
        self._to_ask: list[Partition] = []
        self._beyond: frozenset[Partition] = frozenset()
        self._away: str | None = None
        self.problem: str | None = "starting"

    async def wait_for_servers(self, stop: asyncio.Event) -> int | None:
        """Wait until database and broker answer, and return the generation of the group.

        Returns None when told to stop. Raises `ClusterReplacedError`.
        """
        while not stop.is_set():
            state = await self._read()
            if state is not None:
                self._detector.begin()
                self.problem = "no partitions assigned yet"
                return state.generation
            await pause(stop, _RETRY_S)
        return None

    async def watch(self, app: Watched, generation: int) -> None:
        """Return when the app must be built anew.

        Raises `StalledError` when that has not helped, and `ClusterReplacedError`.
        """
        while True:
            before = self._progress
            state = await self._read()
            if state is not None:
                if state.generation != generation:
                    _log.info("the workers change to a new consumer group", number=state.generation)
                    return
                if await self._look(app, before, state):
                    return
            joining = app.owned_partitions() is None
            await asyncio.sleep(_RETRY_S if joining else LOOK_EVERY_S)

    async def _look(self, app: Watched, before: Mapping[Partition, int], state: TopicState) -> bool:
        """Take one look; return whether the app must be built anew."""
        owned = app.owned_partitions()
        moved = {each for each, offset in state.progress.items() if before.get(each) != offset}
        if owned and owned | state.progress.keys() <= moved:
            self._detector.forget()  # all of it moves: no need to ask the broker how far
            self.problem = None
            return False
        self._to_ask = sorted((owned or frozenset()) | state.progress.keys())
        try:
            look = Look(
                at_s=asyncio.get_running_loop().time(),
                owned=owned,
                busy=app.is_busy(),
                progress=state.progress,
                held=await self._ask_held(),
            )
        except (KafkaError, OSError) as away:
            self._note_outage(f"kafka: {away}")
            return False
        self._check_ends(look)
        if app.waits_for() is not None:  # it says itself why nothing moves
            self._detector.forget()
            self.problem = None
            return False
        verdict = self._detector.judge(look)
        self.problem = verdict.problem
        if verdict.step is None:
            return False
        await self._take(verdict.step, verdict.reason, state.generation)
        return True

    async def _take(self, step: RecoveryStep, reason: str, generation: int) -> None:
        RECOVERIES.labels(step.value).inc()
        _log.error("the stream stands still", reason=reason, step=step.value)
        self._detector.forget()
        if step is RecoveryStep.END:
            raise StalledError(f"{reason}, also after a new consumer was built")
        if step is RecoveryStep.NEW_GROUP:
            try:
                async with asyncio.timeout(_LIMIT_S), self._pool.connection() as connection:
                    await raise_generation(connection, self._topic, generation)
            except (psycopg.Error, PoolTimeout, OSError) as away:
                self._note_outage(f"database: {away}")

    async def _read(self) -> TopicState | None:
        """Return what the database holds, and check the cluster; None while one is away."""
        try:
            state = await self._ask_database()
        except (psycopg.Error, PoolTimeout, OSError) as away:
            self._note_outage(f"database: {away}")
            return None
        self._progress = state.progress
        try:
            cluster_id = await self._ask_cluster()
        except (KafkaError, OSError) as away:
            self._note_outage(f"kafka: {away}")
            return None
        try:
            await self._check_cluster(state, cluster_id)
        except (psycopg.Error, PoolTimeout, OSError) as away:
            self._note_outage(f"database: {away}")
            return None
        if self._away is not None:
            _log.info("broker and database answer", after=self._away)
            self._away = None
        return state

    async def _read_state(self) -> TopicState:
        async with self._pool.connection() as connection:
            return await read_topic_state(connection, self._topic)

    async def _read_held(self) -> Mapping[Partition, Watermarks]:
        if not self._to_ask:
            return {}
        answer = await read_watermarks(self._kafka, self._to_ask)
        return {Partition(*place): what for place, what in answer.items()}

    async def _check_cluster(self, state: TopicState, cluster_id: str) -> None:
        if state.cluster_id is None:
            async with asyncio.timeout(_LIMIT_S), self._pool.connection() as connection:
                await adopt_cluster(connection, self._topic, cluster_id)
        elif state.cluster_id != cluster_id:
            raise ClusterReplacedError(
                f"the offsets of {self._topic} are of Kafka cluster {state.cluster_id}, but "
                f"{cluster_id} answers: was it replaced, or its disks wiped? {_remedy(self._topic)}"
            )

    def _check_ends(self, look: Look) -> None:
        """Notice a topic that was created anew in the same cluster.

        Two looks in a row, for a new leader may know for a moment of fewer records than the last.
        """
        beyond = frozenset(
            place for place, what in look.held.items() if look.progress.get(place, 0) > what.end
        )
        if twice := beyond & self._beyond:
            place = min(twice)
            raise ClusterReplacedError(
                f"{place.topic}[{place.partition}] ends at offset {look.held[place].end}, but "
                f"{look.progress[place]} records of it were processed: was the topic deleted and "
                f"created anew? {_remedy(self._topic)}"
            )
        self._beyond = beyond

    def _note_outage(self, reason: str) -> None:
        """Say once that something is away; nothing is measured meanwhile."""
        self.problem = reason
        self._detector.forget()
        server = reason.partition(":")[0]
        if self._away != server:
            _log.warning("waiting", reason=reason)
            self._away = server


def _remedy(topic: str) -> str:
    return (
        "Nothing is read until you decide. If what it held is given up: "
        f"fleetpulse offsets reset {topic}"
    )


def end_for_sure() -> None:
    """Have the process end within some seconds, though a thread of a library hangs in it."""
    watch = threading.Timer(_END_LIMIT_S, os._exit, (1,))
    watch.daemon = True
    watch.start()
