"""Records that no vendor should send, produced past the gateway while faults go on."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import stamina
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.kafka.client import Topics, client_options
from infra.settings import KafkaSettings

_LIMIT_S: Final = 120.0
_IMPOSSIBLE_MS: Final = -1_000_000_000_000_000
"""A time of a record that Apache Kafka takes, and that no calendar has."""


def _fix(at: datetime, **more: Any) -> dict[str, Any]:
    return {"vehicle_id": "syddjurs/poisoned", "recorded_at": at.isoformat(), **more}


def _batch(*fixes: dict[str, Any], **more: Any) -> bytes:
    envelope = {
        "municipality_id": "syddjurs",
        "vendor": "poisoner",
        "received_at": datetime.now(UTC).isoformat(),
        "fixes": list(fixes),
    }
    return json.dumps({**envelope, **more}).encode()


def messages(rng: random.Random) -> list[tuple[bytes | None, int | None]]:
    """Return values, each with its own time in ms where it has one, in a random order."""
    now = datetime.now(UTC).replace(microsecond=0)
    place = {"lat": 56.3, "lon": 10.4}
    poison: list[tuple[bytes | None, int | None]] = [
        (None, None),
        (b"", None),
        (b"\x00\xff\xfe", None),
        (b"[" * 100_000, None),
        (b'{"fixes": 1}', None),
        (_batch(), None),
        (_batch(_fix(now, **place), municipality_id="nobody"), None),
        (_batch(_fix(now, **place), received_at="yesterday"), None),
        (_batch(_fix(now, lat=91, lon=0), _fix(now + timedelta(seconds=1), **place)), None),
        (_batch(_fix(now - timedelta(days=7168), **place)), None),
        (_batch(_fix(now - timedelta(hours=2), private_mode=True)), None),
        (json.dumps(_fix(now, **place)).encode(), _IMPOSSIBLE_MS),
        (_batch(_fix(now - timedelta(seconds=5), **place)), _IMPOSSIBLE_MS),
        (json.dumps(_fix(now + timedelta(days=3), **place)).encode(), None),
        (_batch(_fix(now, lat=0, lon=0)), None),
        (_batch(_fix(now, **place, unknown={"a": [1] * 1000})), None),
    ]
    rng.shuffle(poison)
    return poison


async def produce(settings: KafkaSettings, rng: random.Random) -> int:
    """Send all of them, each to a random partition; return how many the broker took.

    Tried again while the broker is coming back; what it has then taken twice does no harm.
    """
    async for attempt in stamina.retry_context(on=KafkaError, attempts=None, timeout=_LIMIT_S):
        with attempt:
            return await _produce(settings, rng)
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _produce(settings: KafkaSettings, rng: random.Random) -> int:
    topic = Topics.named(settings.topic_prefix).fixes
    producer = AIOKafkaProducer(**client_options(settings), acks="all", request_timeout_ms=10_000)
    await producer.start()
    taken = 0
    try:
        for value, at_ms in messages(rng):
            await producer.send_and_wait(
                topic,
                value,
                key=b"poison",
                partition=rng.randrange(settings.partitions),
                timestamp_ms=at_ms,
            )
            taken += 1
    finally:
        await producer.stop()
    return taken
