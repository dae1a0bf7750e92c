"""A planner against a real database and broker: what it plans from, and what came of it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from aiokafka import AIOKafkaProducer
from psycopg.rows import dict_row

from infra.database.connection.pool import make_pool
from infra.database.plans.plan_queue import request_plan
from infra.kafka.client import Topics, client_options
from infra.settings import PlannerSettings, Settings
from schemas.events.outgoing import RoundTripEnded
from schemas.ids import municipality_of
from stream.planner.run import run_planner
from tests.patience import patience

MONDAY = datetime(2026, 3, 2, 7, tzinfo=UTC)
HALL, SCHOOL = "m/hall", "m/school"


def enter_fleet(settings: Settings, municipality_id: str = "m") -> None:
    """Enter a municipality with two depots and three cars, two of them at the hall."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(
            "INSERT INTO municipality (municipality_id, name) VALUES (%(m)s, %(m)s)",
            {"m": municipality_id},
        )
        for depot, lat in (("hall", 56.30), ("school", 56.35)):
            connection.execute(
                "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
                "VALUES (%s, %s, %s, %s, 10.5, 5)",
                [f"{municipality_id}/{depot}", municipality_id, depot.title(), lat],
            )
        for car, depot in ((1, "hall"), (2, "hall"), (3, "school")):
            connection.execute(
                "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, "
                "home_depot_id) VALUES (%s, %s, %s, 'car', %s)",
                [
                    f"{municipality_id}/{car}",
                    municipality_id,
                    f"Car {car}",
                    f"{municipality_id}/{depot}",
                ],
            )


def enter_round_trips(
    settings: Settings, municipality_id: str = "m", *, days: int = 20, first_day: int = 0
) -> None:
    """Enter a morning's round trip of each car and day: car 2 drives from the school."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        for day in range(first_day, first_day + days):
            for car, depot in ((1, "hall"), (2, "school"), (3, "school")):
                connection.execute(
                    "INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, "
                    "start_depot_id, end_depot_id, distance_m, trip_count, is_open) "
                    "VALUES (%s, %s, %s, 'complete', %s, %s, 30000, 2, false)",
                    [
                        f"{municipality_id}/{car}",
                        MONDAY + timedelta(days=day),
                        MONDAY + timedelta(days=day, hours=2),
                        f"{municipality_id}/{depot}",
                        f"{municipality_id}/{depot}",
                    ],
                )


def read(settings: Settings, query: str) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with psycopg.connect(
        settings.database_url.get_secret_value(), row_factory=dict_row
    ) as connection:
        return connection.execute(query).fetchall()


def change(settings: Settings, statement: str, *given: object) -> None:
    """Execute a statement, in a transaction of its own."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(statement, given)


def plans(settings: Settings) -> list[dict[str, Any]]:
    return read(settings, "SELECT * FROM plan ORDER BY created_at")


async def until(condition: Callable[[], Any], what: str, limit_s: float = 40.0) -> Any:
    """Wait until a condition holds; return what it returned."""
    deadline = asyncio.get_running_loop().time() + limit_s * patience()
    while not (entry := await asyncio.to_thread(condition)):
        assert asyncio.get_running_loop().time() < deadline, f"waited {limit_s} s for {what}"
        await asyncio.sleep(0.1)
    return entry


async def publish(settings: Settings, *values: bytes) -> None:
    """Produce to the topic of ended round trips."""
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(
                Topics.named(settings.kafka.topic_prefix).round_trips, value
            )
    finally:
        await producer.stop()


def ended(vehicle_id: str = "m/2") -> bytes:
    """Return the event of a round trip that has ended."""
    municipality_id = municipality_of(vehicle_id)
    event = RoundTripEnded(
        event_id=uuid.uuid4(),
        municipality_id=municipality_id,
        vehicle_id=vehicle_id,
        kind="complete",
        started_at=MONDAY,
        ended_at=MONDAY + timedelta(hours=2),
        start_depot_id=f"{municipality_id}/school",
        end_depot_id=f"{municipality_id}/school",
        distance_m=30_000,
    )
    return event.model_dump_json().encode()


@asynccontextmanager
async def planner(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """Run a planner; it must still run at the end, unless the test has cancelled it."""
    stop = asyncio.Event()
    task = asyncio.create_task(run_planner(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        if not task.cancelled():
            await asyncio.wait_for(task, 30 * patience())


def with_planner(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"planner": PlannerSettings(**changes)})


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def ask(settings: Settings, municipality_id: str = "m") -> uuid.UUID:
    async with make_pool(settings) as pool:
        return await request_plan(pool, municipality_id, "an operator")


def leaders(settings: Settings) -> int:
    """Return how many sessions that are there lead: none or one."""
    return len(
        read(
            settings,
            "SELECT 1 FROM planner_lead l JOIN pg_stat_activity a "
            "ON a.pid = l.pid AND a.backend_start = l.session_start",
        )
    )
