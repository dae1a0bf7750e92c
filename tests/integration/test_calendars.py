"""Calendars as rows: written once, by whoever comes first, and again when something changes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from infra.database.connection.pool import Pool
from infra.database.fleet.master_data_import import import_master_data
from processors.usage.calendar import available, days_off
from schemas.fleet.master_data import FleetFile, VehicleType
from stream.calendars import CalendarKeeper
from tests.stream_harness import faults, fetch, open_pool

ZONE = ZoneInfo("Europe/Copenhagen")
ROWS = (
    "SELECT * FROM local_day ORDER BY municipality_id, local_day",
    "SELECT * FROM available_time ORDER BY municipality_id, vehicle_type, local_day",
    "SELECT * FROM calendar_kept ORDER BY municipality_id",
)
SPAN = "SELECT municipality_id, min(local_day), max(local_day) FROM local_day GROUP BY 1 ORDER BY 1"
WRITTEN = "SELECT DISTINCT xmin::text FROM local_day WHERE municipality_id = '{}'"


def fleet(*municipalities: dict[str, Any]) -> FleetFile:
    return FleetFile.model_validate(
        {"municipalities": [{"name": "M", **municipality} for municipality in municipalities]}
    )


async def entered(pool: Pool, *municipalities: dict[str, Any]) -> int:
    """Enter as `fleet apply` does; return how many calendars were written."""
    async with pool.connection() as connection:
        await import_master_data(connection, fleet(*municipalities))
        return await CalendarKeeper().keep(connection)


async def kept(pool: Pool) -> list[Sequence[Any]]:
    return [await fetch(pool, query) for query in ROWS]


async def seen_since(pool: Pool, municipality_id: str, at: datetime) -> None:
    """Enter that a vehicle's first fix was then."""
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name) VALUES (%s, %s, 'V')",
            [f"{municipality_id}/v", municipality_id],
        )
        await connection.execute(
            "INSERT INTO vehicle_state VALUES (%s, 1, %s, %s, '{}')",
            [f"{municipality_id}/v", at, at],
        )


