"""What the vendors' port takes and answers, as an OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.events.fix import NativeFix
from stream.ingest.http.endpoint import EVENTS_PATH
from stream.ingest.http.refusals import RETRY_AFTER_S
from stream.ingest.http.requests import MAX_EVENTS, Answer, Refusal
from stream.ingest.limits.history import PARAMETER

_REFERENCES: Final = "#/components/schemas/{model}"
_EXAMPLE: Final = [
    {
        "vehicle_id": "car-017",
        "recorded_at": "2026-01-31T08:00:00Z",
        "lat": 56.3226,
        "lon": 10.4461,
        "speed_mps": 13.9,
        "ignition": True,
    }
]
_CLOSED: Final = {
    400: "What was sent is no HTTP",
    408: "The request took too long to come",
    431: "The headers are too long",
}
"""Before there is a request that could be answered in JSON."""
_REFUSALS: Final = {
    401: "No valid key",
    403: "The key does not allow to push history",
    405: "Another method than POST",
    413: "Body or array too large, as it comes or unpacked",
    415: "Content-Encoding is another than gzip",
    429: "The key sends more events a second than it may, or too much waits for Kafka: send the "
    "same again after `Retry-After` seconds",
    503: "Kafka does not answer, or a key or many vehicles that are not known yet cannot be looked "
    f"up: send the same again after `Retry-After` seconds, such as {RETRY_AFTER_S}",
}


def openapi(max_request_bytes: int) -> dict[str, Any]:
    """Return the document, of OpenAPI 3.1."""
    _, schemas = models_json_schema(
        [(NativeFix, "validation"), (Answer, "serialization"), (Refusal, "serialization")],
        ref_template=_REFERENCES,
    )
    event = _reference(NativeFix)
    body = {"anyOf": [event, {"type": "array", "maxItems": MAX_EVENTS, "items": event}]}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fleetpulse ingest",
            "version": "1",
            "summary": "Where telematics vendors push the events of municipal vehicles.",
            "description": "An event is accepted when it is answered `202`: it is then on all "
            "replicas of the log. Sending an event again does no harm.",
        },
        "paths": {
            EVENTS_PATH: {
                "post": {
                    "operationId": "push_events",
                    "summary": "Take events of one vendor's vehicles in one municipality",
                    "security": [{"key": []}],
                    "parameters": [
                        PARAMETER,
                    ],
                    "requestBody": {
                        "required": True,
                        "description": f"One event, or an array of at most {MAX_EVENTS:,}; "
                        f"{max_request_bytes:,} bytes at most, plain or, with `Content-Encoding: "
                        "gzip`, as one member of gzip, before and after it is unpacked.",
                        "content": {"application/json": {"schema": body, "example": _EXAMPLE}},
                    },
                    "responses": {
                        "202": _response("Kafka has the accepted events", _reference(Answer)),
                        "422": _response(
                            "Nothing in the request could be accepted, it is not JSON, or the "
                            "declared range of history is none",
                            {"anyOf": [_reference(Answer), _reference(Refusal)]},
                        ),
                        **{
                            str(status): _response(why, _reference(Refusal))
                            for status, why in _REFUSALS.items()
                        },
                        **{str(status): {"description": why} for status, why in _CLOSED.items()},
                    },
                }
            },
            "/healthz": {"get": _probe("Say that the process is alive", {200: "Alive"})},
            "/readyz": {
                "get": _probe("Say whether events are taken now", {200: "Ready", 503: "Not ready"})
            },
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The vendor's key: `fleetpulse key create`",
                }
            },
        },
    }


def _reference(model: type) -> dict[str, str]:
    return {"$ref": _REFERENCES.format(model=model.__name__)}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _probe(summary: str, answers: dict[int, str]) -> dict[str, Any]:
    status = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"type": "string"}},
    }
    return {
        "summary": summary,
        "responses": {str(code): _response(what, status) for code, what in answers.items()},
    }
