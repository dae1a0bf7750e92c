"""What is wrong with one vehicle or municipality stops neither the others nor the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb
from structlog.testing import capture_logs

from infra.database.connection.pool import Pool
from infra.embedded.reaper import Reaper
from infra.kafka.client import Topics, create_topics
from infra.settings import Settings
from schemas.events.fix import Fix
from stream.calendars import CalendarKeeper
from stream.worker.housekeeping.alerts import look
from stream.worker.housekeeping.inactivity import settle_silent
from stream.worker.housekeeping.run import watch
from stream.worker.write.writer import Writer
from tests.processes import Service, until, wait_for
from tests.stream_harness import (
    TOPICS,
    Log,
    enter_municipality,
    faults,
    fetch,
    message,
    open_pool,
)

START = datetime(2026, 2, 2, 6, tzinfo=UTC)
PAGE_SIZE = timedelta(0)
OPEN_TRIPS = "SELECT vehicle_id FROM trip WHERE is_open ORDER BY 1"
REFUSED_ROWS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF NEW.vehicle_id = 'syddjurs/a' THEN RAISE 'as the test asked'; END IF;
RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON segment FOR EACH ROW EXECUTE FUNCTION refuse()
"""
ENDED_TRIPS = "SELECT vehicle_id FROM trip WHERE NOT is_open ORDER BY 1"


def private(vehicle_id: str, at: datetime) -> Fix:
    """Return the smallest report that there is."""
    return Fix(vehicle_id=vehicle_id, recorded_at=at, private_mode=True)


def drive(vehicle_id: str) -> list[Fix]:
    """Return a drive of twenty minutes that breaks off."""
    return [
        Fix(
            vehicle_id=vehicle_id,
            recorded_at=START + timedelta(minutes=minute),
            lat=56.3 + 0.007 * minute,
            lon=10.4,
            ignition=True,
        )
        for minute in range(21)
    ]


def later(vehicle_id: str, hours: float = 4) -> Fix:
    """Return a report of one that has not fallen silent."""
    at = START + timedelta(hours=hours)
    return Fix(vehicle_id=vehicle_id, recorded_at=at, lat=56.3, lon=10.4, ignition=False)


async def send(pool: Pool, *messages: list[Fix]) -> None:
    """Have a worker of its own take what is sent."""
    log, writer = Log(), Writer(pool, TOPICS)
    async with pool.connection() as connection:
        await connection.execute("DELETE FROM stream_progress")
    for fixes in messages:
        log.append(message(fixes))
    await writer.write(log.since(await log.assign(writer)))


@asynccontextmanager
async def towns(url: str, *names: str) -> AsyncIterator[Pool]:
    """Yield a pool on a database with these municipalities."""
    async with open_pool(url) as pool:
        for name in names:
            await enter_municipality(pool, name)
        yield pool


def test_a_vehicle_of_which_everything_is_private_ends_no_worker(
    settings: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    url = settings.database_url.get_secret_value()
    topics = Topics.named(settings.kafka.topic_prefix)

    async def prepare() -> None:
        await create_topics(settings.kafka)
        async with towns(url, "syddjurs") as pool:
            log, writer = Log(topics.fixes), Writer(pool, topics)
            log.append(message([private("syddjurs/p1", START)]))
            log.append(message(drive("syddjurs/a")))
            log.append(message([later("syddjurs/b")]))
            await writer.write(log.since(await log.assign(writer)))
            async with pool.connection() as connection:  # ten minutes later
                await connection.execute(
                    "UPDATE vehicle_state SET written_at = now() - INTERVAL '11 minutes'"
                )
                # The broker's topic is empty: what was written came by no broker.
                await connection.execute("DELETE FROM stream_progress")

    asyncio.run(prepare())
    eager = settings.model_copy(update={"housekeeping_interval_s": 1.0})
    with Service("worker", eager, reaper, tmp_path) as worker:
        worker.wait_ready()

        def ended() -> bool:
            with psycopg.connect(url) as connection:
                row = connection.execute(
                    "SELECT NOT is_open FROM trip WHERE vehicle_id = 'syddjurs/a'"
                ).fetchone()
            return row == (True,)

        wait_for(ended, limit_s=30, what="the other's trip has ended", who=(worker,))
        assert worker.child.process.poll() is None
        metrics = httpx.get(f"{worker.url}/metrics").text
        assert "fleetpulse_background_faults_total{" not in metrics, metrics


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE vehicle_state SET state = '{broken' WHERE vehicle_id = 'syddjurs/a'",
        "UPDATE vehicle SET consumption_per_km = 'NaN' WHERE vehicle_id = 'syddjurs/a'",
        REFUSED_ROWS,
    ],
    ids=["state", "master data", "rows"],
)
def test_a_broken_vehicle_leaves_the_trips_of_the_others_to_end(
    database_url: str, harm: str
) -> None:
    async def main() -> None:
        async with towns(database_url, "syddjurs") as pool:
            vehicles = ["syddjurs/a", *(f"syddjurs/c{number}" for number in range(5))]
            await send(pool, *map(drive, vehicles), [later("syddjurs/z")])
            assert await fetch(pool, OPEN_TRIPS) == [(vehicle,) for vehicle in vehicles]
            async with pool.connection() as connection:
                await connection.execute(harm)
            before = faults("silence")
            with capture_logs() as logs:
                assert await settle_silent(pool, TOPICS, unwritten_for=PAGE_SIZE) == 5
            assert await fetch(pool, OPEN_TRIPS) == [("syddjurs/a",)]
            assert await fetch(pool, ENDED_TRIPS) == [(vehicle,) for vehicle in vehicles[1:]]
            assert faults("silence") == before + 1
            assert [log["vehicle_id"] for log in logs if log.get("task") == "silence"] == [
                "syddjurs/a"
            ]

    asyncio.run(main())


