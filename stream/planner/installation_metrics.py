"""Gauges of the whole installation, exported by the leading planner: what waits, and where.

The leading planner exports them, since there is exactly one in an installation: from each worker
they would come as often as there are workers, and not at all while none runs, which is when the lag
matters most. A scrape returns what was read last and waits for nobody. What cannot be read is left
out, so that nobody takes an old number for a new one; without a leader, all of them are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from infra.database.connection.pool import Pool, make_pool
from infra.database.operations.backlog import read_backlog
from infra.kafka.client import Topics
from infra.kafka.lag import read_all_progress, read_lag
from infra.settings import KafkaSettings, Settings
from schemas.events.dead_letters import DeadLetterReason
from stream.process.background import repeat

EVERY_S: Final = 15.0
"""How often database and broker are asked."""

Values = Mapping[tuple[str, ...], float]
"""By the values of a gauge's labels."""

_GAUGES: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "fleetpulse_outbox_messages": ("Messages in the outbox that Kafka does not have yet", ()),
    "fleetpulse_outbox_oldest_message_timestamp_seconds": (
        "When the message that waits longest in the outbox was written; absent while none waits",
        (),
    ),
    "fleetpulse_open_dead_letters": (
        "Dead letters neither replayed nor discarded; vendor is empty where it is not known",
        ("reason", "vendor"),
    ),
    "fleetpulse_open_alerts": ("Alerts that are not over", ("kind",)),
    "fleetpulse_newest_plan_timestamp_seconds": (
        "When the newest plan of a municipality was made; absent without any",
        ("municipality_id",),
    ),
    "fleetpulse_partition_next_offset": (
        "Offset of the next record to be processed",
        ("topic", "partition"),
    ),
    "fleetpulse_partition_moved_timestamp_seconds": (
        "When the progress of a partition was last moved on",
        ("topic", "partition"),
    ),
    "fleetpulse_partition_lag_records": (
        "Records in Kafka that are not processed",
        ("topic", "partition"),
    ),
    "fleetpulse_partition_lag_seconds": (
        "Age of the oldest record in Kafka that is not processed; 0 without any",
        ("topic", "partition"),
    ),
}


class InstallationMetrics(Collector):
    """What was read last; reading replaces it as a whole."""

    def __init__(self) -> None:
        self._database: Mapping[str, Values] = {}
        self._partitions: Mapping[str, Values] = {}

    def describe(self) -> Iterable[Metric]:
        """Return all gauges without values."""
        return self._families({})

    def collect(self) -> Iterable[Metric]:
        """Return all gauges with what is known."""
        return self._families({**self._database, **self._partitions})

    @staticmethod
    def _families(measured: Mapping[str, Values]) -> Iterable[Metric]:
        for name, (documentation, labels) in _GAUGES.items():
            family = GaugeMetricFamily(name, documentation, labels=labels)
            for values, number in measured.get(name, {}).items():
                family.add_metric(values, number)
            yield family

    def clear(self) -> None:
        """Forget everything: somebody else may lead now."""
        self._database = self._partitions = {}

    async def read_database(self, pool: Pool) -> None:
        """Read what waits in the database; raises what psycopg does, and then nothing is known."""
        try:
            async with pool.connection() as connection:
                backlog = await read_backlog(connection)
        except BaseException:
            self._database = {}
            raise
        oldest = backlog.outbox_oldest_at
        # Reasons without a letter are told, too: from none to one is a rise.
        letters: dict[tuple[str, ...], float] = {
            **{(reason.value, ""): 0.0 for reason in DeadLetterReason},
            **{(reason, vendor): count for reason, vendor, count in backlog.open_letters},
        }
        self._database = {
            "fleetpulse_outbox_messages": {(): backlog.outbox_messages},
            "fleetpulse_outbox_oldest_message_timestamp_seconds": (
                {} if oldest is None else {(): oldest.timestamp()}
            ),
            "fleetpulse_open_dead_letters": letters,
            "fleetpulse_open_alerts": {(kind,): count for kind, count in backlog.open_alerts},
            "fleetpulse_newest_plan_timestamp_seconds": {
                (municipality_id,): at.timestamp() for municipality_id, at in backlog.newest_plans
            },
        }

    async def read_partitions(self, pool: Pool, settings: KafkaSettings) -> None:
        """Read the progress and ask the broker for the lag; what one does not say is left out."""
        topic = Topics.named(settings.topic_prefix).fixes
        try:
            async with pool.connection() as connection:
                stored = [
                    progress
                    for progress in await read_all_progress(connection)
                    if progress.topic == topic
                ]
        except BaseException:
            self._partitions = {}
            raise
        offsets = {progress.partition: progress.next_offset for progress in stored}
        progress: dict[str, Values] = {
            "fleetpulse_partition_next_offset": {
                (topic, str(number)): offset for number, offset in offsets.items()
            },
            "fleetpulse_partition_moved_timestamp_seconds": {
                (topic, str(progress.partition)): progress.updated_at.timestamp()
                for progress in stored
            },
        }
        try:
            lags = await read_lag(settings, topic, offsets)
        except BaseException:
            self._partitions = progress
            raise
        now = datetime.now(UTC)
        self._partitions = {
            **progress,
            "fleetpulse_partition_lag_records": {
                (topic, str(number)): lag.records for number, lag in lags.items()
            },
            "fleetpulse_partition_lag_seconds": {
                (topic, str(number)): (
                    0.0
                    if lag.oldest_at is None
                    else max(0.0, (now - lag.oldest_at).total_seconds())
                )
                for number, lag in lags.items()
                if lag.oldest_at is not None or not lag.records
            },
        }


METRICS: Final = InstallationMetrics()
REGISTRY.register(METRICS)


@asynccontextmanager
async def exporting(settings: Settings) -> AsyncIterator[None]:
    """Keep the gauges up to date while the context lasts, over connections of their own."""
    stop = asyncio.Event()
    async with make_pool(settings, max_size=2) as pool:
        readers = {
            "database metrics": partial(METRICS.read_database, pool),
            "partition metrics": partial(METRICS.read_partitions, pool, settings.kafka),
        }
        tasks = [
            asyncio.create_task(repeat(name, read, EVERY_S, stop), name=name)
            for name, read in readers.items()
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            METRICS.clear()
