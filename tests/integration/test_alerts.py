"""Alerts in the database: none twice, none lost, and their events leave with them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from infra.database.timeline import alerts as store
from infra.kafka.client import Topics
from processors.alerts.evaluation import AlertRule
from processors.alerts.rules import ALERT_RULES
from processors.alerts.statistics import VehicleStats
from stream.calendars import CalendarKeeper
from stream.worker.housekeeping.alerts import look
from tests.stream_harness import enter_municipality, faults, fetch, open_pool

TOPICS = Topics.named("test")
UNTIL = datetime(2026, 3, 30, 12, tzinfo=UTC)
OPEN = "SELECT vehicle_id, kind FROM alert WHERE resolved_at IS NULL ORDER BY 1, 2"
EVENTS = "SELECT payload ->> 'type', payload ->> 'vehicle_id' FROM outbox ORDER BY position"


def use(
    url: str, vehicle: str, km_a_day: float, *, days: int = 28, until: datetime = UNTIL
) -> None:
    """Enter what a vehicle did, a minute a kilometre from noon on, and when it was seen."""
    vehicle_id = f"syddjurs/{vehicle}"
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type) "
            "VALUES (%s, 'syddjurs', %s, 'car') ON CONFLICT DO NOTHING",
            [vehicle_id, vehicle],
        )
        connection.execute("DELETE FROM usage_hour WHERE vehicle_id = %s", [vehicle_id])
        connection.execute("DELETE FROM trip WHERE vehicle_id = %s", [vehicle_id])
        for day in range(days):
            noon = until - timedelta(days=day + 1)
            connection.execute(
                "INSERT INTO usage_hour VALUES (%s, %s, %s, 0, %s, 0, %s, 1, 0, 0, 0)",
                [vehicle_id, noon, km_a_day * 60, 3600 - km_a_day * 60, km_a_day * 1000],
            )
            connection.execute(
                "INSERT INTO trip VALUES (%s, %s, %s, %s, 0, 0, 0, 0, 0, 0, NULL, NULL, false)",
                [vehicle_id, noon, noon + timedelta(minutes=km_a_day), km_a_day * 1000],
            )
        connection.execute(
            "INSERT INTO vehicle_state VALUES (%s, 1, %s, %s, '{}') "
            "ON CONFLICT (vehicle_id) DO UPDATE SET last_recorded_at = EXCLUDED.last_recorded_at",
            [vehicle_id, until - timedelta(days=days), until],
        )


@pytest.fixture
def url(database_url: str) -> str:
    """Return a database with three cars in use and one that hardly is."""

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)

    asyncio.run(main())
    for number in (1, 2, 3):
        use(database_url, f"car-{number}", 60.0)
    use(database_url, "odd", 1.0)
    return database_url


def looked(
    url: str, query: str, *, times: int = 1, alert_rules: Sequence[AlertRule] = ALERT_RULES
) -> list[tuple[Any, ...]]:
    """Return rows after so many looks, one after the other."""

    async def main() -> list[tuple[Any, ...]]:
        async with open_pool(url) as pool:
            for _ in range(times):
                await CalendarKeeper().look(pool)
                await look(pool, TOPICS, alert_rules)
            return await fetch(pool, query)

    return asyncio.run(main())


def test_an_alert_is_raised_once_however_often_one_looks(url: str) -> None:
    assert looked(url, OPEN, times=3) == [("syddjurs/odd", "underused")]
    assert looked(url, EVENTS) == [("alert-raised", "syddjurs/odd")]


def test_what_is_observed_of_available_time_is_what_the_calendar_gave(url: str) -> None:
    looked(url, OPEN)

    async def main() -> dict[str, dict[str, Any]]:
        async with open_pool(url) as pool, pool.connection() as connection:
            entries = await store.read_statistics(
                connection,
                "vehicles",
                municipality_id="syddjurs",
                timezone="Europe/Copenhagen",
                until=UNTIL,
                days=28,
            )
            return {row["vehicle_id"]: row for row in entries}

    seen = asyncio.run(main())
    # Four weeks until a Monday at noon, two o'clock in Copenhagen since the night before: 19 whole
    # days, what is left of the first Monday after one o'clock, and the last one until two.
    assert seen["syddjurs/odd"]["available_h"] == 19 * 9 + 3 + 7
    # A minute a working day; the last Monday's noon is the end of the window.
    assert seen["syddjurs/odd"]["used_available_h"] == pytest.approx(20 / 60)
    assert seen["syddjurs/car-1"]["used_available_h"] == pytest.approx(20)


def test_a_car_that_is_on_the_road_for_hours_is_not_underused(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE trip SET ended_at = started_at + interval '1 hour' WHERE vehicle_id = %s",
            ["syddjurs/odd"],
        )
    assert looked(url, OPEN) == []


def test_it_is_over_when_the_figures_are_and_rests_before_it_comes_again(url: str) -> None:
    looked(url, OPEN)
    use(url, "odd", 50.0)
    assert looked(url, OPEN) == []
    assert looked(url, EVENTS) == [
        ("alert-raised", "syddjurs/odd"),
        ("alert-resolved", "syddjurs/odd"),
    ]
    use(url, "odd", 1.0)
    assert looked(url, OPEN) == []
    later = UNTIL + timedelta(days=8)
    for number in (1, 2, 3):
        use(url, f"car-{number}", 60.0, until=later)
    use(url, "odd", 1.0, until=later)
    assert looked(url, OPEN) == [("syddjurs/odd", "underused")]


def test_a_vehicle_that_falls_silent_is_told_of_until_it_is_back(url: str) -> None:
    for number in (1, 2):
        use(url, f"car-{number}", 60.0, until=UNTIL + timedelta(days=4))
    assert ("syddjurs/car-3", "not-reporting") in looked(url, OPEN)
    use(url, "car-3", 60.0, until=UNTIL + timedelta(days=4))
    assert ("syddjurs/car-3", "not-reporting") not in looked(url, OPEN)


def test_watchers_side_by_side_raise_it_once(url: str) -> None:
    async def main() -> None:
        async with open_pool(url) as first, open_pool(url) as second:
            await asyncio.gather(*(look(pool, TOPICS) for pool in (first, second) * 4))
            assert await fetch(first, OPEN) == [("syddjurs/odd", "underused")]
            assert await fetch(first, EVENTS) == [("alert-raised", "syddjurs/odd")]

    asyncio.run(main())


def test_a_look_that_fails_half_way_leaves_neither_row_nor_event(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'as the test asked'; END $$"
        )
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    before = faults("alerts")
    assert looked(url, OPEN) == []
    assert faults("alerts") == before + 1
    with psycopg.connect(url) as connection:
        connection.execute("DROP TRIGGER refuse ON outbox")
    assert looked(url, OPEN) == [("syddjurs/odd", "underused")]


def test_the_database_refuses_a_second_open_alert_of_a_subject(url: str) -> None:
    looked(url, OPEN)
    with (
        psycopg.connect(url) as connection,
        pytest.raises(psycopg.errors.UniqueViolation, match="alert_one_open"),
    ):
        connection.execute(
            "INSERT INTO alert (alert_id, municipality_id, kind, vehicle_id, raised_at, reason) "
            "SELECT gen_random_uuid(), municipality_id, kind, vehicle_id, raised_at, reason "
            "FROM alert"
        )


def test_an_alert_is_acknowledged_once_and_stays_open(url: str) -> None:
    looked(url, OPEN)

    async def main() -> None:
        async with open_pool(url) as pool, pool.connection() as connection:
            ((alert_id, *_),) = await store.list_alerts(connection, everything=False)
            assert isinstance(alert_id, UUID)
            assert await store.acknowledge(connection, alert_id, "anna")
            assert not await store.acknowledge(connection, alert_id, "bo")
            ((_, _, _, _, _, by, over),) = await store.list_alerts(connection, everything=True)
            assert (by, over) == ("anna", None)

    asyncio.run(main())


def test_an_odometer_that_disagrees_with_the_positions_is_told_of(url: str) -> None:
    statement = "UPDATE trip SET gps_m = distance_m, odometer_m = %s * distance_m WHERE %s"
    with psycopg.connect(url) as connection:
        connection.execute(statement.replace("WHERE %s", ""), [1.1])
        connection.execute(
            statement.replace("WHERE %s", "WHERE vehicle_id = %s"), [0.0, "syddjurs/car-2"]
        )
    assert ("syddjurs/car-2", "odometer-mismatch") in looked(url, OPEN)
    reasons = looked(url, "SELECT reason FROM alert WHERE kind = 'odometer-mismatch'")
    assert reasons == [
        ("the odometer says 0 km where the positions say 1,680, 100% apart, limit 15%",)
    ]
    with psycopg.connect(url) as connection:
        connection.execute(statement.replace("WHERE %s", ""), [1.1])
    assert looked(url, OPEN) == [("syddjurs/odd", "underused")]


def test_a_depot_whose_vehicles_are_all_out_is_short_until_it_has_more(url: str) -> None:
    open_ones = (
        "SELECT depot_id, reason FROM alert WHERE kind = 'depot-short' AND resolved_at IS NULL"
    )
    depot = "syddjurs/hall"
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
            "VALUES (%s, 'syddjurs', 'Hall', 56.3, 10.4, 9)",
            [depot],
        )
        connection.execute(
            "UPDATE vehicle SET home_depot_id = %s WHERE vehicle_id = ANY (%s)",
            [depot, ["syddjurs/car-1", "syddjurs/car-2"]],
        )
        for day in range(28):
            noon = UNTIL - timedelta(days=day + 1)
            for number in (1, 2):
                connection.execute(
                    "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, "
                    "start_depot_id, end_depot_id, distance_m, trip_count, is_open) "
                    "VALUES (%s, %s, %s, 'complete', %s, %s, 60000, 2, false)",
                    [f"syddjurs/car-{number}", noon, noon + timedelta(hours=1), depot, depot],
                )
    assert looked(url, open_ones, times=2) == [
        (
            depot,
            (
                "on 19 of 20 working days all of its 2 vehicles were out at once, 95%, limit 25%; "
                "2 at most"
            ),
        )
    ]
    assert ("alert-raised", None) in looked(url, EVENTS)
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE vehicle SET home_depot_id = %s WHERE vehicle_id = 'syddjurs/car-3'", [depot]
        )
    assert looked(url, open_ones) == []


FAR_DRIVEN = AlertRule(
    kind="far-driven",
    stats=VehicleStats,
    statistic=lambda vehicle, _: vehicle.distance_km,
    limit=lambda _: 1_600.0,
    margin=lambda _: 0.1,
    reason=lambda vehicle, km, _: f"{vehicle.days_used} days, {km:,.0f} km driven, limit 1,600",
)


def test_a_new_kind_of_alert_is_one_entry_of_the_table(url: str) -> None:
    """It is stored, sent, shown and resolved as any other, though nothing else knows its name."""
    table = (*ALERT_RULES, FAR_DRIVEN)
    of_its_kind = (
        "SELECT vehicle_id, reason, resolution FROM alert WHERE kind = 'far-driven' "
        "ORDER BY vehicle_id"
    )
    assert looked(url, of_its_kind, alert_rules=table) == [
        (f"syddjurs/car-{number}", "28 days, 1,680 km driven, limit 1,600", None)
        for number in (1, 2, 3)
    ]
    use(url, "car-1", 55.0)  # 1,540 km: in the margin
    use(url, "car-2", 40.0)
    rows = looked(url, of_its_kind, alert_rules=table)
    assert [resolution for _, _, resolution in rows] == [
        None,
        "28 days, 1,120 km driven, limit 1,600",
        None,
    ]
    sent = "SELECT payload ->> 'type' FROM outbox WHERE payload ->> 'kind' = 'far-driven'"
    assert sorted(looked(url, sent, alert_rules=table)) == [
        ("alert-raised",),
        ("alert-raised",),
        ("alert-raised",),
        ("alert-resolved",),
    ]


def test_kinds_have_one_query_each_and_stand_once(url: str) -> None:
    kinds = [rule.kind for rule in ALERT_RULES]
    assert len(kinds) == len(set(kinds))
    assert {rule.stats.QUERY for rule in ALERT_RULES} == set(store.STATISTICS)
    with psycopg.connect(url) as connection:
        for kind in kinds:
            connection.execute(
                "INSERT INTO alert (alert_id, municipality_id, kind, vehicle_id, raised_at, "
                "reason) VALUES (gen_random_uuid(), 'syddjurs', %s, 'syddjurs/odd', now(), 'r')",
                [kind],
            )
        with pytest.raises(psycopg.errors.CheckViolation, match="alert_kind_form"):
            connection.execute("UPDATE alert SET kind = 'Far driven'")
