"""Homes over time, as they are entered; km precision, and split round trips as demand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import TupleRow
from psycopg.types.range import Range
from pydantic import SecretStr, ValidationError

from infra.database.connection.migrate import migrate
from infra.database.connection.pool import make_pool
from infra.database.fleet.master_data import load_fleet
from infra.database.fleet.master_data_import import HomeInFutureError, import_master_data
from infra.database.plans.recorded_demand import read_inputs
from infra.settings import Settings
from processors.usage.round_trips import home_at
from schemas.fleet.master_data import FleetFile, Home
from schemas.fleet.rules import Rules
from tests.databases import Databases
from tests.sample_fleet import Connection

SPRING = datetime(2026, 3, 1, tzinfo=UTC)
SUMMER = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HALL, YARD = "odder/hall", "odder/yard"
YARD_CORNERS = ((55.966, 10.163), (55.966, 10.167), (55.964, 10.167), (55.964, 10.163))


def fleet(home: str | None, since: datetime | None = None, **depot: Any) -> FleetFile:
    """Return two depots and a car with its home."""
    vehicle: dict[str, Any] = {
        "vehicle_id": "odder/car",
        "municipality_id": "odder",
        "name": "Car",
        "home_depot_id": home,
    }
    if since is not None:
        vehicle["home_since"] = since
    places = [
        (HALL, 55.973, 10.153, {}),
        (YARD, 55.965, 10.165, {"polygon": YARD_CORNERS, **depot}),
    ]
    return FleetFile.model_validate(
        {
            "municipalities": [{"municipality_id": "odder", "name": "Odder"}],
            "depots": [
                {
                    "depot_id": depot_id,
                    "municipality_id": "odder",
                    "name": depot_id,
                    "lat": lat,
                    "lon": lon,
                    "capacity": 9,
                    **more,
                }
                for depot_id, lat, lon, more in places
            ],
            "vehicles": [vehicle],
        }
    )


def entered(url: str, *several: FleetFile) -> tuple[Home, ...]:
    """Enter one after the other, each in a transaction; return the car's homes."""

    async def main() -> tuple[Home, ...]:
        settings = Settings(database_url=SecretStr(url))
        async with make_pool(settings, max_size=1) as pool:
            for master_data in several:
                async with pool.connection() as connection:
                    await import_master_data(connection, master_data)
            async with pool.connection() as connection:
                return (await load_fleet(connection)).homes.get("odder/car", ())

    return asyncio.run(main())


