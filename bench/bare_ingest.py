"""The baseline of `bench/ingest.py`: a FastAPI endpoint that parses, produces, and does no more.

No key, no limits, no fault of a single event told, one Kafka message a request, the body as it
came. It is served like our gateway: uvicorn with httptools and uvloop. Its settings come from the
environment.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI, Request
from pydantic import TypeAdapter

from infra.kafka.client import producer_options
from infra.settings import Settings
from schemas.events.fix import NativeFix

_EVENTS: Final = TypeAdapter(list[NativeFix])
_TOPIC: Final = "bare"


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AIOKafkaProducer(**producer_options(Settings().kafka)) as producer:
        app.state.producer = producer
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/v1/events", status_code=202)
async def events(request: Request) -> dict[str, int]:
    """Parse and produce."""
    body = await request.body()
    fixes = _EVENTS.validate_json(body)
    await request.app.state.producer.send_and_wait(_TOPIC, body)
    return {"accepted": len(fixes)}


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
