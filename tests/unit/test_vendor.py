"""Pushing as a vendor: against a real server on a loopback port that keeps to the contract."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from schemas.errors import UserError
from stream.ingest_client import (
    ForeignAnswerError,
    GatewayAwayError,
    KeyRefusedError,
    PushResult,
    TooLargeError,
    VendorClient,
    paced,
)

_KEY = "fp_test"
_START = datetime(2026, 3, 2, 8, tzinfo=UTC)


@dataclass
class Gateway:
    """What the contract says of `POST /v1/events`, and what it is told to answer first."""

    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses and headers to answer with before behaving."""
    largest: int = 5_000
    bodies: list[list[dict[str, Any]]] = field(default_factory=list)
    came_at: list[float] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        """Answer a request."""
        self.came_at.append(time.monotonic())
        if request.headers.get("Authorization") != f"Bearer {_KEY}":
            return JSONResponse({"detail": "unknown key"}, 401)
        if self.answers:
            status, headers = self.answers.pop(0)
            return JSONResponse({"detail": "told to"}, status, headers)
        events = orjson.loads(await request.body())
        if len(events) > self.largest:
            return JSONResponse({"detail": "too many"}, 413)
        rejected = [
            {"index": index, "field": name, "reason": "is out of range"}
            for index, event in enumerate(events)
            for name in ("lat", "lon")
            if abs(event["lat"]) > 90
        ]
        good = len(events) - len({entry["index"] for entry in rejected})
        if good:
            self.bodies.append(events)
        return JSONResponse({"accepted": good, "rejected": rejected}, 202 if good else 422)


@asynccontextmanager
async def running() -> AsyncIterator[Gateway]:
    """Yield a gateway on a free port."""
    gateway = Gateway()
    app = FastAPI()
    app.add_api_route("/v1/events", gateway.take, methods=["POST"], response_model=None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    gateway.url = f"http://127.0.0.1:{port}"
    try:
        yield gateway
    finally:
        server.should_exit = True
        await serving


def _events(count: int, vehicles: int = 7, lat: float = 56.3) -> list[dict[str, Any]]:
    return [
        {
            "vehicle_id": f"car-{index % vehicles}",
            "recorded_at": _START + timedelta(seconds=index),
            "lat": lat,
            "lon": 10.4,
        }
        for index in range(count)
    ]


async def _push(gateway: Gateway, events: list[dict[str, Any]], **options: Any) -> PushResult:
    async with VendorClient(gateway.url, options.pop("key", _KEY), **options) as vendor:
        return await vendor.push(events)


def test_all_events_arrive_in_batches_and_each_vehicle_in_order() -> None:
    async def main() -> None:
        async with running() as gateway:
            result = await _push(gateway, _events(2_345), batch_events=100, lanes=3)
            assert (result.accepted, result.rejected) == (2_345, 0)
            assert max(len(body) for body in gateway.bodies) == 100
            by_vehicle = defaultdict(list)
            for body in gateway.bodies:
                for event in body:
                    by_vehicle[event["vehicle_id"]].append(event["recorded_at"])
            assert sum(map(len, by_vehicle.values())) == 2_345
            assert all(instants == sorted(instants) for instants in by_vehicle.values())

    asyncio.run(main())


def test_rejected_events_are_counted_once_and_a_few_reasons_kept() -> None:
    async def main() -> None:
        async with running() as gateway:
            events = _events(10) + _events(20, lat=95.0)
            result = await _push(gateway, events, lanes=1)
            assert (result.accepted, result.rejected) == (10, 20)
            assert len(result.reasons) == 10
            assert result.reasons[0] == "event 10, lat: is out of range"

    asyncio.run(main())


def test_a_request_of_which_nothing_is_accepted_is_an_answer_too() -> None:
    async def main() -> None:
        async with running() as gateway:
            result = await _push(gateway, _events(3, lat=95.0))
            assert (result.accepted, result.rejected) == (0, 3)

    asyncio.run(main())


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_gateway_is_asked_again_no_sooner_than_it_says(status: int) -> None:
    async def main() -> None:
        async with running() as gateway:
            gateway.answers = [(status, {"Retry-After": "1"})]
            result = await _push(gateway, _events(5), lanes=1)
            assert result.accepted == 5
            assert gateway.came_at[1] - gateway.came_at[0] >= 1.0

    asyncio.run(main())


def test_a_gateway_that_asks_to_wait_too_long_is_away() -> None:
    async def main() -> None:
        async with running() as gateway:
            gateway.answers = [(503, {"Retry-After": "3600"})]
            with pytest.raises(GatewayAwayError, match="3600 s"):
                await _push(gateway, _events(5))

    asyncio.run(main())


def test_nobody_at_the_address_is_tried_for_a_while() -> None:
    async def main() -> None:
        async with running() as gateway:
            url = gateway.url
        gone = Gateway(url=url)
        with pytest.raises(GatewayAwayError, match="fleetpulse ingest"):
            await _push(gone, _events(5), give_up_after_s=0.5)

    asyncio.run(main())


def test_a_lost_connection_is_tried_again() -> None:
    async def main() -> None:
        cut = 0

        async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal cut
            cut += 1
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(GatewayAwayError):
                await _push(
                    Gateway(url=f"http://127.0.0.1:{port}"), _events(1), give_up_after_s=1.0
                )
        assert cut > 1

    asyncio.run(main())


def test_a_refused_key_ends_the_push_at_once() -> None:
    async def main() -> None:
        async with running() as gateway:
            with pytest.raises(KeyRefusedError, match="key create"):
                await _push(gateway, _events(50_000), key="fp_wrong")
            assert len(gateway.came_at) <= 8

    asyncio.run(main())


def test_a_request_that_is_too_large_says_so() -> None:
    async def main() -> None:
        async with running() as gateway:
            gateway.largest = 10
            with pytest.raises(TooLargeError, match="smaller batch"):
                await _push(gateway, _events(50), lanes=1)

    asyncio.run(main())


def test_an_answer_that_is_not_ours_is_an_error() -> None:
    async def main() -> None:
        async with running() as gateway:
            gateway.answers = [(500, {})]
            with pytest.raises(ForeignAnswerError, match="500"):
                await _push(gateway, _events(1))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("localhost:8000", {}, "http://"),
        ("http://localhost", {"batch_events": 5_001}, "5000"),
        ("http://localhost", {"lanes": 0}, "at least 1"),
    ],
)
def test_impossible_options_are_refused(url: str, options: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        VendorClient(url, _KEY, **options)


def test_in_time_keeps_to_the_multiple_of_real_time() -> None:
    async def main() -> None:
        instants = [_START + timedelta(seconds=second) for second in (0, 0, 10, 20, 20, 30)]
        began = time.monotonic()
        came = []
        async for portion in paced(instants, lambda at: at, speed=100, size=10):
            device_s = (portion[-1] - _START).total_seconds()
            assert time.monotonic() - began >= device_s / 100
            came += portion
        assert came == instants
        assert 0.3 <= time.monotonic() - began < 2.0

    asyncio.run(main())


def test_in_time_at_full_speed_does_not_look_at_the_time() -> None:
    async def main() -> None:
        portions = [
            portion async for portion in paced([1, 2, 3, 4, 5], lambda _: _START, speed=0, size=2)
        ]
        assert portions == [[1, 2], [3, 4], [5]]

    asyncio.run(main())
