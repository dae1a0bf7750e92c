"""No trigger storm: flooded with news, alerts, fleets and requests, planners keep to their bounds.

A municipality gets at most one plan by itself in each cool-down, counted from its newest plan, and
at most one on request in each rest between two of them, whatever comes in.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import defaultdict
from datetime import timedelta
from typing import Any, Final

import psycopg
from aiokafka import AIOKafkaProducer

from infra.database.plans.plan_queue import connect
from infra.database.plans.recorded_demand import read_inputs
from infra.kafka.client import Topics, client_options, create_topics
from infra.settings import Settings
from optimizer.drift import fleet_profile
from tests.planner_harness import (
    MONDAY,
    ended,
    enter_fleet,
    enter_round_trips,
    leaders,
    planner,
    plans,
    read,
    run,
    until,
    with_planner,
)

MUNICIPALITIES: Final = ("a", "b", "c", "d")
COOLDOWN_S: Final = 12.0
REQUEST_COOLDOWN_S: Final = 3.0
ROUNDS: Final = 250
"""So often, in each municipality: three events, two changes of fleet, two alerts come and gone."""
REQUESTS: Final = 200
FLOOD_LASTS_S: Final = 8.0


async def _events(settings: Settings) -> None:
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
    topic = Topics.named(settings.kafka.topic_prefix).round_trips
    await producer.start()
    try:
        for _ in range(ROUNDS):
            for name in MUNICIPALITIES:
                for car in (1, 2, 3):
                    await producer.send(topic, ended(f"{name}/{car}"))
            await asyncio.sleep(FLOOD_LASTS_S / ROUNDS)
        await producer.flush()
    finally:
        await producer.stop()


def _fleets_and_alerts(settings: Settings) -> None:
    """Change places and classes and raise alerts, again and again; at last there are 50 places."""
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        for number, name in itertools.product(range(ROUNDS), MUNICIPALITIES):
            connection.execute(
                "UPDATE depot SET capacity = %s WHERE depot_id = %s",
                [5 + number % 7, f"{name}/hall"],
            )
            connection.execute(
                "UPDATE vehicle SET vehicle_type = %s WHERE vehicle_id = %s",
                ["van" if number % 2 else "car", f"{name}/3"],
            )
            for kind, column, owner in (
                ("underused", "vehicle_id", f"{name}/{1 + number % 3}"),
                ("depot-short", "depot_id", f"{name}/hall"),
            ):
                connection.execute(
                    f"UPDATE alert SET resolved_at = raised_at, resolution = 'over' "
                    f"WHERE {column} = %s AND resolved_at IS NULL",
                    [owner],
                )
                connection.execute(
                    f"INSERT INTO alert (alert_id, municipality_id, kind, {column}, raised_at, "
                    "reason) VALUES (%s, %s, %s, %s, %s, 'because')",
                    [uuid.uuid4(), name, kind, owner, MONDAY],
                )
        connection.execute("UPDATE depot SET capacity = 50")


async def _requests(settings: Settings) -> None:
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        for number in range(REQUESTS):
            connection.execute(
                "INSERT INTO plan_request (request_id, municipality_id, requested_by, "
                "requested_at) VALUES (%s, %s, %s, clock_timestamp())",
                # Of a and b only: c and d must get theirs by themselves.
                [uuid.uuid4(), MUNICIPALITIES[number % 2], f"operator {number % 20}"],
            )
            await asyncio.sleep(FLOOD_LASTS_S / REQUESTS)


async def _count_leaders(settings: Settings, counts: list[int]) -> None:
    while True:
        counts.append(await asyncio.to_thread(leaders, settings))
        await asyncio.sleep(0.2)


def _newest(settings: Settings) -> dict[str, dict[str, Any]]:
    return {row["municipality_id"]: row for row in plans(settings)}


def test_a_flood_of_triggers_makes_no_storm_of_plans(settings: Settings) -> None:
    for name in MUNICIPALITIES:
        enter_fleet(settings, name)
        enter_round_trips(settings, name)
    bounded = with_planner(
        settings,
        cooldown_s=COOLDOWN_S,
        request_cooldown_s=REQUEST_COOLDOWN_S,
        alert_threshold=2,
    )
    leading: list[int] = []

    async def scenario() -> None:
        await create_topics(settings.kafka)
        async with planner(bounded) as first, planner(bounded):
            await until(lambda: leaders(settings), "a leader")
            counting = asyncio.create_task(_count_leaders(settings, leading))
            await asyncio.gather(
                _events(settings),
                asyncio.to_thread(_fleets_and_alerts, settings),
                _requests(settings),
            )
            first.cancel()  # whether it led or not
            await asyncio.gather(first, return_exceptions=True)
            await until(
                lambda: not read(settings, "SELECT 1 FROM plan_request WHERE done_at IS NULL"),
                "answers",
            )
            await until(
                lambda: all(
                    row["document"]["fleet_profile"]["depots"][f"{name}/hall"]["capacity"] == 50
                    for name, row in _newest(settings).items()
                ),
                "plans for the fleets as they are in the end",
            )
            counting.cancel()
            await _nothing_is_lost(settings)

    run(scenario())
    assert max(leading) == 1
    _every_request_is_answered(settings)
    _bounds_hold(settings)


async def _nothing_is_lost(settings: Settings) -> None:
    newest = _newest(settings)
    assert set(newest) == set(MUNICIPALITIES)
    async with await connect(settings) as connection:
        for name, row in newest.items():
            inputs = await read_inputs(connection, name, 84)
            assert row["document"]["fleet_profile"] == fleet_profile(inputs).model_dump(mode="json")
    published = read(settings, "SELECT payload ->> 'plan_id' AS plan_id FROM outbox")
    assert sorted(row["plan_id"] for row in published) == sorted(
        str(row["plan_id"]) for row in plans(settings)
    )


def _every_request_is_answered(settings: Settings) -> None:
    answers = read(
        settings,
        "SELECT r.municipality_id AS asked_for, r.requested_at, r.outcome, p.municipality_id, "
        "p.trigger, p.created_at FROM plan_request r JOIN plan p USING (plan_id)",
    )
    assert len(answers) == REQUESTS
    for row in answers:
        assert row["municipality_id"] == row["asked_for"]
        assert (row["trigger"], row["outcome"]) == ("on-request", "planned: optimal")
        assert row["created_at"] > row["requested_at"]


def _bounds_hold(settings: Settings) -> None:
    by_municipality: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in plans(settings):
        by_municipality[row["municipality_id"]].append(row)
    for rows in by_municipality.values():
        for earlier, later in itertools.pairwise(rows):
            if later["trigger"] != "on-request":
                passed = later["created_at"] - earlier["created_at"]
                assert passed >= timedelta(seconds=COOLDOWN_S)
        asked = [row for row in rows if row["trigger"] == "on-request"]
        for earlier, later in itertools.pairwise(asked):
            passed = later["created_at"] - earlier["created_at"]
            assert passed >= timedelta(seconds=REQUEST_COOLDOWN_S)
        lasted_s = (rows[-1]["created_at"] - rows[0]["created_at"]).total_seconds()
        assert len(rows) - len(asked) <= 1 + lasted_s / COOLDOWN_S
        assert len(asked) <= 1 + lasted_s / REQUEST_COOLDOWN_S
    assert not {row["trigger"] for row in by_municipality["c"]} & {"on-request"}