def test_entering_writes_this_year_and_the_next_in_the_same_transaction(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            assert await entered(pool, {"municipality_id": "a"}) == 1
            year = datetime.now(ZONE).year
            assert await fetch(pool, SPAN) == [("a", date(year, 1, 1), date(year + 1, 12, 31))]

            async def fail() -> None:
                async with pool.connection() as connection:
                    await import_master_data(connection, fleet({"municipality_id": "b"}))
                    await CalendarKeeper().keep(connection)
                    raise RuntimeError("as the test asked")

            with pytest.raises(RuntimeError, match="as the test asked"):
                await fail()
            assert await fetch(pool, "SELECT municipality_id FROM municipality") == [("a",)]
            assert await entered(pool, {"municipality_id": "b"}) == 1

    asyncio.run(main())


def test_what_is_written_is_what_the_calendar_says(database_url: str) -> None:
    calendar = {
        "days_off": ["2026-12-24"],
        "shifts": [{"starts": "22:00", "ends": "06:30"}],
    }

    async def main() -> list[Any]:
        async with open_pool(database_url) as pool:
            await entered(pool, {"municipality_id": "a", "calendar": calendar})
            return await fetch(
                pool,
                "SELECT vehicle_type, local_day, array(SELECT lower(x) FROM unnest(during) x), "
                "array(SELECT upper(x) FROM unnest(during) x) FROM available_time",
            )

    [municipality] = fleet({"municipality_id": "a", "calendar": calendar}).municipalities
    entries = asyncio.run(main())
    assert {row[0] for row in entries} == {kind.value for kind in VehicleType}
    years = {row[1].year for row in entries}
    off = days_off(municipality.calendar, range(min(years) - 1, max(years) + 1))
    for vehicle_type, day, started, ended in entries:
        hours = municipality.calendar.hours_of(VehicleType(vehicle_type))
        expected = available(hours, day, ZONE, off)
        assert list(zip(started, ended, strict=True)) == [tuple(part) for part in expected], day


def test_looking_again_writes_nothing_whoever_looks(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await entered(pool, {"municipality_id": "a"}, {"municipality_id": "b"})
            before, by = await kept(pool), await fetch(pool, WRITTEN.format("a"))
            keeper = CalendarKeeper()
            assert [await keeper.look(pool) for _ in range(2)] == [0, 0]
            assert await CalendarKeeper().look(pool) == 0
            assert await kept(pool) == before
            assert await fetch(pool, WRITTEN.format("a")) == by

    asyncio.run(main())


def test_watchers_side_by_side_write_it_once(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as first, open_pool(database_url) as second:
            async with first.connection() as connection:
                await import_master_data(
                    connection, fleet(*({"municipality_id": name} for name in "abc"))
                )
            written = await asyncio.gather(
                *(CalendarKeeper().look(pool) for pool in (first, second) * 4)
            )
            assert sorted(written) == [0] * 7 + [3]
            before = await kept(first)
            await CalendarKeeper().look(second)
            assert await kept(first) == before

    asyncio.run(main())


def test_entering_waits_for_a_watcher_and_its_calendar_is_the_one_that_stays(
    database_url: str,
) -> None:
    closed = {"municipality_id": "a", "calendar": {"shifts": []}}

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await entered(pool, {"municipality_id": "a"})
            for _ in range(5):
                await asyncio.gather(
                    entered(pool, closed), *(CalendarKeeper().look(pool) for _ in range(3))
                )
                empty = "SELECT count(*) FROM available_time WHERE during <> '{}' AND "
                assert await fetch(pool, f"{empty} vehicle_type = 'car'") == [(0,)]
                await entered(pool, {"municipality_id": "a", "calendar": {}})
                assert (await fetch(pool, f"{empty} vehicle_type = 'car'"))[0][0] > 400

    asyncio.run(main())


def test_a_change_is_written_for_the_one_that_it_concerns_and_a_repeat_is_none(
    database_url: str,
) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await entered(pool, {"municipality_id": "a"}, {"municipality_id": "b"})
            keeper = CalendarKeeper()
            await keeper.look(pool)
            untouched = await fetch(pool, WRITTEN.format("b"))
            zone = {"municipality_id": "a", "timezone": "Atlantic/Faroe"}
            assert await entered(pool, zone) == 1
            assert await entered(pool, zone) == 0
            assert await keeper.look(pool) == 0
            assert await fetch(pool, WRITTEN.format("b")) == untouched
            # Changed behind our back: the one that has seen it before sees that too.
            async with pool.connection() as connection:
                await connection.execute(
                    "UPDATE municipality SET calendar = '{\"country\": null}' "
                    "WHERE municipality_id = 'a'"
                )
            assert await keeper.look(pool) == 1
            holidays = "SELECT count(*) FROM local_day WHERE municipality_id = 'a' AND holiday > ''"
            assert await fetch(pool, holidays) == [(0,)]

    asyncio.run(main())


def test_a_calendar_that_is_not_given_stays(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await entered(pool, {"municipality_id": "a", "calendar": {"country": "SE"}})
            before = await kept(pool)
            assert await entered(pool, {"municipality_id": "a", "name": "Renamed"}) == 0
            assert await kept(pool) == before

    asyncio.run(main())


def test_older_data_bring_the_years_that_they_are_from(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await entered(pool, {"municipality_id": "a"}, {"municipality_id": "b"})
            keeper = CalendarKeeper()
            await keeper.look(pool)
            newer = await fetch(pool, "SELECT * FROM local_day WHERE municipality_id = 'a'")
            await seen_since(pool, "a", datetime(2023, 5, 1, tzinfo=UTC))
            assert await keeper.look(pool) == 1
            (owner, first, last), (_, other, _) = await fetch(pool, SPAN)
            assert (owner, first) == ("a", date(2023, 1, 1))
            assert other.year > 2023
            assert (last - first + timedelta(days=1)).days == len(
                await fetch(pool, "SELECT * FROM local_day WHERE municipality_id = 'a'")
            )
            assert set(newer) <= set(await fetch(pool, "SELECT * FROM local_day"))
            bededag = "SELECT local_day FROM local_day WHERE holiday = 'Store bededag'"
            assert await fetch(pool, bededag) == [(date(2023, 5, 5),)]

    asyncio.run(main())


def test_a_look_that_fails_is_made_up_for_by_the_next(database_url: str) -> None:
    async def main() -> None:
        async with open_pool(database_url) as pool:
            await entered(pool, {"municipality_id": "a"})
            keeper = CalendarKeeper()
            await keeper.look(pool)
            async with pool.connection() as connection:
                await connection.execute(
                    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE EXCEPTION 'as the test asked'; END $$"
                )
                await connection.execute(
                    "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON calendar_kept "
                    "FOR EACH ROW EXECUTE FUNCTION refuse()"
                )
            before = await kept(pool)
            await seen_since(pool, "a", datetime(2023, 5, 1, tzinfo=UTC))
            counted = faults("calendars")
            assert await keeper.look(pool) == 0
            assert faults("calendars") == counted + 1
            assert await kept(pool) == before
            async with pool.connection() as connection:
                await connection.execute("DROP TRIGGER refuse ON calendar_kept")
            assert await keeper.look(pool) == 1
            assert await keeper.look(pool) == 0

    asyncio.run(main())
