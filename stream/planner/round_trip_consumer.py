"""Consumes ended round trips from Kafka, which wake the planner.

Kafka only says that there may be something new; what is planned from is in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer
from pydantic import ValidationError

from infra.kafka.client import Topics, client_options
from infra.settings import Settings
from schemas.events.outgoing import RoundTripEnded
from stream.process.background import count_fault
from stream.process.outages import is_away

_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
_log: Final = structlog.get_logger(__name__)


def backoff_s(failures: int) -> float:
    """Return how long to wait after so many failures in a row."""
    return _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]


@dataclass(slots=True)
class RoundTripSignals:
    """Municipalities that may have new round trips, and somebody to wake."""

    municipalities: set[str] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    all_of_them: bool = True

    def of(self, municipality_id: str | None) -> None:
        """Note news of one municipality, or of all when None."""
        if municipality_id is None:
            self.all_of_them = True
        else:
            self.municipalities.add(municipality_id)
        self.arrived.set()


async def listen(settings: Settings, news: RoundTripSignals) -> None:
    """Turn ended round trips into news; keep trying, whatever is raised."""
    failures = 0
    while True:
        try:
            async with _consumer(settings) as consumer:
                if failures:
                    _log.info("broker answers again", failures=failures)
                failures = 0
                news.of(None)  # what came while nobody listened
                async for message in consumer:
                    news.of(_municipality_of(message))
        except Exception as error:  # noqa: BLE001 - counted if it is no outage, and tried again
            wait_s = backoff_s(failures)
            failures += 1
            if not is_away(error):
                count_fault("planner-listens", error, retry_in_s=wait_s)
            elif failures == 1:
                _log.warning("broker away", error=repr(error))
            await asyncio.sleep(wait_s)


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """Yield a consumer that stands at the end of the topic: of no group, it commits nothing."""
    consumer = AIOKafkaConsumer(
        Topics.named(settings.kafka.topic_prefix).round_trips,
        group_id=None,
        auto_offset_reset="latest",
        **client_options(settings.kafka),
    )
    try:
        await consumer.start()
        for partition in consumer.assignment():
            await consumer.position(partition)
        yield consumer
    finally:
        await consumer.stop()


def _municipality_of(message: Any) -> str | None:
    """Return whose round trip has ended; None, which stands for all, if that cannot be read."""
    try:
        return RoundTripEnded.model_validate_json(message.value or b"").municipality_id
    except ValidationError as error:
        _log.warning(
            "round trip event not understood",
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            error=str(error),
        )
        return None
