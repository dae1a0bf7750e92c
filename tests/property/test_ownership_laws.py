"""Law 2 on who writes: partitions are dealt anew at any time, and not everybody hears of it.

The topic gets more partitions on the way, so that a vehicle's fixes come from several; workers
write at the same time, on connections of their own; one that was not told that it has lost a
partition goes on with what it had fetched of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import psycopg
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from infra.database.connection.pool import Pool
from stream.worker.decode.records import Record
from stream.worker.write.writer import Writer
from tests.property.accounts import accounted_for
from tests.property.examples import examples
from tests.property.test_writer_laws import Delivery, consume, deliveries, plain_log, prepared
from tests.stream_harness import TOPICS, Log, derived, empty, open_pool

_WORKERS = 3
_PARTITIONS = 4


@dataclass(frozen=True)
class Deal:
    """A rebalance: which worker each partition falls to, and which workers hear of it."""

    owners: tuple[int, ...]
    informed: frozenset[int]


@dataclass(frozen=True)
class Turn:
    """Some workers write their next records, all at once."""

    workers: frozenset[int]
    records: int


_some_workers = st.frozensets(st.integers(0, _WORKERS - 1), min_size=1)
_deals = st.builds(
    Deal,
    owners=st.tuples(*[st.integers(0, _WORKERS - 1)] * _PARTITIONS),
    informed=_some_workers,
)
_turns = st.builds(Turn, workers=_some_workers, records=st.integers(1, 3))


@st.composite
def growing_topics(draw: st.DrawFn) -> Delivery:
    """Return a delivery on one partition or two, and from some message on, on four."""
    delivery = draw(deliveries())
    values = [record.value for records in delivery.log.records.values() for record in records]
    grows_at = draw(st.integers(0, len(values)))
    log = Log()
    for index, value in enumerate(values):
        last = 1 if index < grows_at else _PARTITIONS - 1
        log.append(value, partition=draw(st.integers(0, last)))
    return Delivery(delivery.fixes, log)


@dataclass
class Worker:
    """A worker with what it has fetched of the partitions that it takes for its own."""

    pool: Pool
    log: Log
    writer: Writer = field(init=False)
    fetched: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.writer = Writer(self.pool, TOPICS)

    async def own(self, partitions: Collection[int]) -> None:
        """Hear what is its own from now on."""
        self.fetched = self.log.since(await self.log.assign(self.writer, partitions))

    async def write(self, count: int) -> None:
        """Write the next records; as the worker does, once more after a deadlock."""
        portion, self.fetched = self.fetched[:count], self.fetched[count:]
        while portion:
            try:
                await self.writer.write(portion)
            except psycopg.errors.DeadlockDetected:
                event("deadlock")
                continue
            return


async def play(pool: Pool, log: Log, steps: list[Deal | Turn]) -> None:
    """Deal and write as told, and at the end have one worker take what is left."""
    workers = [Worker(pool, log) for _ in range(_WORKERS)]
    for step in steps:
        if isinstance(step, Turn):
            await asyncio.gather(*(workers[worker].write(step.records) for worker in step.workers))
            continue
        for number in step.informed:
            await workers[number].own(
                [partition for partition, owner in enumerate(step.owners) if owner == number]
            )
    await consume(pool, log, batch=3)


def test_partitions_may_be_dealt_anew_at_any_time(database_url: str) -> None:
    prepared(database_url)

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        delivery=growing_topics(),
        first=_deals,
        steps=st.lists(st.one_of(_deals, _turns, _turns, _turns), min_size=2, max_size=16),
    )
    def law(delivery: Delivery, first: Deal, steps: list[Deal | Turn]) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await empty(pool)
                await consume(pool, plain_log(delivery.fixes), batch=1)
                expected = await derived(pool)
                await empty(pool)
                await play(pool, delivery.log, [first, *steps])
                assert await derived(pool) == expected
                await accounted_for(pool)

        asyncio.run(main())

    law()
