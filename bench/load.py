"""Connections that push prepared requests over and over, at little cost of their own."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from bench import traffic

CONNECTIONS: Final = 20
HOSTILE_REQUESTS: Final = 10
_HEALTH_EVERY_S: Final = 0.01
_ACCEPTED: Final = b"HTTP/1.1 202 "
_VEHICLES: Final = 500


@dataclass(slots=True)
class Load:
    """What a run pushed, and how long each request took."""

    requests: int = 0
    fixes: int = 0
    took_s: list[float] = field(default_factory=list)

    def p99_ms(self) -> float:
        """Return the time that 99 of 100 requests took at most."""
        return 1e3 * sorted(self.took_s)[int(len(self.took_s) * 0.99)]


class Traffic:
    """Requests of so many events each: of one of 500 vehicles, or of some that upload twenty."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._streams = itertools.cycle(
            [traffic.vehicle_fixes(vehicle) for vehicle in range(_VEHICLES)]
        )

    def requests(self, batch: int, count: int) -> list[bytes]:
        """Return the next requests; no event of theirs comes twice."""
        return [self._request(self._events(batch)) for _ in range(count)]

    def _events(self, count: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while len(events) < count:
            upload = min(traffic.UPLOAD_FIXES, count - len(events))
            events += itertools.islice(next(self._streams), upload)
        return [{**fix, "vehicle_id": fix["vehicle_id"].partition("/")[2]} for fix in events]

    def _request(self, events: Sequence[dict[str, Any]]) -> bytes:
        return _request(self._key, events)


def _request(key: str, document: object) -> bytes:
    body = orjson.dumps(document)
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def push(port: int, requests: Sequence[bytes], batch: int) -> Load:
    """Push all requests, 20 at a time. Raises `RuntimeError` for an answer other than 202."""
    load = Load()
    waiting = iter(requests)
    async with asyncio.TaskGroup() as connections:
        for _ in range(CONNECTIONS):
            connections.create_task(_connection(port, waiting, load))
    load.fixes = load.requests * batch
    return load


async def _connection(port: int, waiting: Iterator[bytes], load: Load) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for request in waiting:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"content-length: ")
            body = await reader.readexactly(int(length.partition(b"\r\n")[0]))
            load.took_s.append(time.perf_counter() - began)
            if not head.startswith(_ACCEPTED):
                raise RuntimeError(f"answered {head[:40]!r} {body[:300]!r}")
            load.requests += 1
    finally:
        writer.close()


async def answer_beside(port: int, key: str) -> list[float]:
    """Push hostile requests, two at a time; return how long each /healthz meanwhile took.

    By turns an event of 550,000 unknown fields, and 5,000 events of 100 each.
    """
    fields = {f"f{number}": 0 for number in range(550_000)}
    accident = [{f"f{number}": 0 for number in range(100)}] * 5_000
    waiting = iter([_request(key, fields), _request(key, accident)] * (HOSTILE_REQUESTS // 2))
    took_s: list[float] = []

    async def pushes() -> None:
        for request in waiting:
            await _ask(port, request)

    async def asks() -> None:
        while True:
            began = time.perf_counter()
            await _ask(port, b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
            took_s.append(time.perf_counter() - began)
            await asyncio.sleep(_HEALTH_EVERY_S)

    asking = asyncio.create_task(asks())
    await asyncio.gather(pushes(), pushes())
    asking.cancel()
    return took_s


async def _ask(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
