"""A vehicle that leaves the fleet: by command or file, from its last day on, and back again."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from infra.database.fleet.master_data_import import import_master_data
from infra.database.plans.recorded_demand import read_inputs, read_week
from infra.database.plans.replan_signals import read_fleet_digests
from infra.database.timeline.vehicle_states import find_silent
from schemas.fleet.master_data import FleetFile
from schemas.plans.demand import PlacementInputs
from stream.worker.housekeeping.alerts import look
from tests.databases import Databases
from tests.processes import command
from tests.sample_fleet import Connection, fill
from tests.stream_harness import TOPICS, fetch, open_pool

ZONE = ZoneInfo("Europe/Copenhagen")
START = datetime(2026, 3, 1, 23, tzinfo=UTC)
"""Midnight in Copenhagen, from which four weeks of two towns' rows begin."""
DAYS = 28
LAST_DAY = date(2026, 3, 15)
OPEN = "SELECT vehicle_id, kind FROM alert WHERE resolved_at IS NULL ORDER BY 1, 2"


def _two_towns(connection: Connection) -> None:
    for town in ("odder", "roskilde"):
        fill(connection, town, start=START, days=DAYS)
    connection.execute("DELETE FROM alert")


@pytest.fixture
def towns_url(databases: Databases) -> Iterator[str]:
    """Yield a database with two towns; round trips of car 1 and 2 make demand of their depot."""
    with databases.filled("two towns in March", _two_towns) as url:
        yield url


@pytest.fixture
def database(towns_url: str) -> Iterator[Connection]:
    """Yield a connection to it."""
    with psycopg.connect(towns_url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        yield connection


def fleetpulse(url: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return command(*words, stdin=stdin, FLEETPULSE_DATABASE_URL=url)


def today(connection: Connection) -> date:
    row = connection.execute("SELECT (now() AT TIME ZONE 'Europe/Copenhagen')::date").fetchone()
    assert row is not None
    day: date = row[0]
    return day


def retire(connection: Connection, last_day: date | None, vehicle: str = "odder/car-1") -> None:
    connection.execute(
        "UPDATE vehicle SET in_service_until = %s WHERE vehicle_id = %s", [last_day, vehicle]
    )


def supplies(connection: Connection) -> dict[str, int]:
    return {
        row[0]: row[1] for row in connection.execute("SELECT depot_id, supply FROM depot_supply")
    }


def test_a_vehicle_is_retired_listed_and_reinstated(database: Connection, towns_url: str) -> None:
    done = fleetpulse(towns_url, "fleet", "retire", "odder/car-1")
    assert done.returncode == 0, done.stderr
    on = today(database)
    assert done.stdout == (
        f"odder/car-1 is in service until the end of {on} (Europe/Copenhagen); to undo: fleetpulse "
        "fleet reinstate odder/car-1\n"
    )
    done = fleetpulse(towns_url, "fleet", "retire", "odder/car-1", "--on", str(LAST_DAY))
    assert f"until the end of 2026-03-15 (Europe/Copenhagen), no longer until {on}" in done.stdout
    listed = fleetpulse(towns_url, "fleet", "list", "odder").stdout
    (line,) = [name for name in listed.splitlines() if "odder/car-1" in name]
    assert "2026-03-15: retired, still reporting: take its" in line  # until the 29th
    assert listed.count("retired") == 1
    before = "SELECT count(*) FROM fix", "SELECT count(*) FROM trip", "SELECT * FROM vehicle_home"
    kept = [database.execute(name).fetchall() for name in before]
    done = fleetpulse(towns_url, "fleet", "reinstate", "odder/car-1")
    assert "in service again; its last day 2026-03-15 is cancelled" in done.stdout
    assert kept == [database.execute(name).fetchall() for name in before]
    assert "retired" not in fleetpulse(towns_url, "fleet", "list", "odder").stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("retire", "car-1"), ["'car-1' does not match", "such as syddjurs/car-017"]),
        (("retire", "odder/car-9"), ["'odder/car-9' is not entered", "fleet list odder"]),
        (("retire", "odder/car-1", "--on", "soon"), ["'soon'", "2000-01-01 to 2099-12-31"]),
        (("retire", "odder/car-1", "--on", "2100-01-01"), ["'2100-01-01'", "to 2099-12-31"]),
        (
            ("retire", "odder/car-1", "--on", "2026-03-01"),
            ["until 2026-03-01", "first heard of on 2026-03-02", "that day or a later one"],
        ),
        (("reinstate", "odder/car-1"), ["without an end; nothing to undo"]),
        (("list", "nowhere"), ["'nowhere' is not entered"]),
    ],
)
def test_what_cannot_be_is_refused_with_value_limit_and_remedy(
    database: Connection, towns_url: str, words: tuple[str, ...], says: list[str]
) -> None:
    done = fleetpulse(towns_url, "fleet", *words)
    assert done.returncode == 2
    text = " ".join(done.stderr.replace("│", " ").split())
    for say in says:
        assert say in text
    assert database.execute(
        "SELECT count(*) FROM vehicle WHERE in_service_until < '2099-12-31'"
    ).fetchone() == (0,)


