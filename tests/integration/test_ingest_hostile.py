"""A hostile vendor at the door, or a broken one: it is refused, and the others go on."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import structlog

from infra.settings import Settings
from stream.ingest.http import connections
from stream.ingest.producer import Gateway
from tests.integration.ingest_door import (
    WRONG_KEY,
    Door,
    door,
    event,
    fixes_in_kafka,
    new_key,
)
from tests.processes import until
from tests.stream_harness import open_pool

MANY_UNKNOWN = json.dumps({**event(), **{f"f{number}": 0 for number in range(550_000)}}).encode()
BY_ACCIDENT = json.dumps(
    [{**event(), **{f"f{number}": 0 for number in range(100)}} for _ in range(5_000)]
).encode()


@pytest.mark.parametrize("body", [MANY_UNKNOWN, BY_ACCIDENT], ids=["fields", "events"])
def test_while_a_hostile_request_is_looked_into_the_others_are_answered(
    installation: Settings, body: bytes
) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            answers: list[str] = []

            async def hostile() -> None:
                answer = await gateway.send(body)
                assert answer.status_code == 422
                assert len(answer.json()["rejected"]) <= 100
                assert len(answer.content) < 20_000
                answers.append("hostile")

            async def others() -> None:
                while "hostile" not in answers:
                    assert (await gateway.http.get("/healthz")).status_code == 200
                    answers.append("health")

            await asyncio.gather(hostile(), hostile(), hostile(), others())
            # Nobody stood still for the whole of three such requests.
            assert answers.count("health") >= 3
            assert (await gateway.push(event())).status_code == 202

    asyncio.run(scenario())


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have slow connections closed sooner than they are."""
    for limit in ("HEAD_LIMIT_S", "BODY_LIMIT_S", "IDLE_LIMIT_S", "POLL_INTERVAL_S"):
        monkeypatch.setattr(connections, limit, 0.2)


