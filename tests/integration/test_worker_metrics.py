"""What a worker counts when a batch is committed, whichever way its fixes went."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from schemas.events.fix import Fix
from stream.worker.write.writer import Writer
from tests.stream_harness import (
    RECEIVED_AT,
    TOPICS,
    Log,
    enter_municipality,
    fetch,
    message,
    open_pool,
)

_START = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)


def _count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _plain(fix: Fix) -> bytes:
    """Return a message in the usual form, which stays in columns."""
    return message([fix])


def _odd(fix: Fix) -> bytes:
    """Return a message with a blank before it, which is taken by itself."""
    return b" " + message([fix])


@pytest.mark.parametrize("form", [_plain, _odd])
def test_left_out_fixes_are_counted_by_reason_and_the_last_record_is_dated(
    database_url: str, form: Callable[[Fix], bytes]
) -> None:
    away = 5
    fixes = [
        Fix(
            vehicle_id="syddjurs/a",
            recorded_at=_START + timedelta(seconds=10 * at),
            lat=57.9 if at == away else 56.3,
            lon=10.4,
            ignition=True,
        )
        for at in range(10)
    ]
    name = "fleetpulse_fixes_quarantined_total"
    before = _count(name, reason="impossible-leg")

    async def scenario() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            log = Log(f"{TOPICS.fixes}{form.__name__}")
            for fix in fixes:
                log.append(form(fix))
            writer = Writer(pool, TOPICS)
            records = log.since(await log.assign(writer))
            for record in (records[:7], records[7:], records):
                await writer.write(record)
            quarantined = "SELECT count(*) FROM fix WHERE quarantine = 'impossible-leg'"
            assert await fetch(pool, quarantined) == [(1,)]
            place = {"topic": log.topic, "partition": "0"}
            committed = _count("fleetpulse_committed_record_timestamp_seconds", **place)
            assert committed == RECEIVED_AT.timestamp()

    asyncio.run(scenario())
    assert _count(name, reason="impossible-leg") - before == 1
