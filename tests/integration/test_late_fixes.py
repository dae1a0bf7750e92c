"""Late fixes through the worker: only as much is folded again as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from infra.database.connection.pool import Pool
from processors.timeline.checkpoints import LEGS
from schemas.events.fix import Fix
from stream.worker.fold.reorder_buffer import BUFFER_SIZE
from stream.worker.write.writer import Writer
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

START = datetime(2026, 2, 2, tzinfo=UTC)
CAR = "syddjurs/a"
PER_DAY = 24 * 30
CHECKPOINTS = "SELECT * FROM vehicle_checkpoint ORDER BY 1, 2"
LETTERS = "SELECT reason, count(*) FROM dead_letter GROUP BY 1 ORDER BY 1"


def days(count: int) -> list[Fix]:
    """Return a fix every two minutes, day and night; two hours a day the car is on the road."""
    fixes = []
    for number in range(count * PER_DAY):
        hour = (number * 2 % 1440) / 60
        km = 30 * max(0.0, 1 - abs(hour - 11))
        fixes.append(
            Fix(
                vehicle_id=CAR,
                recorded_at=START + timedelta(minutes=2 * number),
                lat=56.3 + km / 111.34,
                lon=10.4,
                ignition=km > 0,
            )
        )
    return fixes


async def _write(pool: Pool, *portions: Sequence[Fix], log: Log | None = None) -> Log:
    """Have a new worker take portions, each in a batch of its own; return the log, to go on."""
    log, writer = log or Log(), Writer(pool, TOPICS)
    for portion in portions:
        log.append(message(portion))
    records = log.since(await log.assign(writer))
    assert len(records) == len(portions)
    for record in records:
        await writer.write([record])
    return log


def _folded_again() -> float:
    return REGISTRY.get_sample_value("fleetpulse_fixes_folded_again_total") or 0.0


@pytest.mark.parametrize("missing", [PER_DAY + 5 * 30, PER_DAY + 11 * 30])
def test_a_late_fix_folds_again_no_more_than_the_hours_around_it(
    database_url: str, missing: int
) -> None:
    """One of the night, and the one at the turning point of a trip."""

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            fixes = days(6)
            await _write(pool, fixes)
            expected = await derived(pool), await fetch(pool, CHECKPOINTS)
            await empty(pool)
            late = fixes.pop(missing)
            before = _folded_again()
            await _write(pool, fixes, [late])
            assert 0 < _folded_again() - before <= PER_DAY / 2 + 2
            assert (await derived(pool), await fetch(pool, CHECKPOINTS)) == expected

    asyncio.run(main())


def seconds(count: int) -> list[Fix]:
    """Return a fix each second: half an hour out and back, and as long at the depot."""
    fixes = []
    for number in range(count):
        phase = number % 3600
        steps = max(0, 900 - abs(phase - 900))
        fixes.append(
            Fix(
                vehicle_id=CAR,
                recorded_at=START + timedelta(seconds=number),
                lat=56.3 + 0.0001 * steps + 0.00001 * (number * number % 7),
                lon=10.4,
                ignition=phase < 1800,
            )
        )
    return fixes


@pytest.mark.parametrize(("missing", "differs_s"), [(6_000, 0), (7_800, 3_000)])
def test_a_late_fix_of_a_vehicle_that_reports_each_second_folds_again_some_hundreds(
    database_url: str, missing: int, differs_s: int
) -> None:
    """One of the yard; and one on the road, where the metres of its hour and trip differ then."""

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            fixes = seconds(4 * 3600)
            await _write(pool, fixes[:7_000], fixes[7_000:])
            expected = await derived(pool), await fetch(pool, CHECKPOINTS)
            await empty(pool)
            late = fixes.pop(missing)
            before = _folded_again()
            await _write(pool, fixes[:7_000], fixes[7_000:], [late])
            assert 0 < _folded_again() - before <= 2 * 2 * LEGS + differs_s
            assert (await derived(pool), await fetch(pool, CHECKPOINTS)) == expected

    asyncio.run(main())


def test_checkpoints_from_before_a_state_had_what_it_has_now_agree_all_the_same(
    database_url: str,
) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            fixes = days(6)
            late = fixes.pop(PER_DAY + 5 * 30)
            log = await _write(pool, fixes)
            async with pool.connection() as connection:
                await connection.execute(
                    "UPDATE vehicle_checkpoint SET state = "
                    "(state::jsonb #- '{timeline,repeat}' #- '{timeline,doubted}')::text"
                )
            before = _folded_again()
            await _write(pool, [late], log=log)
            assert 0 < _folded_again() - before <= PER_DAY / 2 + 2

    asyncio.run(main())


def test_what_is_late_and_what_is_new_may_come_together(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            fixes = days(3)
            await _write(pool, fixes)
            expected = await derived(pool), await fetch(pool, CHECKPOINTS)
            await empty(pool)
            late = fixes.pop(PER_DAY // 4)
            *entries, second, first = fixes
            before = _folded_again()
            await _write(pool, entries, [first, late, second])
            assert 0 < _folded_again() - before <= PER_DAY / 2 + 2
            assert (await derived(pool), await fetch(pool, CHECKPOINTS)) == expected

    asyncio.run(main())


def test_what_is_late_may_change_any_number_of_old_fixes(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            fixes = days(1)
            late = fixes.pop(5)
            log = await _write(pool, fixes)
            async with pool.connection() as connection:
                await connection.execute("UPDATE fix SET quarantine = 'impossible-leg'")
            await limit_changes_of_old_fixes(pool)
            await _write(pool, [late], log=log)
            assert await fetch(pool, "SELECT 1 FROM fix WHERE quarantine IS NULL LIMIT 1") == [(1,)]

    asyncio.run(main())


def test_uploads_that_overtake_each_other_are_folded_again_from_memory(database_url: str) -> None:
    """Of five fixes each, on all of a trip; folded again are no more than a few uploads."""

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            fixes = days(1)[: 12 * 30]
            await _write(pool, fixes)

            async def all_rows() -> list[tuple[Any, ...]]:
                return [*await derived(pool), *await fetch(pool, CHECKPOINTS)]

            expected = await all_rows()
            await empty(pool)
            first, *uploads = [fixes[at : at + 5] for at in range(0, len(fixes), 5)]
            before, late = _folded_again(), len(uploads) // 2
            overtaking = list(uploads)
            overtaking[: 2 * late : 2], overtaking[1 : 2 * late : 2] = (
                uploads[1 : 2 * late : 2],
                uploads[: 2 * late : 2],
            )
            await _write(pool, first, *overtaking)
            assert late * 5 <= _folded_again() - before <= late * BUFFER_SIZE
            assert await all_rows() == expected

    asyncio.run(main())


def test_the_same_again_folds_nothing(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            fixes = days(2)
            log = await _write(pool, fixes)
            expected = await derived(pool)
            before = _folded_again()
            await _write(pool, [fixes[5], fixes[40]], log=log)
            assert _folded_again() == before
            assert await derived(pool) == expected

    asyncio.run(main())


def test_what_is_too_late_does_not_hold_back_what_is_new(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            *fixes, newest = days(3)
            late = fixes.pop(30)
            log = await _write(pool, fixes)
            async with pool.connection() as connection:
                await connection.execute(
                    "DELETE FROM fix WHERE recorded_at < %s", [START + timedelta(days=2)]
                )
            await _write(pool, [newest, late], log=log)
            assert await fetch(pool, LETTERS) == [("too-late", 1)]
            assert await fetch(pool, "SELECT max(recorded_at) FROM fix") == [(newest.recorded_at,)]
            assert await fetch(pool, "SELECT last_recorded_at FROM vehicle_state") == [
                (newest.recorded_at,)
            ]

    asyncio.run(main())
