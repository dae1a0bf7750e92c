"""A tracker in another vehicle: in the worker, told late, beside workers, and the limits of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.database.connection.pool import Pool
from infra.database.timeline import fixes as fix_store
from processors.trackers import TrackerRefusedError
from schemas.events.fix import Fix
from stream.worker import pipeline
from stream.worker.decode import columnar
from stream.worker.refold import reassign
from stream.worker.refold.reassign import PastRetentionError, Reassigned, assign, release
from stream.worker.refold.recompute import recompute
from stream.worker.unit_of_work import flush
from stream.worker.write.writer import Writer
from tests.processes import command
from tests.stream_harness import (
    TOPICS,
    Log,
    derived,
    enter_municipality,
    fetch,
    message,
    open_pool,
)

START = datetime(2026, 2, 2, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
CAR, VAN, TRACKER = "syddjurs/a", "syddjurs/van", "syddjurs/352093"
WHO = "SELECT vehicle_id, tracker_id, count(*) FROM fix GROUP BY 1, 2 ORDER BY 1, 2"
WAITING = (
    "SELECT reason, vehicle_id, count(*) FROM dead_letter WHERE replayed_at IS NULL "
    "GROUP BY 1, 2 ORDER BY 1, 2"
)
OF_VEHICLES = ("segment", "trip", "idle_interval", "round_trip", "usage_hour", "vehicle_state")


def drives(sender: str, hours: int, *, since: datetime = START, lon: float = 10.4) -> list[Fix]:
    """Return a fix a minute: every hour to a customer 5 km away, or back."""
    return [
        Fix(
            vehicle_id=sender,
            recorded_at=since + timedelta(minutes=minute),
            lat=56.3 + km / 111.34,
            lon=lon,
            ignition=within <= 5,
        )
        for minute in range(60 * hours)
        for within, out in [(minute % 60, (minute // 60) % 2 == 0)]
        for km in [min(within, 5) if out else max(0, 5 - within)]
    ]


@pytest.fixture
def url(database_url: str) -> str:
    """Return a database with one municipality, car `a` and a van."""

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await execute(
                pool,
                "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type) "
                "VALUES (%s, 'syddjurs', 'Van', 'van')",
                VAN,
            )

    asyncio.run(main())
    return database_url


def run(url: str, scenario: Any) -> Any:
    """Run a scenario on a pool."""

    async def main() -> Any:
        async with open_pool(url) as pool:
            work: Coroutine[Any, Any, Any] = scenario(pool)
            return await work

    return asyncio.run(main())


async def execute(pool: Pool, statement: str, *values: Any) -> None:
    async with pool.connection() as connection:
        await connection.execute(statement, values)


class Worker:
    """A worker that takes one message after another and keeps its cache."""

    def __init__(self, pool: Pool, topic: str = TOPICS.fixes) -> None:
        self.log, self.writer = Log(topic), Writer(pool, TOPICS)
        self._assigned = False

    async def take(self, fixes: Sequence[Fix]) -> None:
        """Write some fixes as one message."""
        self.log.append(message(fixes))
        if not self._assigned:
            await self.log.assign(self.writer)
            self._assigned = True
        await self.writer.write(self.log.records[0][-1:])


async def everything(pool: Pool) -> list[Any]:
    tables = ("tracker_assignment", "tracker_revision", "vehicle_checkpoint", "dead_letter")
    queries = [f"SELECT * FROM {table} ORDER BY 1, 2" for table in tables]
    return [await derived(pool), await fetch(pool, WHO), *[await fetch(pool, q) for q in queries]]


@pytest.mark.parametrize("way", ["columns", "items"])
def test_a_worker_goes_by_the_instant_of_a_fix_and_says_who_sent_it(
    url: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "items":
        monkeypatch.setattr(columnar, "decode", lambda records: (None, list(records)))

    async def scenario(pool: Pool) -> None:
        await assign(pool, TOPICS, TRACKER, CAR, START + HOUR)
        await assign(pool, TOPICS, TRACKER, VAN, START + 2 * HOUR)
        await release(pool, TOPICS, TRACKER, START + 3 * HOUR)
        worker = Worker(pool)
        await worker.take(drives(TRACKER, 4))
        await worker.take(drives(VAN, 1))
        assert await fetch(pool, WHO) == [
            (TRACKER, None, 60),
            (CAR, TRACKER, 60),
            (VAN, TRACKER, 60),
            (VAN, None, 60),
        ]
        assert await fetch(pool, WAITING) == [("unassigned-tracker", TRACKER, 60)]
        [(detail,)] = await fetch(pool, "SELECT detail FROM dead_letter ORDER BY detail LIMIT 1")
        assert detail == (
            f"tracker {TRACKER} is in no vehicle at 2026-02-02T09:00:00+00:00: it left {VAN} at "
            "2026-02-02T09:00:00+00:00; say where it was with `fleetpulse tracker assign`, which "
            "takes this letter up"
        )

    run(url, scenario)


def test_a_swap_that_is_told_weeks_later_moves_what_was_sent_since(url: str) -> None:
    async def told_first(pool: Pool) -> list[Any]:
        await assign(pool, TOPICS, CAR, VAN, START + 30 * HOUR)
        await Worker(pool).take(drives(CAR, 48))
        return await everything(pool)

    async def told_late(pool: Pool) -> None:
        expected = await told_first(pool)
        for table in ("tracker_assignment", "fix", "vehicle_checkpoint", *OF_VEHICLES):
            await execute(pool, f"DELETE FROM {table}")
        await execute(pool, "UPDATE tracker_revision SET revision = 0")
        await Worker(pool, "again").take(drives(CAR, 48))
        assert await fetch(pool, WHO) == [(CAR, None, 48 * 60)]
        done = await assign(pool, TOPICS, CAR, VAN, START + 30 * HOUR, at_once=100)
        assert done == Reassigned(CAR, 18 * 60, 0, 0, (CAR, VAN))
        entries = await everything(pool)
        assert entries[:3] == expected[:3]
        assert entries[4:] == expected[4:]
        assert await fetch(pool, WHO) == [(CAR, None, 30 * 60), (VAN, CAR, 18 * 60)]

    run(url, told_late)


def test_a_vehicle_whose_fixes_are_all_anothers_has_no_timeline_any_more(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        await Worker(pool).take(drives(CAR, 12))
        await assign(pool, TOPICS, CAR, VAN, START - HOUR)
        for table in (*OF_VEHICLES, "vehicle_checkpoint"):
            assert await fetch(pool, f"SELECT DISTINCT vehicle_id FROM {table}") in (
                [(VAN,)],
                [],  # nobody idled
            )
        assert await fetch(pool, "SELECT count(*) FROM trip") == [(12,)]
        assert [recomputed async for recomputed in recompute(pool, TOPICS, "syddjurs")] != []
        # It never was: the assignment is taken back.
        assert (await release(pool, TOPICS, CAR, START - HOUR)).moved == 720
        assert await fetch(pool, WHO) == [(CAR, None, 720)]
        assert await fetch(pool, "SELECT DISTINCT vehicle_id FROM trip") == [(CAR,)]

    run(url, scenario)


def test_letters_of_no_vehicle_and_of_lost_instants_count_once_it_is_told_where_they_were(
    url: str,
) -> None:
    async def scenario(pool: Pool) -> None:
        await assign(pool, TOPICS, TRACKER, CAR, START)
        worker = Worker(pool)
        await worker.take(drives(CAR, 2))
        await worker.take(drives(TRACKER, 4, lon=10.5))
        assert await fetch(pool, WHO) == [(CAR, TRACKER, 120), (CAR, None, 120)]
        assert await fetch(pool, WAITING) == [("conflicting-fix", TRACKER, 120)]
        done = await release(pool, TOPICS, TRACKER, START + HOUR)
        # Of the lost hour in the car it is said anew why, and two hours leave the car.
        assert (done.moved, done.set_aside, done.taken_up) == (0, 180, 0)
        assert await fetch(pool, WAITING) == [
            ("conflicting-fix", TRACKER, 60),
            ("unassigned-tracker", TRACKER, 180),
        ]
        done = await assign(pool, TOPICS, TRACKER, VAN, START + HOUR)
        assert (done.moved, done.set_aside, done.taken_up) == (0, 0, 180)
        assert await fetch(pool, WAITING) == [("conflicting-fix", TRACKER, 60)]
        assert await fetch(pool, WHO) == [(CAR, None, 120), (VAN, TRACKER, 180)]

    run(url, scenario)


def test_a_worker_with_assignments_of_before_in_its_cache_folds_by_the_new_ones(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        worker, fixes = Worker(pool), drives(CAR, 4)
        await worker.take(fixes[:60])
        await assign(pool, TOPICS, CAR, VAN, START + 2 * HOUR)
        await worker.take(fixes[60:180])  # less than 30 s later
        await release(pool, TOPICS, CAR, START + 3 * HOUR)
        await worker.take(fixes[180:])
        assert await fetch(pool, WHO) == [(CAR, None, 120), (VAN, CAR, 60)]
        assert await fetch(pool, WAITING) == [("unassigned-tracker", CAR, 60)]

    run(url, scenario)


# In the car's first batch of all, in a later one, and in one that is of no vehicle so far.
BATCHES = ("first", "later", "unassigned")


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("ahead", ["worker", "telling"])
def test_a_batch_and_a_swap_at_the_same_moment_do_not_pass_each_other(
    url: str, batch: str, ahead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is ahead is held just before it writes, when all that it goes by has been read."""
    gate, held = asyncio.Event(), asyncio.Event()

    async def scenario(pool: Pool) -> None:
        fixes = drives(TRACKER, 3)
        worker = Worker(pool)
        if batch == "later":
            await worker.take(fixes[:60])
        if batch == "unassigned":
            await assign(pool, TOPICS, TRACKER, CAR, START)
            await worker.take(fixes[:60])
            await release(pool, TOPICS, TRACKER, START + HOUR)
        module = pipeline if ahead == "worker" else reassign

        async def slowly(*given: Any) -> None:
            held.set()
            await gate.wait()
            await flush(*given)

        monkeypatch.setattr(module, "flush", slowly)
        if ahead == "telling" and batch != "later":
            # Nothing is stored that it would write: held where it has changed the assignment.
            lock = fix_store.allow_old_fixes

            async def hold(connection: Any) -> None:
                held.set()
                await gate.wait()
                await lock(connection)

            monkeypatch.setattr(fix_store, "allow_old_fixes", hold)
        since = START + (HOUR if batch == "unassigned" else timedelta())

        async def tell() -> None:
            await assign(pool, TOPICS, TRACKER, VAN, since)

        works = [worker.take(fixes[60:]), tell()]
        first, second = works if ahead == "worker" else works[::-1]
        going = asyncio.create_task(first)
        await held.wait()
        waiting = asyncio.create_task(second)
        await asyncio.sleep(0.3)
        assert not waiting.done()
        gate.set()
        await asyncio.gather(going, waiting)
        assert await fetch(pool, WAITING) == []
        assert (
            await fetch(pool, WHO)
            == {
                "first": [(VAN, TRACKER, 120)],
                "later": [(VAN, TRACKER, 180)],
                "unassigned": [(CAR, TRACKER, 60), (VAN, TRACKER, 120)],
            }[batch]
        )

    run(url, scenario)


