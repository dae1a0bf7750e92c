"""A depot's supply is that of each day: who was at home there then, not who is today."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import psycopg

from infra.database.fleet.master_data_import import import_master_data
from schemas.fleet.master_data import EnteredVehicle, FleetFile
from stream.calendars import CalendarKeeper
from tests.sample_fleet import fill

_START = datetime(2026, 3, 1, 23, tzinfo=UTC)
"""Midnight in Copenhagen, from which two weeks of a town's rows begin."""
_DAYS = 14


def _supplies(url: str) -> dict[date, int]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT (day AT TIME ZONE 'Europe/Copenhagen')::date, supply FROM depot_occupancy_day "
            "WHERE depot_id = 'odder/north'"
        )
        return dict(rows.fetchall())


async def _move(url: str, depot_id: str, since: datetime) -> None:
    car = EnteredVehicle(
        vehicle_id="odder/car-1",
        municipality_id="odder",
        name="Car 1",
        home_depot_id=depot_id,
        home_since=since,
    )
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await import_master_data(connection, FleetFile(vehicles=(car,)))
        await CalendarKeeper().keep(connection)


def test_a_car_is_supply_of_the_depot_where_it_was_at_home_at_the_middle_of_each_day(
    database_url: str,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        fill(connection, "odder", start=_START, days=_DAYS)
    before = _supplies(database_url)
    assert len(before) >= _DAYS
    assert set(before.values()) == {2}
    # In the afternoon of the sixth, and back in the morning of the tenth.
    asyncio.run(_move(database_url, "odder/south", datetime(2026, 3, 6, 15, tzinfo=UTC)))
    asyncio.run(_move(database_url, "odder/north", datetime(2026, 3, 10, 6, tzinfo=UTC)))
    away = {date(2026, 3, 6) + timedelta(days=number) for number in (1, 2, 3)}
    assert _supplies(database_url) == {on: 1 if on in away else 2 for on in before}
