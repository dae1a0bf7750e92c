"""Folding stored fixes again: what of a history it reaches, and how it says what it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.database.connection.pool import Pool
from schemas.events.fix import Fix
from stream.worker.refold.recompute import NothingToRecomputeError, Recomputed, recompute
from stream.worker.write.writer import Writer
from tests.processes import command
from tests.stream_harness import (
    TOPICS,
    Log,
    derived,
    empty,
    enter_municipality,
    fetch,
    limit_changes_of_old_fixes,
    message,
    open_pool,
)

START = datetime(2026, 2, 2, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
CAR = "syddjurs/a"


def days(count: int) -> list[Fix]:
    """Return hourly trips of the car to a customer 5 km away and back, six a day."""
    fixes = []
    for day in range(count):
        for minute in range(13 * 60):
            out = (minute // 60) % 2 == 1
            within = minute % 60
            km = min(within, 5) if out else max(0, 5 - within) * (minute >= 60)
            fixes.append(
                Fix(
                    vehicle_id=CAR,
                    recorded_at=START + timedelta(days=day, minutes=minute),
                    lat=56.3 + km / 111.34,
                    lon=10.4,
                    ignition=within <= 5,
                )
            )
    return fixes


@pytest.fixture
def url(database_url: str) -> str:
    """Return a database with one municipality."""

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    return database_url


def run(url: str, scenario: Any) -> Any:
    """Run a scenario on a pool."""

    async def main() -> Any:
        async with open_pool(url) as pool:
            work: Coroutine[Any, Any, Any] = scenario(pool)
            return await work

    return asyncio.run(main())


async def consume(pool: Pool, fixes: Sequence[Fix]) -> Writer:
    log, writer = Log(), Writer(pool, TOPICS)
    log.append(message(fixes))
    await writer.write(log.since(await log.assign(writer)))
    return writer


async def execute(pool: Pool, statement: str, *values: Any) -> None:
    async with pool.connection() as connection:
        await connection.execute(statement, values)


async def again(pool: Pool, **given: Any) -> list[Recomputed]:
    return [recomputed async for recomputed in recompute(pool, TOPICS, "syddjurs", **given)]


MOVE_DEPOT = "UPDATE depot SET lat = %s"
AT_DEPOT = "SELECT count(*) FROM round_trip WHERE start_depot_id IS NOT NULL"
KNOWN = (
    "SELECT bool_and(coalesce(start_depot_id, end_depot_id) IS NOT NULL) FROM trip "
    "WHERE started_at > '{}'"
)
AWAY = "SELECT sum(away_s) FROM usage_hour"
AS_BEFORE = """
UPDATE {} SET state = (jsonb_set(
    state::jsonb - 'parts',
    '{{hours}}',
    (SELECT coalesce(jsonb_agg(hour - 7), '[]') FROM jsonb_array_elements(
        state::jsonb -> 'hours') AS hour))
    #- '{{round_trip,part}}')::text
"""
KINDS = "SELECT kind, count(*) FROM round_trip GROUP BY 1 ORDER BY 1"


def test_a_depot_that_was_entered_late_is_known_to_the_past(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await execute(pool, MOVE_DEPOT, 60.0)
        await consume(pool, days(3))
        assert await fetch(pool, AT_DEPOT) == [(0,)]
        [(away_s,)] = await fetch(pool, AWAY)
        await execute(pool, MOVE_DEPOT, 56.3)
        [done] = await again(pool)
        assert done == Recomputed(CAR, 3 * 780, START, short=False)
        assert await fetch(pool, KINDS) == [("complete", 18)]
        assert (await fetch(pool, AWAY))[0][0] < away_s / 2

    run(url, scenario)


def test_with_an_instant_rows_before_the_checkpoint_stay(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await execute(pool, MOVE_DEPOT, 60.0)
        await consume(pool, days(4))
        before = await fetch(pool, "SELECT * FROM trip ORDER BY started_at")
        await execute(pool, MOVE_DEPOT, 56.3)
        noon = START + timedelta(days=2, hours=6, minutes=30)
        [done] = await again(pool, since=noon)
        assert done.since is not None
        assert noon - 7 * HOUR < done.since < noon
        rows = await fetch(pool, "SELECT * FROM trip ORDER BY started_at")
        kept = [row for row in rows if row[1] < done.since]
        assert kept
        assert kept == before[: len(kept)]
        assert await fetch(pool, KNOWN.format(noon)) == [(True,)]

    run(url, scenario)


def test_what_raw_fixes_no_longer_tell_stays_and_is_said(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await execute(pool, MOVE_DEPOT, 60.0)
        await consume(pool, days(4))
        before = await derived(pool)
        kept_since = START + timedelta(days=2)
        for table in ("fix", "vehicle_checkpoint"):
            await execute(pool, f"DELETE FROM {table} WHERE recorded_at < %s", kept_since)
        [done] = await again(pool)
        assert done.short
        assert done.since is not None
        assert done.since >= kept_since
        # Nothing has changed, so that what was folded again joins what was not.
        after = await derived(pool)
        assert [row for row in after if row[0] != "fix"] == [
            row for row in before if row[0] != "fix"
        ]
        await execute(pool, MOVE_DEPOT, 56.3)
        await again(pool)
        assert await fetch(pool, KNOWN.format(done.since)) == [(True,)]
        assert await fetch(pool, KNOWN.format(START)) == [(False,)]
        first = await fetch(pool, "SELECT min(started_at) FROM segment")
        assert first == [(START,)]

    run(url, scenario)


def test_a_vehicle_whose_raw_fixes_are_all_gone_is_left_alone(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await consume(pool, days(1))
        await execute(pool, "DELETE FROM fix")
        before = await derived(pool)
        assert await again(pool) == [Recomputed(CAR, 0, None, short=True)]
        assert await derived(pool) == before

    run(url, scenario)


def test_events_leave_again_only_for_what_has_changed(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await consume(pool, days(2))
        await execute(pool, "DELETE FROM outbox")  # published long ago, and pruned
        await again(pool)
        assert await fetch(pool, "SELECT count(*) FROM outbox") == [(0,)]
        await execute(pool, MOVE_DEPOT, 60.0)
        await again(pool)
        kinds = await fetch(pool, "SELECT DISTINCT payload ->> 'kind' FROM outbox")
        assert kinds == [("over-long",)]  # of a vehicle that knows no depot any more

    run(url, scenario)


def test_a_worker_goes_on_from_what_was_folded_again(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        fixes = days(2)
        log, writer = Log(), Writer(pool, TOPICS)
        log.append(message(fixes[:1000]))
        log.append(message(fixes[1000:]))
        first, second = log.since(await log.assign(writer))
        await execute(pool, MOVE_DEPOT, 60.0)
        await writer.write([first])
        await execute(pool, MOVE_DEPOT, 56.3)
        await again(pool)
        await writer.write([second])  # its cache is stale, and so are the depots that it knows
        assert await fetch(pool, KINDS) == [("complete", 12)]

    run(url, scenario)


def test_a_state_from_before_goes_on_and_is_made_whole_by_folding_again(url: str) -> None:
    """States and checkpoints of an installation that knew neither parts nor time away."""

    async def scenario(pool: Pool) -> None:
        fixes = days(2)
        await consume(pool, fixes)
        expected = await derived(pool)
        await empty(pool)
        log, writer = Log(), Writer(pool, TOPICS)
        log.append(message(fixes[:1000]))
        log.append(message(fixes[1000:]))
        first, second = log.since(await log.assign(writer))
        await writer.write([first])
        for table in ("vehicle_state", "vehicle_checkpoint"):
            await execute(pool, AS_BEFORE.format(table))
        writer.invalidate()
        await writer.write([second])
        timeline = {"fix", "segment", "trip", "idle_interval"}
        as_told = [row for row in await derived(pool) if row[0] in timeline]
        assert as_told == [row for row in expected if row[0] in timeline]
        await again(pool)
        assert await derived(pool) == expected

    run(url, scenario)


def test_any_number_of_old_fixes_may_be_told_anew(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await consume(pool, days(1))
        await execute(pool, "UPDATE fix SET quarantine = 'impossible-leg'")
        await limit_changes_of_old_fixes(pool)
        await again(pool)
        assert await fetch(pool, "SELECT count(*) FROM fix WHERE quarantine IS NOT NULL") == [(0,)]

    run(url, scenario)


def test_what_is_not_there_is_named(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(NothingToRecomputeError, match="vehicle 'syddjurs/b' has sent no fix"):
            await again(pool, vehicle_id="syddjurs/b")
        with pytest.raises(NothingToRecomputeError, match="'odder' is not entered; remedy"):
            [recomputed async for recomputed in recompute(pool, TOPICS, "odder")]

    run(url, scenario)


def test_the_command_says_what_it_did_and_what_is_wrong(url: str) -> None:
    run(url, lambda pool: consume(pool, days(1)))
    done = command(
        "recompute",
        "syddjurs",
        "--vehicle",
        "a",
        "--since",
        "2026-02-02T08:00:00+01:00",
        FLEETPULSE_DATABASE_URL=url,
    )
    assert (done.returncode, done.stdout) == (0, "recomputed 1 vehicles from 780 fixes\n")
    for arguments, text in (
        (("odder",), "is not entered; remedy: enter it first"),
        (("syddjurs", "--since", "yesterday"), "give date, time and offset"),
        (("syddjurs", "--since", "2026-02-02T08:00:00"), "give date, time and offset"),
    ):
        failed = command("recompute", *arguments, FLEETPULSE_DATABASE_URL=url)
        assert failed.returncode == 2
        assert text in failed.stderr