def test_a_vehicle_that_was_only_seen_in_the_stream_cannot_be_retired(
    database: Connection, towns_url: str
) -> None:
    database.execute("UPDATE vehicle SET registered = false WHERE vehicle_id = 'odder/stray'")
    assert fleetpulse(towns_url, "fleet", "retire", "odder/stray").returncode == 2
    assert "only seen in the stream" in fleetpulse(towns_url, "fleet", "list", "odder").stdout


def test_a_file_that_says_nothing_of_it_does_not_bring_it_back(database_url: str) -> None:
    vehicle: dict[str, Any] = {"vehicle_id": "odder/c", "municipality_id": "odder", "name": "C"}

    async def main() -> list[date | None]:
        entries = []
        async with open_pool(database_url) as pool:
            for more in (
                {},
                {"in_service_until": "2026-03-15"},
                {},
                {"in_service_until": "2026-04-01"},
                {"in_service_until": None},
            ):
                given = {
                    "municipalities": [{"municipality_id": "odder", "name": "Odder"}],
                    "vehicles": [vehicle | more],
                }
                async with pool.connection() as connection:
                    await import_master_data(connection, FleetFile.model_validate(given))
                ((until,),) = await fetch(pool, "SELECT in_service_until FROM vehicle")
                entries.append(until)
        return entries

    assert asyncio.run(main()) == [None, LAST_DAY, LAST_DAY, date(2026, 4, 1), None]


def test_it_is_supply_up_to_and_on_its_last_day_by_the_clock_on_the_wall(
    database: Connection,
) -> None:
    before = supplies(database)
    assert before["odder/north"] == 2
    on = today(database)
    for last_day, supply in ((on, 2), (on - timedelta(days=1), 1), (None, 2)):
        retire(database, last_day)
        assert supplies(database) == before | {"odder/north": supply}
    # Where it is midnight earlier or later than in Copenhagen, its last day ends then.
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):
        database.execute("UPDATE municipality SET timezone = %s", [zone])
        row = database.execute("SELECT (now() AT TIME ZONE %s)::date", [zone]).fetchone()
        assert row is not None
        retire(database, row[0])
        assert supplies(database)["odder/north"] == 2
        retire(database, row[0] - timedelta(days=1))
        assert supplies(database)["odder/north"] == 1


def test_the_past_keeps_its_supply_and_time_is_available_until_the_last_day(
    database: Connection,
) -> None:
    occupancy = "SELECT depot_id, (day AT TIME ZONE 'Europe/Copenhagen')::date, supply, peak_out "
    occupancy += "FROM depot_occupancy_day ORDER BY 1, 2"
    use = "SELECT vehicle_id, local_day, available_s, used_s, distance_m FROM utilisation_day"
    before, used = database.execute(occupancy).fetchall(), database.execute(use).fetchall()
    assert len({row[1] for row in used}) == DAYS + 1  # an hour of the last, for clocks changed
    retire(database, LAST_DAY)
    # The tracker was taken out three days later.
    database.execute(
        "DELETE FROM usage_hour WHERE vehicle_id = 'odder/car-1' AND hour >= %s",
        [datetime.combine(LAST_DAY + timedelta(days=4), time(), ZONE)],
    )
    database.execute(
        "UPDATE vehicle_state SET last_recorded_at = %s WHERE vehicle_id = 'odder/car-1'",
        [datetime.combine(LAST_DAY + timedelta(days=3), time(12), ZONE)],
    )
    assert database.execute(occupancy).fetchall() == [
        (depot, on, supply - (depot == "odder/north" and on > LAST_DAY), peak)
        for depot, on, supply, peak in before
    ]
    expected = {
        row[:2]: (row[2] if row[0] != "odder/car-1" or row[1] <= LAST_DAY else 0, *row[3:])
        for row in used
        if row[0] != "odder/car-1" or row[1] <= LAST_DAY + timedelta(days=3)
    }
    rows = {row[:2]: row[2:] for row in database.execute(use).fetchall()}
    assert rows == expected
    # What it drove after its last day counts all the same.
    assert rows["odder/car-1", LAST_DAY + timedelta(days=2)][2] == 90_000


