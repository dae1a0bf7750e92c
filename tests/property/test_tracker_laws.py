"""Law 2 on trackers: it does not matter when somebody says in which vehicle a tracker was.

Fixes of two trackers come in any order, in any batches, through two workers; what is told of the
trackers comes before, between, after and beside them. The tables are those of a worker that was
told everything before the first fix, dead letters that wait among them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from infra.database.connection.pool import Pool
from processors.trackers import TrackerRefusedError
from schemas.events.fix import Fix
from stream.worker.decode.records import Record
from stream.worker.refold.reassign import assign, release
from stream.worker.write.writer import Writer
from tests.property.accounts import accounted_for
from tests.property.examples import examples
from tests.property.test_writer_laws import consume, journeys, prepared
from tests.stream_harness import TOPICS, Log, derived, empty, fetch, message, open_pool

CAR, VAN, TRACKER = "syddjurs/a", "syddjurs/b", "syddjurs/t"
SENT = (
    "SELECT * FROM vehicle_checkpoint ORDER BY 1, 2",
    (
        "SELECT DISTINCT reason, vehicle_id, convert_from(message_value, 'UTF8')::jsonb -> 'fixes' "
        "FROM dead_letter WHERE replayed_at IS NULL ORDER BY 1, 2, 3"
    ),
)


@dataclass(frozen=True)
class AssignmentMessage:
    """What somebody says of a tracker: where it is from an instant on, None for nowhere."""

    tracker_id: str
    vehicle_id: str | None
    at: datetime

    async def tell(self, pool: Pool, at_once: int) -> None:
        """Say so, once more where the database has resolved a circle of waiting."""
        while True:
            try:
                if self.vehicle_id is None:
                    await release(pool, TOPICS, self.tracker_id, self.at, at_once=at_once)
                else:
                    await assign(
                        pool, TOPICS, self.tracker_id, self.vehicle_id, self.at, at_once=at_once
                    )
            except TrackerRefusedError:
                event("refused")
            except psycopg.errors.DeadlockDetected:
                event("deadlock")
                continue
            return


@dataclass(frozen=True)
class Step:
    """Some records of each worker and some tellings, one after another or all at once."""

    records: tuple[int, int]
    tellings: int
    at_once: bool


_steps = st.builds(
    Step,
    records=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    tellings=st.integers(0, 2),
    at_once=st.booleans(),
)


@dataclass
class Story:
    """How fixes of the car and the tracker reach us, and what is told, in order."""

    fixes: list[Fix]
    log: Log
    tellings: list[AssignmentMessage]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Return journeys of two trackers that also speak at the same instants, and where they were."""
    fixes = [
        fix.model_copy(update={"vehicle_id": TRACKER}) if fix.vehicle_id == VAN else fix
        for fix in draw(journeys())
    ]
    for fix in draw(st.lists(st.sampled_from(fixes), min_size=2, max_size=6)):
        # The other one at the same instant: word for word, or elsewhere.
        sender = CAR if fix.vehicle_id == TRACKER else TRACKER
        shift = draw(st.sampled_from((0.0, 0.0005, -0.0005)))
        lat = None if fix.lat is None else fix.lat + shift
        fixes.append(fix.model_copy(update={"vehicle_id": sender, "lat": lat}))
    arriving = sorted(fixes, key=lambda fix: fix.recorded_at)
    arriving += draw(st.lists(st.sampled_from(fixes), max_size=2))
    if draw(st.booleans()):
        arriving = draw(st.permutations(arriving))
    log = Log()
    while arriving:
        size = draw(st.integers(1, 6))
        portion, arriving = arriving[:size], arriving[size:]
        log.append(message(portion), partition=draw(st.integers(0, 1)))
    instants = sorted({fix.recorded_at for fix in fixes})
    places = draw(st.lists(st.integers(0, len(instants) - 1), min_size=2, max_size=5))
    if draw(st.integers(0, 3)):
        places.sort()  # else most are refused
    tellings = [
        AssignmentMessage(
            draw(st.sampled_from((CAR, TRACKER, TRACKER))),
            draw(st.sampled_from((CAR, CAR, VAN, None))),
            instants[place] + timedelta(seconds=draw(st.sampled_from((0, 0, 1)))),
        )
        for place in places
    ]
    # What was said and then taken back, or said again, leaves most to be put in order.
    tellings += [
        AssignmentMessage(telling.tracker_id, draw(st.sampled_from((None, CAR, VAN))), telling.at)
        for telling in draw(st.lists(st.sampled_from(tellings), min_size=1, max_size=3))
    ]
    return Story(fixes, log, tellings)


async def tables(pool: Pool) -> list[tuple[object, ...]]:
    """Return everything that must not depend on when what was told."""
    return [*await derived(pool), *[row for query in SENT for row in await fetch(pool, query)]]


async def forget(pool: Pool) -> None:
    """Delete what was written, and all that was told."""
    await empty(pool)
    async with pool.connection() as connection:
        await connection.execute("DELETE FROM tracker_assignment")


async def play(pool: Pool, log: Log, steps: list[Step], tellings: list[AssignmentMessage]) -> None:
    """Write and tell as the steps say, and at the end what is left."""
    writers = (Writer(pool, TOPICS), Writer(pool, TOPICS))
    queues: list[list[Record]] = [
        log.since(await log.assign(writer, [number])) if number in log.records else []
        for number, writer in enumerate(writers)
    ]
    ahead = [queue[:2] for queue in queues]
    entries = list(tellings)

    async def write(number: int, count: int) -> None:
        while count and queues[number]:
            portion, queues[number] = ahead[number], queues[number][len(ahead[number]) :]
            ahead[number] = queues[number][:2]
            while True:
                try:
                    await writers[number].write(portion, ahead[number])
                except psycopg.errors.DeadlockDetected:
                    event("deadlock of workers")
                    continue
                break
            count -= 1

    async def tell(count: int) -> None:
        while count and entries:
            await entries.pop(0).tell(pool, at_once=3)
            count -= 1

    for step in steps:
        work = [write(0, step.records[0]), write(1, step.records[1]), tell(step.tellings)]
        if step.at_once:
            await asyncio.gather(*work)
        else:
            for coroutine in work:
                await coroutine
    await asyncio.gather(write(0, 1000), write(1, 1000))
    await tell(1000)


def test_it_does_not_matter_when_a_swap_is_told(database_url: str) -> None:
    prepared(database_url)

    async def enter() -> None:
        async with open_pool(database_url) as pool, pool.connection() as connection:
            await connection.execute(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name) "
                "VALUES (%s, 'syddjurs', 'B')",
                [VAN],
            )

    asyncio.run(enter())

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(story=stories(), steps=st.lists(_steps, max_size=8))
    def law(story: Story, steps: list[Step]) -> None:
        async def main() -> None:
            async with open_pool(database_url) as pool:
                await forget(pool)
                for telling in story.tellings:
                    await telling.tell(pool, at_once=1000)
                plain = Log()
                plain.append(message(sorted(story.fixes, key=lambda fix: fix.recorded_at)))
                await consume(pool, plain, batch=1)
                expected = await tables(pool)
                await accounted_for(pool)
                await forget(pool)
                await play(pool, story.log, steps, story.tellings)
                assert await tables(pool) == expected
                await accounted_for(pool)

        asyncio.run(main())

    law()