def test_past_the_retention_of_raw_fixes_nothing_is_changed_and_the_limit_is_said(
    url: str,
) -> None:
    async def scenario(pool: Pool) -> None:
        await Worker(pool).take(drives(CAR, 48))
        kept_since = START + 20 * HOUR
        for table in ("fix", "vehicle_checkpoint"):
            await execute(pool, f"DELETE FROM {table} WHERE recorded_at < %s", kept_since)
        before = await everything(pool)
        # What is to move is gone; or there is no checkpoint before it to fold on from.
        for hours, since in ((10, "2026-02-02T16:00:00"), (22, "2026-02-03T04:00:00")):
            with pytest.raises(PastRetentionError) as refused:
                await assign(pool, TOPICS, CAR, VAN, START + hours * HOUR)
            assert f"timeline of {CAR} would change from {since}" in str(refused.value)
            assert "reaches back to 2026-02-03T06:00:00+00:00; give an" in str(refused.value)
        assert await everything(pool) == before
        done = await assign(pool, TOPICS, CAR, VAN, START + 24 * HOUR + timedelta(minutes=1))
        assert done.moved == 24 * 60 - 1
        assert await fetch(
            pool, f"SELECT min(started_at), max(ended_at) FROM segment WHERE vehicle_id = '{CAR}'"
        ) == [(START, START + 24 * HOUR)]

    run(url, scenario)


