"""`POST /v1/events` and what belongs to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Final

import structlog
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import Counter, Histogram
from pydantic import TypeAdapter

from infra.database.keys import KeyHolder
from infra.database.pool import make_pool
from infra.settings import Settings
from schemas.fix import NativeFix
from schemas.history import HEADER, HistoryRange
from stream.health import add_probes
from stream.ingest.gateway import BusyError, Gateway, UnavailableError
from stream.ingest.history import PARAMETER, declared_history
from stream.ingest.keys import Keys
from stream.ingest.requests import (
    MAX_EVENTS,
    Answer,
    Refusal,
    TooManyError,
    UnreadableError,
    parse,
)

_RETRY_AFTER_S: Final = "1"
_EVENTS: Final = Counter(
    "fleetpulse_ingest_events", "Events by vendor and fate", ["vendor", "fate"]
)
_REQUEST_SECONDS: Final = Histogram("fleetpulse_ingest_request_seconds", "Length of a request")
_log: Final = structlog.get_logger(__name__)
_bearer = HTTPBearer(auto_error=False, description="The vendor's key: `fleetpulse key create`")

_BODY: Final = {
    "parameters": [PARAMETER],
    "requestBody": {
        "required": True,
        "description": f"One event, or an array of at most {MAX_EVENTS:,}.",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        TypeAdapter(NativeFix).json_schema(),
                        {
                            "type": "array",
                            "maxItems": MAX_EVENTS,
                            "items": TypeAdapter(NativeFix).json_schema(),
                        },
                    ]
                },
                "example": [
                    {
                        "vehicle_id": "car-017",
                        "recorded_at": "2026-01-31T08:00:00Z",
                        "lat": 56.3226,
                        "lon": 10.4461,
                        "speed_mps": 13.9,
                        "ignition": True,
                    }
                ],
            }
        },
    },
}


async def _holder(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> KeyHolder:
    """Return who is at the door.

    Raises `HTTPException` for a key that is not valid, or that cannot be looked up now.
    """
    keys: Keys = request.app.state.keys
    found = None if credentials is None else await keys.holder(credentials.credentials)
    if found is None and credentials is not None and keys.problem is not None:
        raise HTTPException(
            503,
            "the key cannot be looked up now; send the same again later",
            headers={"Retry-After": _RETRY_AFTER_S},
        )
    if found is None:
        raise HTTPException(
            401,
            "unknown or revoked key; send `Authorization: Bearer <key>` with the key that "
            "your municipality gave you",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return found


# Of the module, not of a function: FastAPI looks annotations up here.
_Sender = Annotated[KeyHolder, Depends(_holder)]


def make_app(settings: Settings) -> FastAPI:
    """Return the gateway as an ASGI application; it connects when it starts."""
    pool = make_pool(settings, max_size=2)
    keys = Keys(pool)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        gateway = Gateway(settings)
        await pool.open()
        try:
            await gateway.start()
            await keys.refresh()
            app.state.gateway = gateway
            app.state.keys = keys
            yield
            await gateway.stop()
        finally:
            await pool.close()

    app = FastAPI(
        title="fleetpulse ingest",
        summary="Where telematics vendors push the events of municipal vehicles.",
        description="An event is accepted when it is answered `202`: it is then on all replicas "
        "of the log. Sending an event again does no harm.",
        version="1",
        lifespan=lifespan,
    )

    async def problem() -> str | None:
        await keys.refresh(allowed_age_s=1.0)
        gateway: Gateway = app.state.gateway
        return keys.problem or await gateway.check()

    add_probes(app, problem)

    @app.post(
        "/v1/events",
        status_code=202,
        response_model=Answer,
        openapi_extra=_BODY,
        responses={
            401: {"model": Refusal, "description": "No valid key"},
            403: {"model": Refusal, "description": "The key does not allow to push history"},
            413: {"model": Refusal, "description": "Body or array too large"},
            422: {
                "model": Answer | Refusal,
                "description": "Nothing in the request could be accepted, it is not JSON, or the "
                "declared range of history is none",
            },
            429: {
                "model": Refusal,
                "description": "Too much waits for Kafka: come back after `Retry-After` s",
            },
            503: {
                "model": Refusal,
                "description": "Kafka does not answer, or a key that is not known yet cannot be "
                "looked up: send the same again after `Retry-After` s",
            },
        },
    )
    async def events(request: Request, sender: _Sender) -> Response:
        """Take events of one vendor's vehicles in one municipality."""
        history = declared_history(request.headers.get(HEADER), sender)
        body = await _body(request, settings.max_request_bytes)
        gateway: Gateway = app.state.gateway
        return await _take(gateway, sender, body, history)

    return app


async def _take(
    gateway: Gateway, sender: KeyHolder, body: bytes, history: HistoryRange | None
) -> Response:
    """Hand the good events of a body to Kafka, and say what became of each of the others."""
    began = time.monotonic()
    try:
        good, rejected = parse(body)
        await gateway.accept(sender, good, history)
    except UnreadableError as error:
        raise HTTPException(422, str(error)) from error
    except TooManyError as error:
        raise HTTPException(413, str(error)) from error
    except BusyError as error:
        raise HTTPException(429, str(error), headers={"Retry-After": _RETRY_AFTER_S}) from error
    except UnavailableError as error:
        raise HTTPException(503, str(error), headers={"Retry-After": _RETRY_AFTER_S}) from error
    refused = len({one.index for one in rejected})
    _EVENTS.labels(sender.vendor, "accepted").inc(len(good))
    _EVENTS.labels(sender.vendor, "rejected").inc(refused)
    if rejected:
        first = rejected[0]  # its reason shows the value, which may be a position
        _log.info(
            "events rejected",
            vendor=sender.vendor,
            count=refused,
            first_index=first.index,
            first_field=first.field,
        )
    _REQUEST_SECONDS.observe(time.monotonic() - began)
    answer = Answer(accepted=len(good), rejected=rejected)
    return JSONResponse(answer.model_dump(), 202 if good or not rejected else 422)


async def _body(request: Request, limit: int) -> bytes:
    """Return the body, refusing one that is too long before it is all in memory."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise HTTPException(
                413, f"the body is longer than {limit:,} bytes; send it in smaller parts"
            )
        parts.append(part)
    return b"".join(parts)