@pytest.fixture
def owner(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        yield connection


def test_the_first_home_has_always_been_the_home(database_url: str, owner: Connection) -> None:
    owner.execute("INSERT INTO municipality (municipality_id, name) VALUES ('odder', 'Odder')")
    # Seen in the stream before somebody enters it.
    owner.execute(
        "INSERT INTO vehicle (vehicle_id, municipality_id, name, registered) "
        "VALUES ('odder/car', 'odder', 'car', false)"
    )
    assert entered(database_url, fleet(HALL)) == (Home(HALL, None, None),)
    assert entered(database_url, fleet(HALL)) == (Home(HALL, None, None),)


def test_a_home_that_changes_does_so_now_and_the_former_is_kept(
    database_url: str, owner: Connection
) -> None:
    entered(database_url, fleet(HALL))
    before = owner.execute("SELECT now()").fetchone()
    former, present = entered(database_url, fleet(YARD), fleet(YARD))
    assert before is not None
    assert former == Home(HALL, None, present.since)
    assert (present.depot_id, present.until) == (YARD, None)
    assert present.since is not None
    assert before[0] < present.since < before[0] + timedelta(minutes=1)
    assert owner.execute("SELECT home_depot_id FROM vehicle").fetchone() == (YARD,)


@pytest.mark.parametrize(
    ("steps", "homes"),
    [
        ([(HALL, SPRING)], [(HALL, SPRING, None)]),
        ([(HALL, None), (YARD, SPRING)], [(HALL, None, SPRING), (YARD, SPRING, None)]),
        (  # the same file again, and again later
            [(HALL, None), (YARD, SPRING), (YARD, SPRING), (YARD, None)],
            [(HALL, None, SPRING), (YARD, SPRING, None)],
        ),
        (  # it had come earlier than was said, or had never been away
            [(HALL, None), (YARD, SUMMER), (YARD, SPRING)],
            [(HALL, None, SPRING), (YARD, SPRING, None)],
        ),
        ([(HALL, None), (YARD, SUMMER), (HALL, SPRING)], [(HALL, None, None)]),
        ([(HALL, None), (YARD, SUMMER), (HALL, SUMMER)], [(HALL, None, None)]),
        (
            [(HALL, None), (YARD, SPRING), (HALL, SUMMER)],
            [(HALL, None, SPRING), (YARD, SPRING, SUMMER), (HALL, SUMMER, None)],
        ),
        ([(HALL, None), (None, SPRING)], [(HALL, None, SPRING)]),
        (
            [(HALL, None), (None, SPRING), (HALL, SUMMER)],
            [(HALL, None, SPRING), (HALL, SUMMER, None)],
        ),
        ([(HALL, SPRING), (HALL, SUMMER)], [(HALL, SPRING, None)]),
    ],
)
def test_a_home_can_be_dated_back(
    database_url: str,
    owner: Connection,
    steps: list[tuple[str | None, datetime | None]],
    homes: list[tuple[str, datetime | None, datetime | None]],
) -> None:
    assert entered(database_url, *(fleet(*step) for step in steps)) == tuple(
        Home(*home) for home in homes
    )
    now = owner.execute("SELECT home_depot_id, now() FROM vehicle").fetchone()
    assert now is not None
    assert now[0] == steps[-1][0]
    assert home_at([Home(*home) for home in homes], now[1]) == now[0]


def test_a_home_of_the_future_is_refused_and_nothing_changes(database_url: str) -> None:
    entered(database_url, fleet(HALL))
    later = datetime.now(UTC) + DAY
    with pytest.raises(HomeInFutureError, match=r"odder/car .*odder/yard since .*; enter it then"):
        entered(database_url, fleet(YARD, later))
    assert entered(database_url) == (Home(HALL, None, None),)


def test_since_without_a_home_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"has home_since .* and no home_depot_id; say where"):
        FleetFile.model_validate(
            {
                "vehicles": [
                    {
                        "vehicle_id": "odder/car",
                        "municipality_id": "odder",
                        "name": "Car",
                        "home_since": SPRING,
                    }
                ]
            }
        )


def test_the_history_follows_whoever_changes_the_vehicle(
    database_url: str, owner: Connection
) -> None:
    entered(database_url, fleet(HALL))
    owner.execute("UPDATE vehicle SET home_depot_id = %s", [YARD])
    owner.execute("UPDATE vehicle SET name = 'Other', home_depot_id = %s", [YARD])
    owner.execute("UPDATE vehicle SET home_depot_id = NULL")
    former, present = entered(database_url)
    assert (former.depot_id, present.depot_id) == (HALL, YARD)
    assert former.until == present.since
    assert present.until is not None


def test_a_vehicle_has_one_home_at_a_time_and_in_its_own_municipality(
    database_url: str, owner: Connection
) -> None:
    entered(database_url, fleet(HALL))
    with pytest.raises(errors.ExclusionViolation):
        owner.execute(
            "INSERT INTO vehicle_home VALUES ('odder/car', 'odder/yard', '[2026-01-01,)')"
        )
    owner.execute("INSERT INTO municipality (municipality_id, name) VALUES ('b', 'B')")
    owner.execute(
        "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
        "VALUES ('b/d', 'b', 'd', 0, 0, 1)"
    )
    with pytest.raises(errors.CheckViolation):
        owner.execute("UPDATE vehicle_home SET depot_id = 'b/d'")


