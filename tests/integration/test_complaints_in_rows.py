"""Complaints of DOMAIN.md that are about what a late or repeated fix does to rows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from infra.database.pool import Pool
from schemas.fix import Fix
from stream.worker.writer import Writer
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
from tests.timeline_story import START, Said, fixes

OFF, ON = False, True
RECEIVED = START + timedelta(hours=1)

TWO_TRIPS = [
    Said(0, 0, ON, 0),
    Said(60, 0, ON, 0),
    Said(120, 900, ON, 40),
    Said(240, 900, ON, 40),
    Said(300, 1800, ON, 0),  # there
    Said(900, 1800, OFF, 0),
    Said(960, 1800, ON, 0),
    Said(1020, 900, ON, 40),
    Said(1080, 0, ON, 0),  # back
    Said(2000, 0, OFF, 0),
]
_QUARANTINED = "SELECT recorded_at, quarantine FROM fix WHERE quarantine IS NOT NULL ORDER BY 1"
DETOUR = Said(180, 1400, ON, 40)
"""On the way there: 500 m further and back."""


LOST = [
    Said(0, 0, ON),
    Said(60, 900, ON),
    Said(120, 1800, ON),
    Said(1284, 1800, ON),  # stale
    Said(1303, 9000, ON),
    Said(1360, 9600, ON),
    Said(1420, 10_200, ON),
    Said(2400, 10_200, OFF),
]
"""Out of coverage on the way for 20 minutes; then the last position once more."""


async def _take(pool: Pool, *uploads: list[Fix]) -> None:
    """Have a worker take one upload after another, from where the last one stopped."""
    log = Log()
    for upload in uploads:
        log.append(message(upload, received_at=RECEIVED))
    writer = Writer(pool, TOPICS)
    for record in log.since(await log.assign(writer)):
        await writer.write([record])


async def _trips(pool: Pool) -> list[tuple[Any, ...]]:
    rows = await fetch(
        pool, "SELECT started_at, ended_at, distance_m FROM trip ORDER BY started_at"
    )
    return [
        ((begin - START).total_seconds(), (end - START).total_seconds(), round(length_m))
        for begin, end, length_m in rows
    ]


def test_traccar_6015_a_late_fix_lands_in_the_trip_on_which_it_was_recorded(
    database_url: str,
) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            log = Log()
            log.append(message(fixes(TWO_TRIPS), received_at=RECEIVED))
            log.append(message(fixes([DETOUR]), received_at=RECEIVED))
            writer = Writer(pool, TOPICS)
            on_time, late = log.since(await log.assign(writer))
            await writer.write([on_time])
            assert await _trips(pool) == [(60, 300, 1800), (960, 1080, 1800)]
            await writer.write([late])
            assert await _trips(pool) == [(60, 300, 2800), (960, 1080, 1800)]

    asyncio.run(main())


def test_traccar_6015_hours_of_buffered_fixes_newest_first_leave_no_trace(
    database_url: str,
) -> None:
    async def main() -> None:
        reports = fixes(sorted([*TWO_TRIPS, DETOUR]))
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await _take(pool, *([fix] for fix in reversed(reports)))
            assert await _trips(pool) == [(60, 300, 2800), (960, 1080, 1800)]

    asyncio.run(main())


def test_duplicates_change_no_row(database_url: str) -> None:
    """The same fixes again, later, in other uploads, as trackers do that saw no answer."""

    async def main() -> None:
        reports = fixes(TWO_TRIPS)
        log = Log()
        log.append(message(reports, received_at=RECEIVED))
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            writer = Writer(pool, TOPICS)
            await writer.write(log.since(await log.assign(writer)))
            once = await derived(pool)
            for part in (reports[3:], reports[:6], reports[::-1]):
                log.append(message(part, received_at=RECEIVED + timedelta(days=2)))
            for record in log.since(await log.assign(writer)):
                await writer.write([record])
            assert await derived(pool) == once
            assert await fetch(pool, "SELECT count(*) FROM dead_letter") == [(0,)]

    asyncio.run(main())


@pytest.mark.parametrize("late", range(len(LOST)))
@pytest.mark.parametrize("gap_s", [0, 40_000])
def test_traccar_2871_a_stale_position_is_told_whichever_fix_comes_late(
    database_url: str, late: int, gap_s: float
) -> None:
    """Each fix by itself, one of them after all others; near by in memory, or from checkpoints."""

    async def main() -> None:
        reports = fixes([*LOST, *(Said(2400 + gap_s + 60 * n, 10_200, OFF) for n in range(20))])
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await _take(pool, reports)
            expected = await derived(pool)
            assert (await _trips(pool))[0][:2] == (0, 1420)
            assert await fetch(pool, _QUARANTINED) == [(reports[3].recorded_at, "stale-position")]
            await empty(pool)
            on_time = [fix for index, fix in enumerate(reports) if index != late]
            await _take(pool, *([fix] for fix in [*on_time, reports[late]]))
            assert await derived(pool) == expected

    asyncio.run(main())


def test_traccar_2871_what_turns_out_to_be_stale_no_more_counts_again(database_url: str) -> None:
    """A fix that comes late was at the same place: the position was not the last one but true."""

    async def main() -> None:
        witness = fixes([Said(1290, 1810, ON)])
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await _take(pool, fixes(LOST), witness)
            counts = await derived(pool)
            refused = [START + timedelta(seconds=at_s) for at_s in (1303, 1360, 1420)]
            assert await fetch(pool, _QUARANTINED) == [(at, "impossible-leg") for at in refused]
            await empty(pool)
            await _take(pool, fixes(sorted([*LOST, Said(1290, 1810, ON)])))
            assert await derived(pool) == counts

    asyncio.run(main())