def test_a_municipality_that_cannot_be_read_stops_no_other(database_url: str) -> None:
    async def main() -> None:
        async with towns(database_url, "favrskov", "syddjurs") as pool:
            await send(
                pool,
                *(drive(f"{town}/a") for town in ("favrskov", "syddjurs")),
                *([later(f"{town}/z")] for town in ("favrskov", "syddjurs")),
            )
            async with pool.connection() as connection:
                await connection.execute(
                    "UPDATE municipality SET rules = %s WHERE municipality_id = 'favrskov'",
                    [Jsonb({"gap_s": "soon"})],
                )
            before = faults("master-data")
            assert await settle_silent(pool, TOPICS, unwritten_for=PAGE_SIZE) == 1
            assert faults("master-data") == before + 1
            assert await fetch(pool, OPEN_TRIPS) == [("favrskov/a",)]
            assert await CalendarKeeper().look(pool) == 1
            await look(pool, TOPICS)
            # What it sends meanwhile waits as letters; the others' become rows.
            await send(pool, [later("favrskov/z", 5)], [later("syddjurs/z", 5)])
            assert await fetch(pool, "SELECT reason, vehicle_id FROM dead_letter") == [
                ("unknown-municipality", "favrskov/z")
            ]
            ((detail,),) = await fetch(pool, "SELECT detail FROM dead_letter")
            assert "gap_s" in detail
            assert await fetch(
                pool, "SELECT vehicle_id FROM fix WHERE recorded_at > '2026-02-02 10:30+00'"
            ) == [("syddjurs/z",)]

    asyncio.run(main())


def test_one_municipality_s_alerts_that_fail_leave_the_others_theirs(database_url: str) -> None:
    async def main() -> None:
        async with towns(database_url, "favrskov", "syddjurs") as pool:
            for town in ("favrskov", "syddjurs"):
                await send(pool, drive(f"{town}/a"), [later(f"{town}/{i}", 500) for i in "xyz"])
            await CalendarKeeper().look(pool)
            async with pool.connection() as connection:
                await connection.execute(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                    "IF NEW.municipality_id = 'favrskov' THEN RAISE 'as the test asked'; END IF; "
                    "RETURN NEW; END $$; CREATE TRIGGER refuse BEFORE INSERT ON alert "
                    "FOR EACH ROW EXECUTE FUNCTION refuse()"
                )
            before = faults("alerts")
            assert await look(pool, TOPICS) == 1
            assert await fetch(pool, "SELECT municipality_id, vehicle_id, kind FROM alert") == [
                ("syddjurs", "syddjurs/a", "not-reporting")
            ]
            assert faults("alerts") == before + 1

    asyncio.run(main())


def test_the_watch_goes_on_whatever_one_of_its_tasks_raises(database_url: str) -> None:
    """A table that is gone is no fault of a vehicle: calendars fail each round, silence goes on."""

    async def main() -> None:
        async with towns(database_url, "syddjurs") as pool:
            await send(pool, drive("syddjurs/a"), [later("syddjurs/z")])
            async with pool.connection() as connection:
                await connection.execute("ALTER TABLE calendar_kept RENAME TO calendar_gone")
                await connection.execute("UPDATE vehicle_state SET written_at = '2026-02-02'")
            stop = asyncio.Event()
            watching = asyncio.create_task(watch(pool, TOPICS, 0.1, stop))

            async def ended() -> bool:
                return await fetch(pool, ENDED_TRIPS) == [("syddjurs/a",)]

            await until(ended, "the silent vehicle's trip ends")
            assert not watching.done()
            stop.set()
            await watching

    asyncio.run(main())