def test_a_polygon_is_kept_and_can_be_taken_away(database_url: str, owner: Connection) -> None:
    def polygon() -> Any:
        async def main() -> Any:
            async with (
                make_pool(Settings(database_url=SecretStr(database_url)), max_size=1) as pool,
                pool.connection() as connection,
            ):
                return {
                    depot.depot_id: depot.polygon
                    for depot in (await load_fleet(connection)).depots["odder"]
                }

        return asyncio.run(main())

    entered(database_url, fleet(HALL))
    assert polygon() == {HALL: None, YARD: YARD_CORNERS}
    entered(database_url, fleet(HALL, polygon=None))
    assert polygon() == {HALL: None, YARD: None}
    with pytest.raises(errors.CheckViolation):
        owner.execute("UPDATE depot SET polygon = '[[55.9, 10.1]]'")


def put_round_trips(
    owner: Connection, *rows: tuple[float, float, str, str | None, str | None, float]
) -> None:
    """Write round trips from hours after the spring's begin, kind, depots and km."""
    for part, (start_h, end_h, kind, left, reached, km) in enumerate(rows, start=1):
        owner.execute(
            "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, start_depot_id, "
            "end_depot_id, distance_m, trip_count, is_open, home_depot_id, part) "
            "VALUES ('odder/car', %s, %s, %s, %s, %s, %s, 1, %s, %s, %s)",
            [
                SPRING + timedelta(hours=start_h),
                SPRING + timedelta(hours=end_h),
                kind,
                left,
                reached,
                km * 1000,
                kind == "open" and reached is None,
                HALL,
                part if kind == "over-long" else 0,
            ],
        )


def precision(owner: Connection) -> list[TupleRow]:
    return owner.execute(
        "SELECT round_trips, complete_m / 1000, one_way_m / 1000, over_long_m / 1000, "
        "open_m / 1000, distance_m / 1000, km_precision FROM km_precision "
        "WHERE vehicle_id = 'odder/car' ORDER BY month"
    ).fetchall()


def test_km_precision_is_the_share_of_complete_round_trips(
    database_url: str, owner: Connection
) -> None:
    entered(database_url, fleet(HALL))
    put_round_trips(
        owner,
        (8, 9, "complete", HALL, HALL, 60),
        (10, 23, "over-long", HALL, HALL, 20),
        (30, 31, "one-way", HALL, YARD, 10),
        (60, 61, "open", None, None, 10),
    )
    assert precision(owner) == [(4, 60, 10, 20, 10, 100, 0.6)]


@pytest.mark.parametrize(
    ("ways", "back_km"),
    [
        ([(8, 9, HALL, YARD), (10, 11, YARD, HALL)], 2),
        ([(8, 9, HALL, YARD), (17.5, 18, YARD, HALL)], 2),
        ([(8, 9, HALL, YARD), (17.5, 18.1, YARD, HALL)], 0),  # longer than ten hours
        ([(8, 9, HALL, YARD), (10, 11, HALL, YARD)], 0),  # it had come back unseen
        ([(8, 9, HALL, YARD), (10, 11, HALL, YARD), (12, 13, YARD, HALL)], 2),
        ([(8, 9, HALL, YARD), (10, 11, YARD, "odder/third"), (12, 13, "odder/third", HALL)], 3),
        ([(8, 9, HALL, "odder/third"), (10, 11, YARD, HALL)], 0),  # a way nobody saw
    ],
)
def test_one_way_round_trips_that_come_back_in_time_are_complete_together(
    database_url: str, owner: Connection, ways: list[tuple[float, float, str, str]], back_km: int
) -> None:
    entered(database_url, fleet(HALL))
    owner.execute(
        "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
        "VALUES ('odder/third', 'odder', 'Third', 55.9, 10.1, 1)"
    )
    put_round_trips(
        owner, *((start, end, "one-way", left, reached, 1) for start, end, left, reached in ways)
    )
    [row] = precision(owner)
    assert (row[1], row[2]) == (back_km, len(ways) - back_km)


