"""`POST /v1/events`, as a bare ASGI application: a request of one event costs what HTTP costs.

FastAPI's routes would be three quarters of the price of such a request (ADR 0026). What this
application answers stands in `stream.ingest.http.openapi`; schemathesis holds both against each
other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog

from infra.database.fleet.api_keys import SHOWN_CHARACTERS, KeyHolder, key_hash
from infra.settings import Settings
from schemas.events.history import HEADER, HistoryRange
from stream.ingest.http.bodies import Bodies
from stream.ingest.http.event_codec import PushedFix
from stream.ingest.http.refusals import RefusedError, try_again
from stream.ingest.http.requests import (
    MAX_VEHICLES_TOLD,
    Answer,
    KeptAside,
    Parsed,
    TooManyError,
    UnreadableError,
    parse,
    parse_good,
)
from stream.ingest.limits.api_keys import Keys
from stream.ingest.limits.history import declared_history
from stream.ingest.limits.new_vehicles import Newcomers
from stream.ingest.limits.other_vendors import OtherVendors
from stream.ingest.limits.rate_limit import TokenBucket
from stream.ingest.metrics import EVENTS, RECEIVED_BYTES, REFUSED, REQUEST_SECONDS
from stream.ingest.producer import BusyError, Gateway, UnavailableError

EVENTS_PATH: Final = "/v1/events"
_CHUNK_BYTES: Final = 500_000
"""A body up to this is decoded within the loop, in a millisecond or two, if all is good."""
_INSPECTED_CHUNK_BYTES: Final = 2_048
_READY_FOR_S: Final = 1.0
_LOG_EVERY_S: Final = 10.0
_MAX_LOGGED: Final = 1_000
"""Kinds of refusals that are told apart in so long a time."""
_HISTORY: Final = HEADER.lower().encode()
_JSON: Final = (b"content-type", b"application/json")
_log: Final = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class _Sender:
    """What is kept of a valid key."""

    holder: KeyHolder
    prefix: str
    bucket: TokenBucket
    accepted: Any
    rejected: Any
    """Counters of this vendor."""


class Door:
    """The application on the vendors' port."""

    def __init__(  # noqa: PLR0913, PLR0917 - each is a part of its own that it puts together
        self,
        settings: Settings,
        keys: Keys,
        gateway: Gateway,
        newcomers: Newcomers,
        other_vendors: OtherVendors,
        problem: Callable[[], Awaitable[str | None]],
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._gateway = gateway
        self._newcomers = newcomers
        self._other_vendors = other_vendors
        self._problem = problem
        self._bodies = Bodies(settings.max_request_bytes)
        self._senders: dict[bytes, _Sender] = {}
        # One at a time: while a body is looked into, there is one core for everything else.
        self._parser = ThreadPoolExecutor(1, "parser")
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._ready = False
        self._logged: dict[tuple[str, str], float] = {}

    def close(self) -> None:
        """End the thread that looks into bodies."""
        self._parser.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path, method = scope["path"], scope["method"]
        if path == EVENTS_PATH:
            if method == "POST":
                await self._events(scope, receive, send)
            else:
                await _refuse_method(send, b"POST")
        elif path in {"/healthz", "/readyz"}:
            if method not in {"GET", "HEAD"}:
                await _refuse_method(send, b"GET, HEAD")
            elif path == "/healthz":
                await _answer(send, 200, b'{"status":"alive"}')
            elif await self._is_ready():
                await _answer(send, 200, b'{"status":"ready"}')
            else:  # why, says the operators' port
                await _answer(send, 503, b'{"status":"not ready"}')
        else:
            await _answer(send, 404, _detail(f"there is no {path[:100]} here; POST {EVENTS_PATH}"))

    async def _is_ready(self) -> bool:
        """Return whether events are taken; anybody may ask, so that we ask once a second at most.

        The database and Kafka are asked for it.
        """
        async with self._asking:
            if time.monotonic() - self._asked_at > _READY_FOR_S:
                self._ready = await self._problem() is None
                self._asked_at = time.monotonic()
            return self._ready

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        key_prefix = "unknown"
        try:
            headers = dict(scope["headers"])
            sender = await self._sender(headers)
            key_prefix = sender.prefix
            history = _history(headers, sender.holder)
            if wait_s := sender.bucket.wait_s():
                raise try_again(
                    429,
                    "rate",
                    f"this key sends more than {self._settings.max_events_per_s:,.0f} events a "
                    f"second for longer than a minute; send the same again after {wait_s} s",
                    wait_s,
                )
            status, answer = await self._take(sender, history, headers, receive)
        except RefusedError as refused:
            self._note(key_prefix, refused)
            await _answer(send, refused.status, _detail(refused.detail), refused.headers)
        else:
            REQUEST_SECONDS.observe(time.monotonic() - began)
            await _answer(send, status, answer)

    async def _sender(self, headers: dict[bytes, bytes]) -> _Sender:
        """Return who is at the door. Raises `RefusedError` for a key that is not valid."""
        scheme, _, key = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = key.strip()
        if scheme.lower() == "bearer" and key:
            hashed = key_hash(key)
            holder = await self._keys.holder(hashed)
            if holder is not None:
                sender = self._senders.get(hashed)
                if sender is None or sender.holder != holder:
                    sender = self._senders[hashed] = self._known_sender(key, holder)
                return sender
            if self._keys.problem is not None:
                raise try_again(
                    503,
                    "keys-unknown",
                    "the key cannot be looked up now; send the same again later",
                )
            self._log_refusal(key[:SHOWN_CHARACTERS], "key", "unknown or revoked key")
        raise RefusedError(
            401,
            "key",
            "unknown or revoked key; send `Authorization: Bearer <key>` with the key that "
            "your municipality gave you",
            [(b"www-authenticate", b"Bearer")],
        )

    def _known_sender(self, key: str, holder: KeyHolder) -> _Sender:
        return _Sender(
            holder,
            key[:SHOWN_CHARACTERS],
            TokenBucket(self._settings.max_events_per_s),
            EVENTS.labels(holder.vendor, "accepted"),
            EVENTS.labels(holder.vendor, "rejected"),
        )

    async def _take(
        self,
        sender: _Sender,
        history: HistoryRange | None,
        headers: dict[bytes, bytes],
        receive: Receive,
    ) -> tuple[int, bytes]:
        """Hand the good events of a body to Kafka, and say what became of each of the others."""
        async with self._bodies.reading(headers, receive) as body:
            RECEIVED_BYTES.inc(len(body))
            parsed = await self._parse(body)
        sender.bucket.pay(parsed.count)
        good = parsed.good
        strangers = await self._newcomers.strangers(sender.holder, sender.prefix, good)
        if strangers:
            good = self._without(strangers, parsed)
        accepted = len(good)
        kept = await self._kept_aside(sender.holder, good)  # before Kafka has them: ids get scoped
        try:
            await self._gateway.accept(sender.holder, good, history)
        except BusyError as error:
            raise try_again(429, "kafka-busy", str(error)) from error
        except UnavailableError as error:
            raise try_again(503, "kafka-away", str(error)) from error
        sender.accepted.inc(accepted)
        if accepted == parsed.count and kept is None:
            return 202, b'{"accepted":%d,"rejected":[]}' % accepted
        if accepted == parsed.count:
            answer = Answer(accepted=accepted, rejected=[], other_vendor=kept)
            return 202, answer.model_dump_json(exclude_none=True).encode()
        sender.rejected.inc(parsed.count - accepted)
        first = parsed.rejected[0]  # its reason shows the value, which may be a position
        if not accepted:
            REFUSED.labels(sender.prefix, "no-good-event").inc()
        self._log_refusal(
            sender.prefix,
            "events",
            "events are rejected",
            vendor=sender.holder.vendor,
            count=parsed.count - accepted,
            first_index=first.index,
            first_field=first.field,
        )
        answer = Answer(
            accepted=accepted,
            rejected=parsed.rejected,
            untold=parsed.untold or None,
            other_vendor=kept,
        )
        return 202 if accepted else 422, answer.model_dump_json(exclude_none=True).encode()

    async def _kept_aside(self, holder: KeyHolder, good: Sequence[PushedFix]) -> KeptAside | None:
        """Return what is accepted and waits, since other vendors report its vehicles."""
        vehicles = await self._other_vendors.of(holder, good)
        if not vehicles:
            return None
        names = set(vehicles)
        count = sum(event.vehicle_id in names for event in good)
        return KeptAside(
            events=count,
            vehicles=vehicles[:MAX_VEHICLES_TOLD],
            detail=f"{count} events of {len(vehicles)} vehicles wait: other vendors report these "
            f"vehicles; ask the municipality to allow {holder.vendor} (fleetpulse vendor allow)",
        )

    async def _parse(self, body: bytes) -> Parsed:
        """Return what a body holds; what takes long is done beside the loop."""
        run = asyncio.get_running_loop().run_in_executor
        try:
            if len(body) <= _CHUNK_BYTES:
                parsed = parse_good(body)
                if parsed is not None:
                    return parsed
            if len(body) <= _INSPECTED_CHUNK_BYTES:
                return parse(body)
            return await run(self._parser, parse, body)
        except UnreadableError as error:
            raise RefusedError(422, "unreadable", str(error)) from error
        except TooManyError as error:
            raise RefusedError(413, "too-many", str(error)) from error

    def _without(self, strangers: frozenset[str], parsed: Parsed) -> list[Any]:
        """Reject the events of some vehicles; return the others."""
        good = []
        faults = [("vehicle_id", self._newcomers.reason())]
        for place, event in zip(parsed.places, parsed.good, strict=True):
            if event.vehicle_id in strangers:
                parsed.reject(place, faults)
            else:
                good.append(event)
        parsed.rejected.sort(key=lambda rejected: rejected.index)
        return good

    def _note(self, key_prefix: str, refused: RefusedError) -> None:
        REFUSED.labels(key_prefix, refused.reason).inc()
        if key_prefix != "unknown":
            self._log_refusal(key_prefix, refused.reason, refused.detail, status=refused.status)

    def _log_refusal(self, key_prefix: str, reason: str, detail: str, **more: object) -> None:
        """Log a refusal, though not each of many: the metrics count them."""
        now = time.monotonic()
        if len(self._logged) > _MAX_LOGGED:
            self._logged = {
                place: at for place, at in self._logged.items() if now - at < _LOG_EVERY_S
            }
        last = self._logged.get((key_prefix, reason), float("-inf"))
        if len(self._logged) > _MAX_LOGGED or now - last < _LOG_EVERY_S:
            return
        self._logged[key_prefix, reason] = now
        _log.info("refused", key_prefix=key_prefix, reason=reason, detail=detail, **more)


def _history(headers: dict[bytes, bytes], holder: KeyHolder) -> HistoryRange | None:
    declared = headers.get(_HISTORY)
    if declared is None:
        return None
    return declared_history(declared.decode("latin-1"), holder)


def _detail(words: str) -> bytes:
    return orjson.dumps({"detail": words.encode("utf-8", "replace").decode()})


async def _refuse_method(send: Send, allowed: bytes) -> None:
    words = f"this takes {allowed.decode()} only"
    await _answer(send, 405, _detail(words), [(b"allow", allowed)])


async def _answer(send: Send, status: int, body: bytes, headers: Any = ()) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [_JSON, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