async def raw(gateway: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the vendors' port."""
    return await asyncio.open_connection("127.0.0.1", gateway.http.base_url.port)


async def drip(writer: asyncio.StreamWriter, piece: bytes) -> None:
    """Send a little again and again, until the other side has had enough."""
    try:
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
    except ConnectionError:
        return


def head(key: str, length: int = 1_000) -> bytes:
    return (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.usefixtures("hasty")
def test_connections_that_are_slow_or_silent_are_closed(installation: Settings) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway, AsyncExitStack() as stack:

            async def closed(start: bytes, piece: bytes | None) -> bytes:
                reader, writer = await raw(gateway)
                stack.callback(writer.close)
                writer.write(start)
                dripping = asyncio.create_task(drip(writer, piece)) if piece else None
                try:
                    return await reader.read()
                except ConnectionError:
                    return b""
                finally:
                    if dripping is not None:
                        dripping.cancel()

            wrong, right = head(WRONG_KEY), head(gateway.key)
            answers = await asyncio.wait_for(
                asyncio.gather(
                    closed(b"", None),  # says nothing
                    closed(b"\r\n", b"\r\n"),  # says next to nothing
                    closed(b"POST /v1/events HTTP/1.1\r\n", b"x: y\r\n"),  # a slow head
                    closed(right, b" "),  # a slow body
                    closed(wrong, b" "),  # the same without a key
                    closed(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", None),  # idle after it
                ),
                20,
            )
            silent, blank, slow_head, slow_body, refused, idle = answers
            assert silent == b""
            assert blank in {b"", connections.TIMEOUT}
            assert slow_head.startswith(b"HTTP/1.1 408 ")
            assert slow_body.startswith(b"HTTP/1.1 408 ")
            assert refused.startswith(b"HTTP/1.1 401 ")
            assert idle.startswith(b"HTTP/1.1 200 ")
            assert (await gateway.push(event())).status_code == 202

    asyncio.run(scenario())


def test_a_head_without_end_is_refused(installation: Settings) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            reader, writer = await raw(gateway)
            writer.write(b"POST /v1/events HTTP/1.1\r\n")
            flood = asyncio.create_task(drip(writer, b"x: " + b"y" * 8_000 + b"\r\n"))
            answer = await asyncio.wait_for(reader.read(), 20)
            flood.cancel()
            writer.close()
            assert answer.startswith(b"HTTP/1.1 431 ")

    asyncio.run(scenario())


def test_half_open_connections_make_room_for_others(installation: Settings) -> None:
    few = installation.model_copy(update={"ingest_max_connections": 5})

    async def scenario() -> None:
        async with door(few) as gateway:
            assert (await gateway.push(event())).status_code == 202
            half_open = [await raw(gateway) for _ in range(20)]
            for second in range(5):
                assert (await gateway.push(event(second=second))).status_code == 202
            await asyncio.wait_for(half_open[0][0].read(), 10)  # the first was closed
            for _, writer in half_open:
                writer.close()

    asyncio.run(scenario())


def invented(start: int, count: int) -> list[dict[str, Any]]:
    return [event(f"invented-{number}") for number in range(start, start + count)]


def test_invented_vehicles_are_limited_a_key_and_day_and_known_ones_never_refused(
    installation: Settings,
) -> None:
    few = installation.model_copy(update={"max_new_vehicles_per_day": 10})

    async def scenario() -> None:
        other_key = await new_key(installation, vendor="other-co")
        async with door(few) as gateway:
            with structlog.testing.capture_logs() as logs:
                answer = await gateway.push(invented(0, 8))
                assert (answer.status_code, answer.json()["accepted"]) == (202, 8)
                answer = await gateway.push([event("a"), *invented(4, 8), event("a", 1)])
                assert (answer.status_code, answer.json()["accepted"]) == (202, 8)
                rejected = answer.json()["rejected"]
                assert [entry["index"] for entry in rejected] == [7, 8]
                assert {entry["field"] for entry in rejected} == {"vehicle_id"}
                assert "brought 10 new ones today, the limit" in rejected[0]["reason"]
                for start in range(1_000, 6_000, 1_000):
                    answer = await gateway.push(invented(start, 1_000))
                    assert answer.status_code == 422
                    assert (len(answer.json()["rejected"]), answer.json()["untold"]) == (100, 900)
            (mutable_mapping,) = [log for log in logs if "new vehicles refused" in log["event"]]
            assert (mutable_mapping["key_prefix"], mutable_mapping["limit"]) == (
                gateway.key[:9],
                10,
            )

            # Entered, reported before, or of a key that has brought none: known or new, but taken.
            assert (await gateway.push(event("a", 2))).json()["accepted"] == 1
            assert (await gateway.push(invented(0, 10))).json()["accepted"] == 10
            answer = await gateway.push(invented(1_000, 3), key=other_key)
            assert answer.json()["accepted"] == 3
        reported = {fix.vehicle_id for fix in await fixes_in_kafka(installation)}
        assert len(reported) == 1 + 10 + 3

    asyncio.run(scenario())


def test_what_the_municipality_has_entered_meanwhile_is_taken(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.ingest.limits.new_vehicles.ASK_AGAIN_S", 0.1)
    none = installation.model_copy(update={"max_new_vehicles_per_day": 0})

    async def scenario() -> None:
        async with door(none) as gateway:
            assert (await gateway.push(event("bought"))).status_code == 422
            async with (
                open_pool(installation.database_url.get_secret_value()) as pool,
                pool.connection() as connection,
            ):
                await connection.execute(
                    "INSERT INTO vehicle SELECT (jsonb_populate_record(v, "
                    '\'{"vehicle_id": "syddjurs/bought"}\')).* FROM vehicle v '
                    "WHERE vehicle_id = 'syddjurs/a'"
                )

            async def is_taken() -> bool:
                return (await gateway.push(event("bought"))).status_code == 202

            await until(is_taken, "the vehicle that was entered is taken")

    asyncio.run(scenario())


def test_a_key_that_sends_more_than_its_rate_is_told_when_to_come_again(
    installation: Settings,
) -> None:
    slow = installation.model_copy(update={"max_events_per_s": 2.0})

    async def scenario() -> None:
        other_key = await new_key(installation, vendor="other-co")
        async with door(slow) as gateway:
            burst = [event(second=second) for second in range(160)]
            assert (await gateway.push(burst)).status_code == 202  # a minute's 120, and a debt
            refused = await gateway.push(event())
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 21
            assert "more than 2 events a second" in refused.json()["detail"]
            assert (await gateway.push(event(), key=other_key)).status_code == 202
            metrics = (await gateway.admin.get("/metrics")).text
        line = f'requests_refused_total{{key="{gateway.key[:9]}",reason="rate"}} 1.0'
        assert line in metrics

    asyncio.run(scenario())


def test_gzip_is_taken_within_the_limit_and_other_encodings_are_refused(
    installation: Settings,
) -> None:
    limited = installation.model_copy(update={"max_request_bytes": 100_000})
    packed = gzip.compress(json.dumps(event()).encode())

    async def scenario() -> None:
        async with door(limited) as gateway:

            async def push(body: bytes, encoding: str) -> tuple[int, str]:
                answer = await gateway.http.post(
                    "/v1/events",
                    content=body,
                    headers={
                        "Authorization": f"Bearer {gateway.key}",
                        "Content-Encoding": encoding,
                    },
                )
                return answer.status_code, answer.json().get("detail", "")

            for encoding in ("gzip", "GZIP"):
                assert (await push(packed, encoding))[0] == 202
            assert (await push(json.dumps(event()).encode(), "identity"))[0] == 202
            bomb = gzip.compress(b" " * 50_000_000)
            assert len(bomb) < 100_000
            status, detail = await push(bomb, "gzip")
            assert (status, "longer than 100,000 bytes" in detail) == (413, True)
            for broken in (b"", b"{}", packed[:-9], packed + packed):
                status, detail = await push(broken, "gzip")
                assert (status, "cannot be unpacked" in detail) == (422, True)
            for encoding in ("br", "deflate", "gzip, gzip", "zstd"):
                status, detail = await push(packed, encoding)
                assert (status, "send gzip" in detail) == (415, True)

    asyncio.run(scenario())


def test_the_vendors_port_serves_nothing_but_what_vendors_need(installation: Settings) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            for path in ("/metrics", "/docs", "/redoc", "/openapi.json", "/", "/v1/events/x"):
                assert (await gateway.http.get(path)).status_code == 404, path
            for path in ("/v1/events/", "/healthz/", "/V1/events", "//v1/events"):
                answer = await gateway.http.post(path, json=event())
                assert (answer.status_code, answer.history) == (404, []), path
            for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
                answer = await gateway.http.request(method, "/v1/events")
                assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
            assert (await gateway.http.post("/readyz")).status_code == 405
            assert (await gateway.http.head("/healthz")).status_code == 200
            ready = await gateway.http.get("/readyz")
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
            assert (await gateway.admin.get("/docs/")).status_code == 404

    asyncio.run(scenario())


def test_who_asks_again_and_again_whether_we_are_ready_asks_kafka_once_a_second(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    check = Gateway.check

    async def counted(gateway: Gateway) -> str | None:
        nonlocal asked
        asked += 1
        return await check(gateway)

    monkeypatch.setattr(Gateway, "check", counted)

    async def scenario() -> None:
        async with door(installation) as gateway:
            began = time.monotonic()
            for _ in range(5):
                answers = await asyncio.gather(*(gateway.http.get("/readyz") for _ in range(20)))
                assert {answer.status_code for answer in answers} == {200}
            assert asked <= 1 + (time.monotonic() - began)

    asyncio.run(scenario())


def test_refusals_are_counted_and_logged_with_the_keys_prefix_and_never_the_key(
    installation: Settings,
) -> None:
    unknown = "fp_" + "Z" * 43

    async def scenario() -> None:
        async with door(installation) as gateway:
            with structlog.testing.capture_logs() as logs:
                for _ in range(3):
                    assert (await gateway.push(event(), key=unknown)).status_code == 401
                    assert (await gateway.push(event(lat=91))).status_code == 422
                    assert (await gateway.send(b"{")).status_code == 422
            metrics = (await gateway.admin.get("/metrics")).text
        prefix = gateway.key[:9]
        for key, reason in ((prefix, "no-good-event"), (prefix, "unreadable")):
            line = f'requests_refused_total{{key="{key}",reason="{reason}"}} 3.0'
            assert line in metrics
        # What is not a valid key is no label: else anybody could make as many as there is memory.
        assert 'requests_refused_total{key="unknown",reason="key"}' in metrics
        entries = [(log["key_prefix"], log["reason"]) for log in logs if log["event"] == "refused"]
        assert (
            sorted(entries)
            == sorted(  # each once in a while
                [(unknown[:9], "key"), (prefix, "events"), (prefix, "unreadable")]
            )
        )
        for key in (unknown, gateway.key):
            assert key not in str(logs)
            assert key not in metrics

    asyncio.run(scenario())


def test_bodies_that_wait_are_limited_all_together(installation: Settings) -> None:
    small = installation.model_copy(update={"max_request_bytes": 20_000})

    async def scenario() -> None:
        async with door(small) as gateway, AsyncExitStack() as stack:
            go_on = asyncio.Event()

            async def half() -> AsyncIterator[bytes]:
                yield b" " * 19_000
                await go_on.wait()
                yield json.dumps(event()).encode()

            waiting = [asyncio.create_task(gateway.send(half())) for _ in range(16)]
            stack.callback(go_on.set)

            async def is_full() -> bool:
                answer = await gateway.send(json.dumps(event()).encode().ljust(19_990))
                if answer.status_code != 429:
                    return False
                assert int(answer.headers["Retry-After"]) > 0
                return "bytes of requests are waiting" in answer.json()["detail"]

            await until(is_full, "no more bodies are taken")
            go_on.set()
            assert {response.status_code for response in await asyncio.gather(*waiting)} == {202}
            assert not await is_full()

    asyncio.run(scenario())
