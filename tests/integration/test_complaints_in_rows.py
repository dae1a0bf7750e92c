"""Complaints of docs/domain.md that are about what a late or repeated fix does to rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from infra.database.connection.pool import Pool
from schemas.events.fix import Fix
from stream.worker.refold.recompute import recompute
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
from tests.timeline_report import START, FixSpec, fixes

OFF, ON = False, True
RECEIVED = START + timedelta(hours=1)

TWO_TRIPS = [
    FixSpec(0, 0, ON, 0),
    FixSpec(60, 0, ON, 0),
    FixSpec(120, 900, ON, 40),
    FixSpec(240, 900, ON, 40),
    FixSpec(300, 1800, ON, 0),  # there
    FixSpec(900, 1800, OFF, 0),
    FixSpec(960, 1800, ON, 0),
    FixSpec(1020, 900, ON, 40),
    FixSpec(1080, 0, ON, 0),  # back
    FixSpec(2000, 0, OFF, 0),
]
_MESSAGES = "SELECT message_id FROM outbox ORDER BY 1"
_QUARANTINED = "SELECT recorded_at, quarantine FROM fix WHERE quarantine IS NOT NULL ORDER BY 1"
DETOUR = FixSpec(180, 1400, ON, 40)
"""On the way there: 500 m further and back."""


LOST = [
    FixSpec(0, 0, ON),
    FixSpec(60, 900, ON),
    FixSpec(120, 1800, ON),
    FixSpec(1284, 1800, ON),  # stale
    FixSpec(1303, 9000, ON),
    FixSpec(1360, 9600, ON),
    FixSpec(1420, 10_200, ON),
    FixSpec(2400, 10_200, OFF),
]
"""Out of coverage on the way for 20 minutes; then the last position once more."""


async def _take(pool: Pool, *uploads: list[Fix]) -> Callable[[list[Fix]], Awaitable[None]]:
    """Have a worker take one upload after another; return how it takes a further one."""
    log = Log()
    for upload in uploads:
        log.append(message(upload, received_at=RECEIVED))
    writer = Writer(pool, TOPICS)
    for record in log.since(await log.assign(writer)):
        await writer.write([record])

    async def goes_on(upload: list[Fix]) -> None:
        log.append(message(upload, received_at=RECEIVED))
        await writer.write([log.records[0][-1]])

    return goes_on


async def _as_at_once(pool: Pool, reports: list[Fix]) -> None:
    """Compare the tables with those of all fixes in order in one upload."""
    rows = await derived(pool)
    await empty(pool)
    await _take(pool, sorted(reports, key=lambda fix: fix.recorded_at))
    assert rows == await derived(pool)


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
        reports = fixes([*LOST, *(FixSpec(2400 + gap_s + 60 * n, 10_200, OFF) for n in range(20))])
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


@pytest.mark.parametrize("each", [1, len(LOST)], ids=["one by one", "at once"])
def test_traccar_2871_what_turns_out_to_be_stale_no_more_counts_again(
    database_url: str, each: int
) -> None:
    """A fix that comes late was at the same place: the position was not the last one but true."""

    async def main() -> None:
        reports, witness = fixes(LOST), fixes([FixSpec(1290, 1810, ON)])
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            goes_on = await _take(
                pool, *(reports[at : at + each] for at in range(0, len(LOST), each))
            )
            assert await fetch(pool, _QUARANTINED) == [(reports[3].recorded_at, "stale-position")]
            await goes_on(witness)
            refused = [START + timedelta(seconds=at_s) for at_s in (1303, 1360, 1420)]
            assert await fetch(pool, _QUARANTINED) == [(at, "impossible-leg") for at in refused]
            await _as_at_once(pool, [*reports, *witness])

    asyncio.run(main())


_NOON = 4 * 3600.0
"""From the start of a story to noon, when a checkpoint is due."""
LOST_AT_NOON = [
    *(FixSpec(_NOON - 9000 + 120 * n, 0, OFF) for n in range(60)),
    *(entry._replace(at_s=entry.at_s + _NOON - 1000) for entry in LOST),
    *(FixSpec(_NOON + 1500 + 60 * n, 10_200, OFF) for n in range(20)),
]
"""The stale position is the first fix after noon: the checkpoint is made at it."""


@pytest.mark.parametrize(
    "late",
    [
        FixSpec(_NOON - 8990, 0, OFF),  # agrees at the checkpoint
        FixSpec(_NOON + 290, 1810, ON),  # begins at the checkpoint, and says that it counts
        FixSpec(_NOON + 330, 9300, ON),
        FixSpec(_NOON + 1700, 10_200, ON),
    ],
)
def test_traccar_2871_a_stale_position_at_a_checkpoint_is_told_by_what_follows_it(
    database_url: str, late: FixSpec
) -> None:
    async def main() -> None:
        reports = fixes(LOST_AT_NOON)
        stale = next(fix for fix in reports if fix.recorded_at > START + timedelta(hours=4))
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            goes_on = await _take(pool, reports)
            assert await fetch(pool, _QUARANTINED) == [(stale.recorded_at, "stale-position")]
            due = "SELECT recorded_at FROM vehicle_checkpoint WHERE recorded_at >= %s"
            async with pool.connection() as connection:
                cursor = await connection.execute(due, [START + timedelta(hours=4)])
                assert await cursor.fetchall() == [(stale.recorded_at,)]
            await goes_on(fixes([late]))
            await _as_at_once(pool, [*reports, *fixes([late])])

    asyncio.run(main())


@pytest.mark.parametrize(
    "story",
    [
        # A far position, said twice: a departure, until it turns out that the vehicle never left.
        [
            *(FixSpec(60 * n, 0, OFF, 0) for n in range(5)),
            FixSpec(300, 300, OFF, 0),
            FixSpec(1500, 300, OFF, 0),
            FixSpec(1502, 0, OFF, 0),
            FixSpec(1504, 0, OFF, 0),
        ],
        # The engine is on and the vehicle stands: idling, until it turns out that it drove.
        [
            FixSpec(0, 0, OFF),
            FixSpec(60, 0, ON),
            FixSpec(1260, 0, ON),
            FixSpec(1279, 9000, ON),
            FixSpec(1340, 9600, ON),
        ],
        LOST,
    ],
)
def test_traccar_2871_what_a_stale_position_had_said_leaves_no_row(
    database_url: str, story: list[FixSpec]
) -> None:
    async def main() -> None:
        reports = fixes(story)
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await _take(pool, *([fix] for fix in reports))
            assert [row[1] for row in await fetch(pool, _QUARANTINED)] == ["stale-position"]
            await _as_at_once(pool, reports)

    asyncio.run(main())


@pytest.mark.parametrize("at_once", range(1, len(LOST)))
def test_traccar_2871_folding_again_publishes_no_trip_that_a_stale_position_ends(
    database_url: str, at_once: int
) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await _take(pool, fixes(LOST))
            rows, messages = await derived(pool), await fetch(pool, _MESSAGES)
            async for _ in recompute(pool, TOPICS, "syddjurs", at_once=at_once):
                pass
            assert await derived(pool) == rows
            assert await fetch(pool, _MESSAGES) == messages

    asyncio.run(main())