def test_event_time_goes_on_though_nearly_all_vehicles_are_retired(database: Connection) -> None:
    event_time = "SELECT until FROM observed_span WHERE municipality_id = 'odder'"
    before = database.execute(event_time).fetchone()
    database.execute(
        "INSERT INTO vehicle (vehicle_id, municipality_id, name, in_service_until) "
        "SELECT 'odder/old-' || i, 'odder', i, '2026-03-15' FROM generate_series(1, 99) AS i"
    )
    database.execute(
        "INSERT INTO vehicle_state (vehicle_id, version, first_recorded_at, last_recorded_at, "
        "state) SELECT vehicle_id, 1, %(at)s, %(at)s, '{}' FROM vehicle "
        "WHERE vehicle_id LIKE 'odder/old-%%'",
        {"at": START + timedelta(days=3)},
    )
    assert database.execute(event_time).fetchone() == before
    database.execute("UPDATE vehicle SET in_service_until = '2026-03-15'")
    # Nobody is in service: time is that of the fixes there are.
    assert database.execute(event_time).fetchone() == (START + timedelta(days=3),)


def inputs_of(url: str, town: str, *, week: datetime | None = None) -> PlacementInputs:
    async def main() -> PlacementInputs:
        async with open_pool(url) as pool, pool.connection() as connection:
            if week is not None:
                return await read_week(connection, town, week, week + timedelta(days=7))
            return await read_inputs(connection, town, 84)

    return asyncio.run(main())


def digests(url: str) -> dict[str, str]:
    async def main() -> dict[str, str]:
        async with open_pool(url) as pool, pool.connection() as connection:
            return dict(await read_fleet_digests(connection))

    return asyncio.run(main())


def test_the_planner_has_its_demand_and_not_the_vehicle_until_it_is_back(
    database: Connection, towns_url: str
) -> None:
    before, other = inputs_of(towns_url, "odder"), inputs_of(towns_url, "roskilde")
    fleets = digests(towns_url)
    driven = [
        round_trip for round_trip in before.round_trips if round_trip.vehicle_id == "odder/car-1"
    ]
    assert driven
    retire(database, today(database))
    assert "odder/car-1" in {
        vehicle.vehicle_id for vehicle in inputs_of(towns_url, "odder").vehicles
    }
    dated = digests(towns_url)
    retire(database, today(database) - timedelta(days=1))
    after = inputs_of(towns_url, "odder")
    assert {vehicle.vehicle_id for vehicle in before.vehicles} - {
        vehicle.vehicle_id for vehicle in after.vehicles
    } == {"odder/car-1"}
    assert [former_vehicle.vehicle_id for former_vehicle in after.former_vehicles] == [
        "odder/car-1"
    ]
    assert after.round_trips == before.round_trips
    assert inputs_of(towns_url, "roskilde") == other
    gone = digests(towns_url)
    assert len({fleets["odder"], dated["odder"], gone["odder"]}) == 3
    assert fleets["roskilde"] == gone["roskilde"]
    retire(database, None)
    assert inputs_of(towns_url, "odder") == before
    assert digests(towns_url) == fleets