def test_a_vehicle_that_nobody_knows_is_refused(url: str) -> None:
    async def scenario(pool: Pool) -> None:
        with pytest.raises(TrackerRefusedError, match=r"'syddjurs/x' is not known; enter it first"):
            await assign(pool, TOPICS, TRACKER, "syddjurs/x", START)

    run(url, scenario)


def test_the_commands_say_what_they_did_and_what_is_wrong(url: str) -> None:
    run(url, lambda pool: Worker(pool).take(drives(TRACKER, 3)))
    done = command(
        "tracker",
        "assign",
        TRACKER,
        "a",
        "--since",
        "2026-02-02T08:00:00+01:00",
        FLEETPULSE_DATABASE_URL=url,
    )
    assert (done.returncode, done.stdout) == (
        0,
        (
            f"{TRACKER}: 120 fixes moved, 0 set aside as dead letters, 0 taken up from there; "
            f"recalculated: {TRACKER}, {CAR}\n"
        ),
    )
    done = command(
        "tracker",
        "release",
        TRACKER,
        "--until",
        "2026-02-02T08:00:00Z",
        FLEETPULSE_DATABASE_URL=url,
    )
    assert "60 set aside as dead letters" in done.stdout, done.stderr
    listed = command("tracker", "list", "syddjurs", FLEETPULSE_DATABASE_URL=url).stdout
    for word in (TRACKER, CAR, "2026-02-02T07:00:00+00:00", "2026-02-02T08:00:00+00:00"):
        assert word in listed
    at = ("--since", "2026-02-02T07:30:00Z")
    for arguments, text in (
        (("list", "odder"), "municipality 'odder' is not entered"),
        (("assign", TRACKER, "van", *at), "which overlaps; give an instant from 2026-02-02T08"),
        (("assign", TRACKER, "a", "--since", "2026-02-02T08:00:00"), "give date, time and offset"),
        (("release", TRACKER, "--until", "2026-02-03"), "--until '2026-02-03': "),
    ):
        failed = command("tracker", *arguments, FLEETPULSE_DATABASE_URL=url)
        assert failed.returncode == 2, failed.stdout
        assert text in " ".join(failed.stderr.replace("│", " ").split()), failed.stderr
