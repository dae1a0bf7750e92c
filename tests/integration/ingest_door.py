"""A vendor at the gateway's door, and what Kafka holds of what it pushed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.database.fleet.api_keys import create_key
from infra.kafka.client import Topics, client_options, read_watermarks
from infra.settings import Settings
from schemas.events.fix import Fix, FixBatch
from stream.ingest.app import running
from tests.stream_harness import open_pool

START: Final = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)
WRONG_KEY: Final = "fp_" + "x" * 43
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """A running gateway and the key of a vendor of Syddjurs."""

    http: httpx.AsyncClient
    admin: httpx.AsyncClient
    key: str

    async def push(self, events: object, *, key: str | None = None) -> httpx.Response:
        """Push events as JSON."""
        return await self.send(json.dumps(events).encode(), key=key)

    async def send(
        self, body: bytes | AsyncIterator[bytes], *, key: str | None = None
    ) -> httpx.Response:
        """Push a body as it is."""
        return await self.http.post(
            "/v1/events", content=body, headers={"Authorization": f"Bearer {key or self.key}"}
        )

    async def readiness(self) -> tuple[int, str]:
        """Return what the gateway tells operators of itself: status and reason."""
        answer = await self.admin.get("/readyz")
        return answer.status_code, answer.json().get("reason", "")


def event(vehicle_id: str = "car-1", second: int = 0, **changes: Any) -> Event:
    """Return a good event; a change to None leaves the field out."""
    whole = {
        "vehicle_id": vehicle_id,
        "recorded_at": (START + timedelta(seconds=second)).isoformat(),
        "lat": 56.3226,
        "lon": 10.4461,
        "speed_mps": 13.9,
        "ignition": True,
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def fix(sent: Event, municipality_id: str = "syddjurs") -> Fix:
    """Return what an event is in Kafka."""
    return Fix(**{**sent, "vehicle_id": f"{municipality_id}/{sent['vehicle_id']}"})


def identity(fix: Fix) -> tuple[str, datetime]:
    return fix.vehicle_id, fix.recorded_at


def in_order(fixes: Iterable[Fix]) -> list[Fix]:
    return sorted(fixes, key=identity)


async def new_key(
    settings: Settings,
    municipality_id: str = "syddjurs",
    vendor: str = "tracker-co",
    *,
    history: bool = False,
) -> str:
    """Create a vendor's key, as `fleetpulse key create` does."""
    async with (
        open_pool(settings.database_url.get_secret_value()) as pool,
        pool.connection() as connection,
    ):
        return await create_key(connection, municipality_id, vendor, history=history)


@asynccontextmanager
async def door(settings: Settings, key: str | None = None) -> AsyncIterator[Door]:
    """Run a gateway, with a key that it knows from its start."""
    given_key = key or await new_key(settings)
    async with (
        running(settings, "127.0.0.1", 0, 0) as ports,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.vendors}", timeout=30) as http,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{ports.admin}", timeout=30) as admin,
    ):
        yield Door(http, admin, given_key)


async def messages(settings: Settings) -> list[FixBatch]:
    """Return all that the fix topic holds, each message read as the worker reads it."""
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    places = [TopicPartition(topic, number) for number in range(settings.kafka.partitions)]
    holds = await read_watermarks(settings.kafka, [(topic, place.partition) for place in places])
    consumer = AIOKafkaConsumer(
        group_id=None, enable_auto_commit=False, **client_options(settings.kafka)
    )
    await consumer.start()
    fix_batchs: list[FixBatch] = []
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning()
        for place in places:
            while await consumer.position(place) < holds[topic, place.partition].end:
                records = (await consumer.getmany(place, timeout_ms=500)).get(place, [])
                fix_batchs += [FixBatch.model_validate_json(record.value) for record in records]
    finally:
        await consumer.stop()
    return fix_batchs


async def fixes_in_kafka(settings: Settings) -> list[Fix]:
    """Return all fixes of the fix topic, in order of vehicle and time."""
    return in_order(fix for message in await messages(settings) for fix in message.fixes)