@pytest.mark.parametrize(
    ("monday", "is_there"), [(date(2026, 3, 9), True), (date(2026, 3, 16), False)]
)
def test_a_plan_is_followed_up_with_who_was_in_service_that_week(
    database: Connection,
    towns_url: str,
    monday: date,
    is_there: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    retire(database, LAST_DAY)  # a Sunday
    week = inputs_of(towns_url, "odder", week=datetime.combine(monday, time(), ZONE))
    assert ("odder/car-1" in {vehicle.vehicle_id for vehicle in week.vehicles}) is is_there
    assert any(round_trip.vehicle_id == "odder/car-1" for round_trip in week.round_trips)


def looked(url: str, query: str = OPEN) -> list[tuple[Any, ...]]:
    async def main() -> list[tuple[Any, ...]]:
        async with open_pool(url) as pool:
            await look(pool, TOPICS)
            return await fetch(pool, query)

    return asyncio.run(main())


def test_its_alerts_are_over_once_none_is_raised_and_back_in_service_they_may_be(
    database: Connection, towns_url: str
) -> None:
    database.execute(
        "UPDATE vehicle_state SET last_recorded_at = last_recorded_at - interval '6 days' "
        "WHERE vehicle_id IN ('odder/van-1', 'roskilde/van-1')"
    )
    silent = ("odder/van-1", "not-reporting"), ("roskilde/van-1", "not-reporting")
    underused = ("odder/car-3", "underused"), ("roskilde/car-3", "underused")
    assert {*silent, *underused} <= set(looked(towns_url))
    for vehicle in ("odder/van-1", "odder/car-3"):
        retire(database, date(2026, 3, 29), vehicle)
    over = "SELECT vehicle_id, kind, resolution FROM alert WHERE resolved_at IS NOT NULL ORDER BY 1"
    expected = [
        ("odder/car-3", "underused", "retired: in service until 2026-03-29"),
        ("odder/van-1", "not-reporting", "retired: in service until 2026-03-29"),
    ]
    for _ in range(2):
        assert looked(towns_url, over) == expected
    events = "SELECT payload ->> 'vehicle_id' FROM outbox WHERE payload ->> 'type' = "
    assert sorted(looked(towns_url, events + "'alert-resolved'")) == [
        ("odder/car-3",),
        ("odder/van-1",),
    ]
    left = looked(towns_url)
    assert not {"odder/van-1", "odder/car-3"} & {row[0] for row in left}
    assert {silent[1], underused[1]} <= set(left)
    for vehicle in ("odder/van-1", "odder/car-3"):
        retire(database, None, vehicle)
    assert silent[0] not in looked(towns_url)  # the rest before the same alert is raised again
    database.execute(
        "UPDATE vehicle_state SET last_recorded_at = last_recorded_at + interval '8 days' "
        "WHERE vehicle_id NOT LIKE '%/van-1'"
    )
    assert {silent[0], underused[0]} <= set(looked(towns_url))


def test_a_vehicle_that_is_heard_of_after_its_last_day_is_told_of(
    database: Connection, towns_url: str
) -> None:
    retire(database, date(2026, 3, 26))
    text = "SELECT reason, resolution FROM alert WHERE kind = 'reporting-after-retirement'"
    ((reason, resolution),) = looked(towns_url, text)
    # From the end of the 26th to that of the 29th; at noon of three days it drove 90 km.
    assert reason.startswith(
        "retired, in service until 2026-03-26, and reporting for 3.0 days since, limit 1.0; "
        "270 km driven; take its tracker out"
    )
    assert resolution is None
    assert ("odder/car-1", "reporting-after-retirement") in looked(towns_url)
    retire(database, None)
    assert looked(towns_url, text) == [(reason, "in service again")]


def test_its_silence_is_written_until_its_last_day_ends_and_an_open_trip_ends(
    database: Connection, towns_url: str
) -> None:
    last = datetime.combine(LAST_DAY, time(20), ZONE)
    ends = datetime.combine(LAST_DAY + timedelta(days=1), time(), ZONE)

    async def main(heard_at: datetime, last_day: date | None) -> dict[str, datetime]:
        database.execute("DELETE FROM segment WHERE vehicle_id = 'odder/car-1' AND is_open")
        database.execute(
            "UPDATE vehicle_state SET last_recorded_at = %s WHERE vehicle_id = 'odder/car-1'",
            [heard_at],
        )
        retire(database, last_day)
        async with open_pool(towns_url) as pool, pool.connection() as connection:
            return await find_silent(
                connection,
                "odder",
                until=START + timedelta(days=DAYS),
                gap=timedelta(hours=1),
                at_most=timedelta(days=7),
                unwritten_for=timedelta(0),
                limit=10,
            )

    hour = timedelta(hours=1)
    assert asyncio.run(main(last, None))["odder/car-1"] == last + timedelta(days=7)
    assert asyncio.run(main(last, LAST_DAY))["odder/car-1"] == ends
    late = ends - timedelta(minutes=10)
    assert asyncio.run(main(late, LAST_DAY))["odder/car-1"] == late + 2 * hour
    later = ends + timedelta(days=3)
    assert asyncio.run(main(later, LAST_DAY))["odder/car-1"] == later + 2 * hour
