"""A vehicle has the vendors that its municipality allows: nobody else changes its past."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import permutations
from typing import Any, Final

import pytest

from infra.database.connection.pool import Pool
from infra.database.fleet import vendors as store
from infra.kafka.client import create_topics
from infra.settings import Settings, as_environment
from schemas.events.fix import Fix
from stream.worker.decode import columnar
from stream.worker.housekeeping.alerts import look
from stream.worker.refold.recompute import recompute
from stream.worker.write.writer import Writer
from tests.integration.ingest_door import door, event, new_key
from tests.processes import command
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

CAR: Final = "syddjurs/a"
START: Final = RECEIVED_AT - timedelta(days=2)
LETTERS: Final = (
    "SELECT reason, vendor, vehicle_id FROM dead_letter WHERE replayed_at IS NULL "
    "ORDER BY 1, 2, 3, dead_letter_id"
)
DECODERS: Final = (columnar.decode, lambda records: (None, list(records)))
in_columns_and_one_by_one = pytest.mark.parametrize(
    "decode", DECODERS, ids=["in columns", "one by one"]
)


def trip(*, vehicle_id: str = CAR, private: bool = False, north_deg: float = 0.0) -> list[Fix]:
    """Return a drive of ten minutes from the depot, and half an hour of standing after it."""
    fixes = []
    for minute in range(40):
        fix = Fix(
            vehicle_id=vehicle_id,
            recorded_at=START + timedelta(minutes=minute),
            lat=None if private else 56.3 + 0.005 * min(minute, 10) + north_deg,
            lon=None if private else 10.4,
            ignition=minute < 12,
            private_mode=private,
        )
        fixes.append(fix)
    return fixes


def run(url: str, scenario: Callable[[Pool], Awaitable[None]]) -> None:
    async def main() -> None:
        async with open_pool(url) as pool:
            await enter_municipality(pool)
            await scenario(pool)

    asyncio.run(main())


async def write(pool: Pool, *values: bytes, log: Log | None = None) -> None:
    """Have a new worker take messages, each in a batch of its own."""
    log = log or Log()
    writer = Writer(pool, TOPICS)
    for value in values:
        log.append(value)
    for record in log.since(await log.assign(writer)):
        await writer.write([record])


async def allow(pool: Pool, vendor: str, *vehicle_ids: str, first: bool = False) -> None:
    async with pool.connection() as connection:
        await store.allow_vendor(connection, vendor, vehicle_ids, allowed_by="me", first=first)


@in_columns_and_one_by_one
@pytest.mark.parametrize("private", [True, False])
def test_a_stranger_changes_nothing_of_a_vehicle_s_past(
    database_url: str, monkeypatch: pytest.MonkeyPatch, decode: Any, *, private: bool
) -> None:
    """In private mode, or with a smaller latitude, its fixes would come first in our order."""
    monkeypatch.setattr(columnar, "decode", decode)

    async def scenario(pool: Pool) -> None:
        log = Log()
        await write(pool, message(trip(), vendor="first"), log=log)
        before = await derived(pool)
        assert await fetch(pool, "SELECT count(*) FROM trip") == [(1,)]
        strange = message(trip(private=private, north_deg=-0.1), vendor="stranger")
        await write(pool, strange, log=log)
        assert await derived(pool) == before
        assert await fetch(pool, LETTERS) == [("other-vendor", "stranger", CAR)] * 40
        assert await fetch(pool, "SELECT DISTINCT vendor FROM fix") == [("first",)]

    run(database_url, scenario)


@in_columns_and_one_by_one
def test_of_two_allowed_vendors_the_first_one_counts_in_any_order(
    database_url: str, monkeypatch: pytest.MonkeyPatch, decode: Any
) -> None:
    monkeypatch.setattr(columnar, "decode", decode)
    first = trip()
    second = [fix.model_copy(update={"lat": 55.0, "lon": 9.0}) for fix in first[:20]]
    same = first[20:30]
    messages = [
        message(first[:25], vendor="first"),
        message(second, vendor="second"),
        message(first[25:], vendor="first"),
        message(same, vendor="second"),
    ]
    seen = []

    async def scenario(pool: Pool) -> None:
        await allow(pool, "first", CAR)
        await allow(pool, "second", CAR)
        for order in permutations(messages):
            await empty(pool)
            await write(pool, *order)
            rows = await derived(pool)
            seen.append((rows, await fetch(pool, "SELECT recorded_at, vendor FROM fix ORDER BY 1")))
        assert all(rows == seen[0] for rows in seen)
        assert {vendor for _, vendor in seen[0][1]} == {"first"}
        assert await fetch(pool, "SELECT count(*) FROM trip") == [(1,)]

    run(database_url, scenario)


def test_a_vendor_that_is_put_first_counts_from_then_on(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        log = Log()
        fixes = trip()
        await write(pool, message(fixes[:1], vendor="old"), log=log)
        await allow(pool, "new", CAR, first=True)
        at = fixes[5].recorded_at
        other = fixes[5].model_copy(update={"lat": 56.29})
        await write(
            pool, message([fixes[5]], vendor="old"), message([other], vendor="new"), log=log
        )
        rows = await fetch(pool, f"SELECT lat, vendor FROM fix WHERE recorded_at = '{at}'")
        assert rows == [(56.29, "new")]
        assert await fetch(pool, LETTERS) == [("conflicting-fix", "old", CAR)]

    run(database_url, scenario)


def test_a_tracker_has_vendors_of_its_own(database_url: str) -> None:
    """What counts is the id that is sent, before it is known which vehicle it is in."""
    tracker = "syddjurs/352093"

    async def scenario(pool: Pool) -> None:
        async with pool.connection() as connection:
            await connection.execute(
                "INSERT INTO tracker_assignment (tracker_id, vehicle_id, since) "
                "VALUES (%s, %s, %s)",
                [tracker, CAR, START - timedelta(days=1)],
            )
        log = Log()
        sent = trip(vehicle_id=tracker)
        await write(pool, message(sent[:20], vendor="boxes"), log=log)
        await write(pool, message(sent[20:], vendor="stranger"), log=log)
        assert await fetch(pool, "SELECT DISTINCT vehicle_id, tracker_id, vendor FROM fix") == [
            (CAR, tracker, "boxes")
        ]
        assert await fetch(pool, LETTERS) == [("other-vendor", "stranger", tracker)] * 20
        await alert_is(pool, open_=True)

    run(database_url, scenario)


def test_recomputing_keeps_the_vendors(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await write(pool, message(trip(), vendor="first"))
        before = await fetch(pool, "SELECT * FROM fix ORDER BY recorded_at")
        assert [done.fixes async for done in recompute(pool, TOPICS, "syddjurs")] == [40]
        assert await fetch(pool, "SELECT * FROM fix ORDER BY recorded_at") == before

    run(database_url, scenario)


def test_two_that_meet_a_vehicle_at_once_agree_on_its_first_vendor(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        async with pool.connection() as connection, pool.connection() as other:
            ids = {f"syddjurs/v{number}": "a" for number in range(5)}
            assert await store.register_first_vendors(connection, ids) == dict.fromkeys(ids, ("a",))
            waiting = asyncio.create_task(
                store.register_first_vendors(other, dict.fromkeys(reversed(ids), "b"))
            )
            await asyncio.sleep(0.1)
            assert not waiting.done()
            await connection.commit()
            assert await waiting == dict.fromkeys(ids, ("a",))

    run(database_url, scenario)


async def alert_is(pool: Pool, *, open_: bool) -> None:
    await look(pool, TOPICS)
    rows = await fetch(
        pool, "SELECT vehicle_id, resolved_at IS NULL FROM alert WHERE kind = 'other-vendor'"
    )
    assert rows == [(CAR, open_)]


def test_an_alert_tells_it_until_nothing_waits_any_more(database_url: str) -> None:
    async def scenario(pool: Pool) -> None:
        log = Log()
        await write(pool, message(trip(), vendor="first"), log=log)
        await write(pool, message(trip()[:3], vendor="stranger"), log=log)
        await alert_is(pool, open_=True)
        reason = await fetch(pool, "SELECT reason FROM alert WHERE kind = 'other-vendor'")
        assert "3 fixes from stranger wait, limit 0" in reason[0][0]
        async with pool.connection() as connection:
            await connection.execute("UPDATE dead_letter SET replayed_at = now()")
        await alert_is(pool, open_=False)

    run(database_url, scenario)


@pytest.fixture
def installation(settings: Settings) -> Settings:
    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(settings.conninfo) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    return settings


def test_the_answer_tells_the_vendor_and_one_command_lets_its_fixes_in(
    installation: Settings,
) -> None:
    async def scenario() -> None:
        key = await new_key(installation, vendor="stranger")
        async with open_pool(installation.conninfo) as pool, door(installation, key) as gateway:
            await allow(pool, "first", "syddjurs/car-1")
            sent = [event("car-1"), event("car-1", lat=56.4), event("car-2")]
            answer = (await gateway.push(sent)).json()
            assert answer["accepted"] == 3
            assert answer["other_vendor"]["events"] == 2
            assert answer["other_vendor"]["vehicles"] == ["car-1"]
            assert "allow stranger" in answer["other_vendor"]["detail"]
            assert (await gateway.push([event("car-2")])).json() == {"accepted": 1, "rejected": []}
            await write(pool, message(trip(vehicle_id="syddjurs/car-1")[:2], vendor="stranger"))
            assert len(await fetch(pool, LETTERS)) == 2

    asyncio.run(scenario())
    variables = as_environment(installation)
    listed = command("vendor", "list", "syddjurs", **variables)
    assert listed.returncode == 0, listed.stderr
    assert "not allowed" in listed.stdout
    done = command("vendor", "allow", "syddjurs", "stranger", "car-1", "--by", "me", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "stranger may report 1 vehicles more; 2 waiting fixes sent again\n"
    assert "allowed by me" in command("vendor", "list", "syddjurs", **variables).stdout
    gone = command("vendor", "remove", "syddjurs", "stranger", "car-1", **variables)
    assert gone.returncode == 0, gone.stderr
    again = command("vendor", "remove", "syddjurs", "stranger", "car-1", **variables)
    assert again.returncode == 2
