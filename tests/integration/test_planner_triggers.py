"""What makes the planner plan: fleet, alerts and requests; and what makes it stop in the middle."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import timedelta
from time import process_time

import psycopg
import pytest
from prometheus_client import REGISTRY

from infra.kafka.client import create_topics
from infra.settings import Settings
from tests.planner_harness import (
    MONDAY,
    ask,
    change,
    ended,
    enter_fleet,
    enter_round_trips,
    leaders,
    planner,
    plans,
    publish,
    read,
    run,
    until,
    with_planner,
)

# What is tried here is between planner and database; which broker stands by makes no difference.
pytestmark = [pytest.mark.long, pytest.mark.parametrize("kafka", ["tansu"], indirect=True)]


def raise_alert(settings: Settings, kind: str, owner: str) -> None:
    column = "depot_id" if kind == "depot-short" else "vehicle_id"
    change(
        settings,
        f"INSERT INTO alert (alert_id, municipality_id, kind, {column}, raised_at, reason) "
        "VALUES (%s, split_part(%s, '/', 1), %s, %s, %s, 'because')",
        uuid.uuid4(),
        owner,
        kind,
        owner,
        MONDAY,
    )


def enter_town(settings: Settings, vehicles: int = 120, depots: int = 20) -> None:
    """Enter municipality t, so large that its plan takes some seven seconds of a core."""
    draw = random.Random(1)
    depot_ids = [f"t/d{number}" for number in range(depots)]
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("INSERT INTO municipality (municipality_id, name) VALUES ('t', 'T')")
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity, "
                "charger_count) VALUES (%s, 't', 'D', %s, %s, %s, %s)",
                [
                    (
                        depot_id,
                        draw.uniform(56.0, 56.4),
                        draw.uniform(10.0, 10.6),
                        vehicles // depots + 2,
                        draw.randint(0, 3),
                    )
                    for depot_id in depot_ids
                ],
            )
            cursor.executemany(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, "
                "energy_source, consumption_per_km, home_depot_id) "
                "VALUES (%s, 't', 'V', %s, %s, %s, %s)",
                [
                    (
                        f"t/{number}",
                        draw.choice(["car", "van"]),
                        draw.choice(["petrol", "electricity"]),
                        round(draw.uniform(0.05, 0.3), 3),
                        draw.choice(depot_ids[: depots // 2]),
                    )
                    for number in range(vehicles)
                ],
            )
            cursor.executemany(
                "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, start_depot_id, "
                "end_depot_id, distance_m, trip_count, is_open) "
                "VALUES (%s, %s, %s, 'complete', %s, %s, %s, 2, false)",
                [
                    (
                        f"t/{number}",
                        started_at := MONDAY + timedelta(days=day, minutes=draw.randint(0, 30)),
                        started_at + timedelta(hours=2),
                        depot_id := draw.choice(depot_ids),
                        depot_id,
                        draw.uniform(1_000, 60_000),
                    )
                    for number in range(vehicles)
                    for day in range(7)
                ],
            )


def test_another_fleet_calls_for_a_plan_and_moved_vehicles_do_not(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planner(with_planner(settings, cooldown_s=0)):
            await until(lambda: plans(settings), "the first plan")
            change(settings, "UPDATE vehicle SET home_depot_id = 'm/school' WHERE vehicle_id='m/2'")
            await asyncio.sleep(7)  # it has looked: the plan was carried out, no more
            assert len(plans(settings)) == 1
            change(settings, "UPDATE vehicle SET vehicle_type = 'van' WHERE vehicle_id = 'm/3'")
            await until(lambda: len(plans(settings)) == 2, "a plan for the van")
            change(settings, "UPDATE depot SET capacity = 8 WHERE depot_id = 'm/hall'")
            await until(lambda: len(plans(settings)) == 3, "a plan for more places")

    run(scenario())
    _, van, places = plans(settings)
    assert (van["trigger"], places["trigger"]) == ("fleet", "fleet")
    # Its round trips count as another class's, which is drift as well.
    assert van["trigger_reason"].startswith(
        "fleet 0.33 of 0.05: of 3 vehicles 0 came, 0 went and 1 changed class or what they run on; "
        "also drift 0.33 of 0.20: 33% of vehicle-hours"
    )
    assert places["trigger_reason"] == (
        "fleet 0.23 of 0.05: of 13 parking places and chargers 3 came and 0 went; "
        "most at m/hall: +3"
    )


def test_a_vehicle_that_leaves_the_fleet_calls_for_a_plan_without_it(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    leaves = "UPDATE vehicle SET in_service_until = now()::date + %s WHERE vehicle_id = 'm/2'"

    async def scenario() -> None:
        async with planner(with_planner(settings, cooldown_s=0)):
            await until(lambda: plans(settings), "the first plan")
            change(settings, leaves, 30)
            await asyncio.sleep(7)  # it has looked: still of the fleet
            assert len(plans(settings)) == 1
            change(settings, leaves, -3)
            await until(lambda: len(plans(settings)) == 2, "a plan without it")
            change(settings, "UPDATE vehicle SET in_service_until = NULL")
            await until(lambda: len(plans(settings)) == 3, "a plan with it again")

    run(scenario())
    first, without, again = plans(settings)
    # Its round trips are demand all the same: nothing has drifted.
    assert without["trigger_reason"] == (
        "fleet 0.33 of 0.05: of 3 vehicles 0 came, 1 went and 0 changed class or what they run on"
    )
    assert without["document"]["placement"].keys() == {"m/1", "m/3"}
    assert without["round_trip_count"] == first["round_trip_count"]
    assert "1 came, 0 went" in again["trigger_reason"]


def test_alerts_raised_since_the_plan_press_for_another_and_former_ones_do_not(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)
    raise_alert(settings, "underused", "m/1")

    async def scenario() -> None:
        async with planner(with_planner(settings, cooldown_s=0, alert_threshold=2)):
            await until(lambda: plans(settings), "the first plan")
            raise_alert(settings, "underused", "m/2")
            raise_alert(settings, "not-reporting", "m/1")  # no matter of placement
            raise_alert(settings, "underused", "m/3")
            change(
                settings,
                "UPDATE alert SET resolved_at = raised_at, resolution = 'over' "
                "WHERE vehicle_id = 'm/3'",
            )
            await asyncio.sleep(7)  # it has looked: one is new and open
            assert len(plans(settings)) == 1
            raise_alert(settings, "depot-short", "m/school")
            await until(lambda: len(plans(settings)) == 2, "a plan for the alerts")
            await asyncio.sleep(7)  # they are open still, but the plan is newer
            assert len(plans(settings)) == 2

    run(scenario())
    _, pressed = plans(settings)
    assert pressed["trigger"] == "alerts"
    assert pressed["trigger_reason"] == (
        "alerts 2 of 2: 1 vehicles underused (m/2) and 1 depots short (m/school), "
        "found since the newest plan and not over"
    )


def test_the_cooldown_holds_the_schedule_and_changes_of_fleet_but_no_request(
    settings: Settings,
) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planner(with_planner(settings, schedule="* * * * * *", cooldown_s=600)):
            await until(lambda: plans(settings), "the first plan")
            change(settings, "UPDATE vehicle SET vehicle_type = 'van' WHERE vehicle_id = 'm/3'")
            await asyncio.sleep(7)
            assert len(plans(settings)) == 1
            await ask(settings)
            await until(lambda: len(plans(settings)) == 2, "the plan that was asked for")

    run(scenario())
    assert [row["trigger"] for row in plans(settings)] == ["drift", "on-request"]


def test_requests_rest_after_a_plan_and_are_answered_together(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        async with planner(with_planner(settings, request_cooldown_s=4.0)):
            await ask(settings)
            await until(
                lambda: any(row["trigger"] == "on-request" for row in plans(settings)), "a plan"
            )
            for _ in range(3):
                await ask(settings)
                await asyncio.sleep(0.5)
            await until(
                lambda: not read(settings, "SELECT 1 FROM plan_request WHERE done_at IS NULL"),
                "answers",
            )

    run(scenario())
    first, second = [row for row in plans(settings) if row["trigger"] == "on-request"]
    assert second["created_at"] - first["created_at"] >= timedelta(seconds=4)
    answers = read(settings, "SELECT plan_id FROM plan_request ORDER BY requested_at")
    assert [row["plan_id"] for row in answers] == [first["plan_id"]] + 3 * [second["plan_id"]]


@pytest.fixture
def large(settings: Settings) -> Settings:
    """Return an installation whose plan takes long, and whose limit lets it."""
    enter_town(settings)
    return with_planner(settings, time_limit_s=200)


async def _solving(settings: Settings) -> None:
    """Wait until a plan is in the making, and give the solver a moment."""
    await until(lambda: leaders(settings) == 1, "a leader")
    solving = "fleetpulse_planner_solving"
    await until(lambda: REGISTRY.get_sample_value(solving) == 1, "a plan in the making")
    await asyncio.sleep(0.5)
    assert plans(settings) == []


def test_a_request_cancels_the_plan_in_the_making_and_gets_its_own(large: Settings) -> None:
    async def scenario() -> None:
        async with planner(large):
            await _solving(large)
            await ask(large, "t")
            await until(lambda: plans(large), "the plan that was asked for", 120)
            await asyncio.sleep(2)

    run(scenario())
    (row,) = plans(large)
    assert row["trigger"] == "on-request"  # the one for drift was never stored
    (request,) = read(large, "SELECT * FROM plan_request")
    assert request["plan_id"] == row["plan_id"]


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        (
            "UPDATE depot SET capacity = 77 WHERE depot_id = 't/d0'",
            ("fleet_profile", "depots", "t/d0", "capacity"),
        ),
        (
            "UPDATE municipality SET planning = '{\"lending_within_min\": 77}'",
            ("policy", "lending_within_min"),
        ),
    ],
    ids=["depots", "planning"],
)
def test_what_is_entered_anew_cancels_even_a_plan_that_was_asked_for(
    large: Settings, statement: str, part: tuple[str, ...]
) -> None:
    async def scenario() -> None:
        await ask(large, "t")
        async with planner(large):
            await _solving(large)
            change(large, statement)
            await until(lambda: plans(large), "a plan for things as they are", 120)

    run(scenario())
    (row,) = plans(large)
    entry = row["document"]
    for name in part:
        entry = entry[name]
    assert entry == 77
    (request,) = read(large, "SELECT * FROM plan_request")
    assert request["plan_id"] == row["plan_id"]


def test_a_planner_that_is_told_to_stop_does_not_wait_for_its_solver(large: Settings) -> None:
    async def scenario() -> None:
        async with planner(large):
            await _solving(large)

    began_s = process_time()
    run(scenario())
    assert process_time() - began_s < 5  # of a core; the whole search takes seven
    assert plans(large) == []


def test_who_loses_leadership_cancels_and_plans_again(large: Settings) -> None:
    async def scenario() -> None:
        async with planner(large):
            await _solving(large)
            assert read(
                large,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
                "application_name = 'fleetpulse planner' AND datname = current_database()",
            )
            await until(lambda: plans(large), "a plan by who leads again", 120)

    run(scenario())
    assert len(plans(large)) == 1


def test_news_that_never_ends_does_not_keep_the_planner_from_looking(settings: Settings) -> None:
    enter_fleet(settings)
    enter_round_trips(settings)

    async def scenario() -> None:
        await create_topics(settings.kafka)
        async with planner(settings):
            for _ in range(20):
                await publish(settings, *[ended()] * 10)
            await until(lambda: plans(settings), "a plan")

    run(scenario())
    assert len(plans(settings)) == 1
