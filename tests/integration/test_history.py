"""History in the worker: what is too old unless it is declared, and what a long silence costs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from infra.database.connection.migrate import migrate
from infra.database.connection.pool import Pool
from processors.usage.hours import MAX_HOURLY_SILENCE
from schemas.events.fix import Fix, FixBatch
from schemas.events.history import HistoryRange
from stream.worker.decode import columnar
from stream.worker.write.writer import Writer
from tests.databases import Databases
from tests.property.accounts import accounted_for
from tests.stream_harness import (
    RECEIVED_AT,
    TOPICS,
    Log,
    derived,
    empty,
    enter_municipality,
    fetch,
    message,
    open_pool,
)

CAR = "syddjurs/a"
NOW = RECEIVED_AT - timedelta(hours=2)
ROLLED_OVER = NOW - timedelta(weeks=1024)
HISTORY = HistoryRange(datetime(2008, 5, 1, tzinfo=UTC), datetime(2008, 6, 30, tzinfo=UTC))
MAY = datetime(2008, 5, 17, 8, tzinfo=UTC)
ROWS = "SELECT vehicle_id, recorded_at FROM fix ORDER BY 1, 2"
LETTERS = "SELECT reason, convert_from(message_value, 'UTF8') FROM dead_letter ORDER BY 1, 2"
DECODERS = (columnar.decode, lambda records: (None, list(records)))


def report(at: datetime, *, vehicle_id: str = CAR, lat: float = 56.3) -> Fix:
    return Fix(vehicle_id=vehicle_id, recorded_at=at, lat=lat, lon=10.4, ignition=False)


def run(url: str, scenario: Callable[[Pool], Awaitable[None]]) -> None:
    """Run a scenario on a database in which a municipality is entered."""

    async def main() -> None:
        async with open_pool(url) as pool:
            await enter_municipality(pool)
            await scenario(pool)

    asyncio.run(main())


async def write(pool: Pool, *values: bytes) -> None:
    """Have a new worker take messages, each in a batch of its own."""
    log, writer = Log(), Writer(pool, TOPICS)
    for value in values:
        log.append(value)
    for record in log.since(await log.assign(writer)):
        await writer.write([record])


@pytest.mark.parametrize("decode", DECODERS, ids=["in columns", "one by one"])
def test_a_clock_1024_weeks_back_is_a_letter_and_the_timeline_begins_with_the_true_fixes(
    database_url: str, monkeypatch: pytest.MonkeyPatch, decode: Any
) -> None:
    monkeypatch.setattr(columnar, "decode", decode)
    true = [report(NOW + minutes * timedelta(minutes=5)) for minutes in range(4)]

    async def scenario(pool: Pool) -> None:
        await write(pool, message([report(ROLLED_OVER)]), message(true))
        assert await fetch(pool, ROWS) == [(CAR, fix.recorded_at) for fix in true]
        ((reason, value),) = await fetch(pool, LETTERS)
        assert reason == "too-old"
        assert FixBatch.model_validate_json(value).fixes == (report(ROLLED_OVER),)
        assert await fetch(pool, "SELECT count(*) FROM usage_hour") == [(1,)]
        assert await fetch(pool, "SELECT DISTINCT state FROM segment") == [("parked",)]

    run(database_url, scenario)


@pytest.mark.parametrize("decode", DECODERS, ids=["in columns", "one by one"])
def test_history_is_taken_within_the_range_that_its_envelope_declares(
    database_url: str, monkeypatch: pytest.MonkeyPatch, decode: Any
) -> None:
    monkeypatch.setattr(columnar, "decode", decode)
    within = [report(MAY + minutes * timedelta(minutes=5)) for minutes in range(3)]
    beyond = report(HISTORY.until + timedelta(seconds=1))

    async def scenario(pool: Pool) -> None:
        await write(pool, message([*within, beyond], history=HISTORY), message(within[:1]))
        assert await fetch(pool, ROWS) == [(CAR, fix.recorded_at) for fix in within]
        letters = await fetch(pool, LETTERS)
        assert [reason for reason, _ in letters] == ["too-old", "too-old"]
        # A letter keeps its envelope: replayed, it is judged as it was.
        document = {FixBatch.model_validate_json(value).history: value for _, value in letters}
        assert document.keys() == {HISTORY, None}
        before = await derived(pool)
        await fetch(pool, "DELETE FROM dead_letter RETURNING 1")
        await empty_progress(pool)
        await write(pool, *(value.encode() for value in document.values()))
        assert await derived(pool) == before
        assert await fetch(pool, LETTERS) == letters

    run(database_url, scenario)


async def empty_progress(pool: Pool) -> None:
    await fetch(pool, "DELETE FROM stream_progress RETURNING 1")


def test_a_letter_about_a_fix_of_history_comes_in_again_however_old_it_is(
    database_url: str,
) -> None:
    """Which of two contradicting fixes loses may be one that was declared, and is stored."""
    fix, other = report(MAY), report(MAY, lat=56.4)

    async def scenario(pool: Pool) -> None:
        await write(pool, message([other], history=HISTORY), message([fix], history=HISTORY))
        ((reason, value),) = await fetch(pool, LETTERS)
        assert reason == "conflicting-fix"
        await empty(pool)
        await write(pool, value.encode())
        assert await fetch(pool, ROWS) == [(CAR, MAY)]

    run(database_url, scenario)


@pytest.mark.parametrize("ignition", [False, None])
def test_one_event_after_nineteen_years_writes_two_hours(
    database_url: str,
    ignition: bool | None,  # noqa: FBT001 - a value, not a switch
) -> None:
    since = datetime(2007, 5, 17, 8, 20, tzinfo=UTC)
    fixes = [
        report(at).model_copy(update={"ignition": ignition})
        for at in (since, since + timedelta(minutes=5), NOW, NOW + timedelta(minutes=5))
    ]
    history = HistoryRange(since, since + timedelta(days=1))

    async def scenario(pool: Pool) -> None:
        await write(pool, message(fixes, history=history))
        hours = await fetch(pool, "SELECT hour FROM usage_hour ORDER BY 1")
        assert hours == [(since.replace(minute=0),), (NOW,)]
        await accounted_for(pool)
        expected = await derived(pool)
        await empty(pool)
        await write(pool, *(message([fix], history=history) for fix in fixes))
        assert await derived(pool) == expected
        await empty(pool)  # and late
        late = [fixes[0], fixes[3], fixes[2], fixes[1]]
        await write(pool, *(message([fix], history=history) for fix in late))
        assert await derived(pool) == expected

    run(database_url, scenario)


def test_a_late_fix_within_a_long_silence_gives_its_hours_back(database_url: str) -> None:
    since = NOW - MAX_HOURLY_SILENCE - timedelta(days=3, minutes=20)
    fixes = [report(since), report(since + timedelta(days=5)), report(NOW)]

    async def hours(pool: Pool) -> Sequence[tuple[Any, ...]]:
        await accounted_for(pool)
        return await fetch(pool, "SELECT hour FROM usage_hour ORDER BY 1")

    async def scenario(pool: Pool) -> None:
        await write(pool, message(fixes))
        whole = await derived(pool)
        assert len(await hours(pool)) == (MAX_HOURLY_SILENCE.days + 3) * 24 + 1
        await empty(pool)
        await write(pool, message([fixes[0], fixes[2]]))
        assert len(await hours(pool)) == 1  # the silence ends with an hour
        await empty(pool)
        await write(pool, message([fixes[0], fixes[2]]), message([fixes[1]]))
        assert await derived(pool) == whole

    run(database_url, scenario)


@pytest.fixture
def before_url(databases: Databases) -> Iterator[str]:
    """Yield the URL of a database as it was before keys could push history."""
    with databases.empty() as url:
        migrate(url, "0019")
        yield url


def test_hours_of_a_long_silence_that_are_there_already_go_and_all_others_stay(
    before_url: str,
) -> None:
    """Those of a parked one stay too: they may be its heartbeats', and are true either way."""
    since = datetime(2025, 1, 1, 8, 20, tzinfo=UTC)
    length = {"a/offline": 40, "a/month": 31, "a/private": 40, "a/parked": 40}
    with psycopg.connect(before_url, autocommit=True) as connection:
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('a', 'A')")
        connection.execute(
            "INSERT INTO api_key (key_hash, key_prefix, municipality_id, vendor) "
            "VALUES (sha256('key'), 'fp_abcdef', 'a', 'v')"
        )
        for vehicle_id, days in length.items():
            connection.execute(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name) VALUES (%s, 'a', 'v')",
                [vehicle_id],
            )
            connection.execute(
                "INSERT INTO segment (vehicle_id, started_at, ended_at, state, start_lat, "
                "start_lon, end_lat, end_lon, distance_m, moved, is_open, private) "
                "VALUES (%s, %s, %s, %s, 56, 10, 56, 10, 0, false, true, %s)",
                [
                    vehicle_id,
                    since,
                    since + timedelta(days=days),
                    "parked" if vehicle_id == "a/parked" else "offline",
                    vehicle_id == "a/private",
                ],
            )
            connection.execute(
                "INSERT INTO usage_hour SELECT %s, hour, 0, 0, 0, 0, 0, 0, 0, 0, 0 "
                "FROM generate_series(%s::timestamptz, %s, '1 hour') AS h (hour)",
                [vehicle_id, since.replace(minute=0), since + timedelta(days=days)],
            )
    migrate(before_url)
    with psycopg.connect(before_url) as connection:
        counted = connection.execute("SELECT vehicle_id, count(*) FROM usage_hour GROUP BY 1")
        left: dict[str, int] = dict(counted.fetchall())
        assert left == {
            vehicle_id: 2 if vehicle_id == "a/offline" else days * 24 + 1
            for vehicle_id, days in length.items()
        }
        assert connection.execute("SELECT may_push_history FROM api_key").fetchall() == [(False,)]
