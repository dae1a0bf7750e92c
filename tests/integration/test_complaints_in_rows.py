"""Complaints of DOMAIN.md that are about what a late or repeated fix does to rows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from infra.database.pool import Pool
from schemas.fix import Fix
from stream.worker.writer import Writer
from tests.stream_harness import TOPICS, Log, derived, enter_municipality, fetch, message, open_pool
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
DETOUR = Said(180, 1400, ON, 40)
"""On the way there: 500 m further and back."""


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