def test_the_longest_time_is_the_municipalitys_and_the_default_that_of_the_rules(
    database_url: str, owner: Connection
) -> None:
    entered(database_url, fleet(HALL))
    longest_h = Rules().round_trip_max_s / 3600
    put_round_trips(
        owner,
        (1, 2, "one-way", HALL, YARD, 1),
        (longest_h, 1 + longest_h, "one-way", YARD, HALL, 1),
    )
    assert precision(owner)[0][6] == 1
    owner.execute(
        "UPDATE municipality SET rules = jsonb_build_object('round_trip_max_s', %s::float8)",
        [Rules().round_trip_max_s - 1],
    )
    assert precision(owner)[0][6] == 0


def test_months_are_the_municipalitys_own(database_url: str, owner: Connection) -> None:
    entered(database_url, fleet(HALL))
    put_round_trips(
        owner, (-1.5, -1.2, "complete", HALL, HALL, 1), (-0.5, 0, "complete", HALL, HALL, 1)
    )
    assert owner.execute("SELECT month FROM km_precision ORDER BY 1").fetchall() == [
        (datetime(2026, 1, 31, 23, tzinfo=UTC),),
        (datetime(2026, 2, 28, 23, tzinfo=UTC),),
    ]


def test_parts_of_what_was_too_long_are_demand_of_the_home_then(
    database_url: str, owner: Connection
) -> None:
    entered(database_url, fleet(HALL), fleet(YARD))
    put_round_trips(
        owner,
        (0, 2, "over-long", YARD, None, 5),
        (10, 12, "over-long", None, YARD, 5),
        (30, 31, "open", None, YARD, 5),
    )

    async def inputs() -> Any:
        settings = Settings(database_url=SecretStr(database_url))
        async with make_pool(settings, max_size=1) as pool, pool.connection() as connection:
            await connection.set_autocommit(True)
            return await read_inputs(connection, "odder", 28)

    round_trips = asyncio.run(inputs()).round_trips
    assert [(round_trip.start_depot_id, round_trip.end_depot_id) for round_trip in round_trips] == [
        (YARD, None),
        (HALL, YARD),
    ]


@pytest.fixture
def before_url(databases: Databases) -> Iterator[str]:
    """Yield a database as it was before this revision."""
    with databases.empty() as url:
        migrate(url, "0005")
        yield url


def test_what_is_there_already_keeps_its_home_and_does_not_pretend_to_know_the_rest(
    before_url: str,
) -> None:
    with psycopg.connect(before_url, autocommit=True) as connection:
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('a', 'A')")
        connection.execute(
            "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
            "VALUES ('a/d', 'a', 'd', 56, 10, 1)"
        )
        connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name, home_depot_id) "
            "VALUES ('a/1', 'a', '1', 'a/d'), ('a/2', 'a', '2', NULL)"
        )
        for vehicle_id in ("a/1", "a/2"):
            connection.execute(
                "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, distance_m, "
                "trip_count, is_open) VALUES (%s, %s, %s, 'complete', 9000, 1, false)",
                [vehicle_id, SPRING, SPRING + DAY],
            )
        connection.execute(
            "INSERT INTO usage_hour VALUES ('a/1', %s, 3600, 0, 0, 0, 0, 0, 0, 0, 0)", [SPRING]
        )
    migrate(before_url)
    with psycopg.connect(before_url) as connection:
        assert connection.execute(
            "SELECT vehicle_id, home_depot_id, part FROM round_trip ORDER BY 1"
        ).fetchall() == [("a/1", "a/d", 0), ("a/2", None, 0)]
        assert connection.execute(
            "SELECT vehicle_id, depot_id, during FROM vehicle_home"
        ).fetchall() == [("a/1", "a/d", Range(None, None, "()"))]
        assert connection.execute("SELECT driving_s, away_s FROM usage_day").fetchall() == [
            (3600, None)
        ]
