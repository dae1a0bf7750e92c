"""A vehicle that falls silent: its trip ends by a timer, and the late truth still wins."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from infra.database.connection.pool import Pool
from schemas.events.fix import Fix
from stream.worker.housekeeping.inactivity import MAX_SILENT, settle_silent
from stream.worker.write.writer import Writer
from tests.stream_harness import (
    TOPICS,
    Log,
    derived,
    empty,
    enter_municipality,
    fetch,
    message,
    open_pool,
)

START = datetime(2026, 2, 2, 6, tzinfo=UTC)
PAGE_SIZE = timedelta(0)
LAST = START + timedelta(minutes=20)
SEGMENTS = (
    "SELECT state, started_at, ended_at, is_open FROM segment WHERE vehicle_id = 'syddjurs/a' "
    "ORDER BY started_at"
)
TRIPS = "SELECT ended_at, is_open FROM trip WHERE vehicle_id = 'syddjurs/a'"
HOURS = (
    "SELECT sum(driving_s + idling_s + parked_s + offline_s) FROM usage_hour "
    "WHERE vehicle_id = 'syddjurs/a'"
)
ENDED = "SELECT count(*) FROM outbox WHERE payload ->> 'type' = 'trip-ended'"


def fix(vehicle: str, minute: float, metres: float, *, ignition: bool | None = True) -> Fix:
    """Return a report so many minutes after the start and metres to the north."""
    return Fix(
        vehicle_id=f"syddjurs/{vehicle}",
        recorded_at=START + timedelta(minutes=minute),
        lat=56.3 + metres / 111_340,
        lon=10.4,
        ignition=ignition,
    )


def drive(*, ignition_at_end: bool | None = True) -> list[Fix]:
    """Return a drive that breaks off: twenty minutes, and then no more."""
    fixes = [fix("a", minute, 800.0 * minute) for minute in range(20)]
    return [*fixes, fix("a", 20, 800.0 * 20, ignition=ignition_at_end)]


def others(hours: float) -> Fix:
    """Return a report of another vehicle so many hours after the first one fell silent."""
    return fix("b", 20 + 60 * hours, 0.0)


@pytest.fixture
def url(database_url: str) -> str:
    """Return a database with one municipality."""

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    return database_url


class Stream:
    """A worker that takes what is sent, and a timer beside it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.log = Log()
        self.writer = Writer(pool, TOPICS)
        self.begun = False

    async def send(self, *fixes: Fix) -> None:
        """Have fixes arrive in one message."""
        self.log.append(message(fixes))
        if not self.begun:
            await self.log.assign(self.writer)
            self.begun = True
        await self.writer.write(self.log.records[0][-1:])

    async def settle(self, *, unwritten_for: timedelta = PAGE_SIZE) -> int:
        """Have the timer fire."""
        return await settle_silent(self.pool, TOPICS, unwritten_for=unwritten_for)


def run(url: str, scenario: Any) -> Any:
    """Run a scenario on a stream."""

    async def main() -> Any:
        async with open_pool(url) as pool:
            work: Coroutine[Any, Any, Any] = scenario(Stream(pool))
            return await work

    return asyncio.run(main())


def test_its_trip_ends_and_it_is_offline_until_now(url: str) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.send(*drive(), others(3))
        assert await fetch(stream.pool, TRIPS) == [(LAST, True)]
        assert await stream.settle() == 1
        assert await fetch(stream.pool, TRIPS) == [(LAST, False)]
        now = LAST + timedelta(hours=3)
        assert await fetch(stream.pool, SEGMENTS) == [
            ("driving", START, LAST, False),
            ("offline", LAST, now, True),
        ]
        assert await fetch(stream.pool, HOURS) == [((now - START).total_seconds(),)]
        assert await fetch(stream.pool, ENDED) == [(1,)]

    run(url, scenario)


def test_with_the_engine_off_it_is_parked(url: str) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.send(*drive(ignition_at_end=False), others(3))
        await stream.settle()
        segments = await fetch(stream.pool, SEGMENTS)
        assert [row[0] for row in segments] == ["driving", "parked"]

    run(url, scenario)


@pytest.mark.parametrize("hours", [0.5, 1.0])
def test_within_the_gap_nothing_is_said(url: str, hours: float) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.send(*drive(), others(hours))
        assert await stream.settle() == 0

    run(url, scenario)


def test_a_vehicle_that_is_being_caught_up_with_is_not_silent(url: str) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.send(*drive(), others(3))
        assert await stream.settle(unwritten_for=timedelta(minutes=10)) == 0

    run(url, scenario)


def test_its_rows_are_written_on_each_hour_for_a_week_and_no_longer(url: str) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.send(*drive(), others(3))
        assert [await stream.settle(), await stream.settle()] == [1, 0]
        await stream.send(others(3.9))
        assert await stream.settle() == 0
        await stream.send(others(4.1))
        assert await stream.settle() == 1
        assert await fetch(stream.pool, ENDED) == [(1,)]
        for days_more in (0, 1, 30):
            await stream.send(others(MAX_SILENT.total_seconds() / 3600 + 1 + 24 * days_more))
            assert await stream.settle() == (1 if days_more == 0 else 0)

    run(url, scenario)


@pytest.mark.parametrize(
    "late",
    [
        [fix("a", 25, 800.0 * 25)],  # it was only out of coverage
        [fix("a", 500, 800.0 * 20, ignition=False)],  # it has stood all the time
        [fix("a", 10.5, 800.0 * 10.5)],  # older than what was known
        [fix("a", 25, 800.0 * 25), fix("a", 7.5, 800.0 * 7.5), fix("a", 600, 0.0)],
    ],
)
def test_the_late_truth_wins(url: str, late: Sequence[Fix]) -> None:
    async def disturbed(stream: Stream) -> list[tuple[Any, ...]]:
        await stream.send(*drive(), others(3))
        assert await stream.settle() == 1
        await stream.send(*late)
        return await derived(stream.pool)

    async def undisturbed(stream: Stream) -> list[tuple[Any, ...]]:
        await empty(stream.pool)
        await stream.send(*drive(), others(3))
        await stream.send(*late)
        return await derived(stream.pool)

    assert run(url, disturbed) == run(url, undisturbed)


def test_a_timer_that_waits_for_the_owner_looks_again(url: str) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.send(*drive(), others(3))
        with psycopg.connect(url) as owner:
            owner.execute("SELECT 1 FROM vehicle_state WHERE vehicle_id = 'syddjurs/a' FOR UPDATE")
            settling = asyncio.create_task(stream.settle())
            await asyncio.sleep(0.5)
            assert not settling.done()
            owner.execute(
                "UPDATE vehicle_state SET last_recorded_at = %s WHERE vehicle_id = 'syddjurs/a'",
                [LAST + timedelta(hours=2, minutes=30)],
            )
            owner.commit()
            assert await settling == 0

    run(url, scenario)


def test_a_jump_of_weeks_in_event_time_still_ends_the_trip(url: str) -> None:
    async def scenario(stream: Stream) -> None:
        await stream.send(*drive(), others(24 * 21))
        assert [await stream.settle(), await stream.settle()] == [1, 0]
        assert await fetch(stream.pool, TRIPS) == [(LAST, False)]
        *_, last = await fetch(stream.pool, SEGMENTS)
        assert last == ("offline", LAST, LAST + MAX_SILENT, True)

    run(url, scenario)
