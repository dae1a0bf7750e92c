"""The gateway when it, its broker or its database is away: nothing answered 202 is lost."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from infra.embedded.process import free_port
from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker
from infra.kafka.client import create_topics
from infra.settings import Settings
from tests.integration.ingest_door import (
    WRONG_KEY,
    Door,
    Event,
    door,
    event,
    fix,
    fixes_in_kafka,
    identity,
    new_key,
)
from tests.processes import Service, process_of_broker, until, with_broker
from tests.stream_harness import enter_municipality, open_pool


def test_what_was_answered_202_is_in_kafka_though_the_gateway_is_killed(
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    accepted: list[Event] = []

    async def push_on(gateway: Door, lane: int) -> None:
        for second in itertools.count():
            sent = event(f"car-{lane}", second)
            try:
                answer = await gateway.push(sent)
            except httpx.TransportError:
                return
            assert answer.status_code == 202
            accepted.append(sent)

    async def scenario(service: Service) -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
            pushing = asyncio.gather(*(push_on(Door(http, http, key), lane) for lane in range(40)))

            async def many() -> bool:
                return len(accepted) > 150

            await until(many, "150 events accepted")
            service.kill()
            await pushing
        entries = {identity(entry) for entry in await fixes_in_kafka(installation)}
        missing = {identity(fix(entry)) for entry in accepted} - entries
        assert not missing

    key = asyncio.run(new_key(installation))
    # Long enough that an answer given too soon would be found out.
    gateway = Service("ingest", installation, reaper, tmp_path, FLEETPULSE_LINGER_MS="100")
    with gateway as service:
        service.wait_ready()
        asyncio.run(scenario(service))


async def prepare(settings: Settings) -> None:
    """Create topics and enter a municipality."""
    await create_topics(settings.kafka)
    async with open_pool(settings.database_url.get_secret_value()) as pool:
        await enter_municipality(pool)


def test_without_its_broker_the_gateway_accepts_nothing_and_says_so(
    mortal: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.ingest.producer.REQUEST_TIMEOUT_MS", 2_000)
    monkeypatch.setattr("stream.ingest.producer.ACK_LIMIT_S", 3.0)
    settings = mortal

    async def scenario() -> None:
        await prepare(settings)
        async with door(settings) as gateway:
            assert (await gateway.push(event())).status_code == 202
            assert (await gateway.readiness())[0] == 200
            process_of_broker(settings).kill()
            pushing = asyncio.create_task(gateway.push(event()))

            async def not_ready() -> bool:
                status, reason = await gateway.readiness()
                return status == 503 and "kafka" in reason

            await until(not_ready, "not ready, because of kafka", limit_s=5)
            answer = await pushing
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "kafka" in answer.json()["detail"]
            assert (await gateway.push([event(lat=91)])).status_code == 422
            assert await not_ready()
            assert (await gateway.http.get("/healthz")).status_code == 200

    asyncio.run(asyncio.wait_for(scenario(), 40))


def test_a_producer_that_can_send_no_more_is_replaced(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[AIOKafkaProducer] = []

    class Noted(AIOKafkaProducer):  # type: ignore[misc]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr("stream.ingest.producer.AIOKafkaProducer", Noted)

    async def scenario() -> None:
        async with door(installation) as gateway:
            assert (await gateway.push(event())).status_code == 202
            await made[0].stop()
            assert (await gateway.push(event(second=1))).status_code == 503

            async def accepts() -> bool:
                return (await gateway.push(event(second=2))).status_code == 202

            await until(accepts, "a new producer sends", limit_s=10)
            assert (await gateway.readiness())[0] == 200
        assert len(made) == 2
        entries = {identity(entry) for entry in await fixes_in_kafka(installation)}
        assert {identity(fix(event())), identity(fix(event(second=2)))} <= entries

    asyncio.run(scenario())


def test_when_its_broker_is_back_the_gateway_accepts_again(
    database_url: str, reaper: Reaper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr("infra.embedded.tansu.free_port", lambda: port)
    brokers = [EmbeddedBroker(tmp_path, reaper)]
    settings = with_broker(database_url, f"127.0.0.1:{port}", idempotence=False)

    async def scenario() -> None:
        await prepare(settings)
        async with door(settings) as gateway:

            async def ready(*, wanted: bool) -> bool:
                return ((await gateway.readiness())[0] == 200) is wanted

            await until(lambda: ready(wanted=True), "ready")
            process_of_broker(settings).kill()
            await until(lambda: ready(wanted=False), "not ready")
            brokers.append(await asyncio.to_thread(EmbeddedBroker, tmp_path, reaper))
            await create_topics(settings.kafka)  # this broker remembers nothing
            await until(lambda: ready(wanted=True), "ready again")
            assert (await gateway.push(event())).status_code == 202
        assert await fixes_in_kafka(settings) == [fix(event())]

    try:
        asyncio.run(scenario())
    finally:
        for broker in brokers:
            broker.stop()


def test_it_waits_for_kafka_and_the_database_and_says_so_once(
    database_url: str,
    server_url: str,
    reaper: Reaper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = free_port()
    monkeypatch.setattr("infra.embedded.tansu.free_port", lambda: port)
    settings = with_broker(database_url, f"127.0.0.1:{port}", idempotence=False)

    async def key_before() -> str:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
        return await new_key(settings)

    async def push(http: httpx.AsyncClient) -> httpx.Response:
        return await http.post("/v1/events", json=event())

    async def scenario(service: Service, stack: AsyncExitStack) -> None:
        http = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=service.url, timeout=30, headers={"Authorization": f"Bearer {key}"}
            )
        )

        async def says(status: int, reason: str) -> bool:
            answer = await http.get(f"{service.admin_url}/readyz")
            return answer.status_code == status and reason in answer.json().get("reason", "")

        await until(lambda: says(503, "database: "), "waits for the database")
        assert (await http.get("/healthz")).status_code == 200
        assert (await http.get("/readyz")).json() == {"status": "not ready"}
        refused = await push(http)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        let_in(settings, server_url, allowed=True)
        await until(lambda: says(503, "kafka: "), "waits for Kafka")
        refused = await push(http)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "kafka" in refused.json()["detail"]
        await asyncio.sleep(2.5)  # some tries later
        broker = await asyncio.to_thread(EmbeddedBroker, tmp_path, reaper)
        stack.callback(broker.stop)
        await create_topics(settings.kafka)
        await until(lambda: says(200, ""), "ready")
        assert (await push(http)).status_code == 202

    async def main(service: Service) -> None:
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(service.child.wait_until, lambda: is_alive(service), limit_s=60)
            await scenario(service, stack)

    key = asyncio.run(key_before())
    let_in(settings, server_url, allowed=False)
    try:
        with Service("ingest", settings, reaper, tmp_path) as service:
            asyncio.run(main(service))
            log = service.child.tail()
    finally:
        let_in(settings, server_url, allowed=True)
    assert "Traceback" not in log
    assert log.count("waiting for Kafka") == 1
    assert log.count("keys not refreshed") == 1
    assert len(log.splitlines()) <= 8, log


def is_alive(service: Service) -> bool:
    """Return whether a process answers at all."""
    try:
        return httpx.get(f"{service.url}/healthz", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def let_in(settings: Settings, server_url: str, *, allowed: bool) -> None:
    """Open a database, or close it and throw out who is in."""
    database = str(conninfo_to_dict(settings.database_url.get_secret_value())["dbname"])
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                sql.Identifier(database), sql.Literal(allowed)
            )
        )
        if not allowed:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database],
            )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the gateway wait for its database more shortly than it does."""
    monkeypatch.setattr("stream.ingest.limits.api_keys.CONNECT_LIMIT_S", 0.5)
    monkeypatch.setattr("stream.ingest.limits.api_keys.ANSWER_LIMIT_S", 1.0)


@pytest.mark.usefixtures("impatient")
def test_without_its_database_the_gateway_accepts_whom_it_knows(
    installation: Settings, server_url: str
) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway, AsyncExitStack() as stack:
            new = await new_key(installation, vendor="late-comer")
            let_in(installation, server_url, allowed=False)
            late, _ = await asyncio.gather(
                stack.enter_async_context(door(installation, gateway.key)),
                until(lambda: blames_database(gateway), "not ready, because of the database"),
            )
            assert (await gateway.push(event())).status_code == 202
            # Whom it does not know may be right all the same: that is no reason to say 401.
            for asked, key in ((gateway, new), (late, gateway.key)):
                unknown = await asked.push(event("car-2"), key=key)
                assert unknown.status_code == 503
                assert int(unknown.headers["Retry-After"]) > 0
                assert "the key cannot be looked up now" in unknown.json()["detail"]
            assert await blames_database(late)
            assert (await gateway.http.post("/v1/events", json=event())).status_code == 401

            let_in(installation, server_url, allowed=True)
            await asyncio.gather(
                until(lambda: opens(gateway, new), "the new key opens"),
                until(lambda: opens(late, gateway.key), "the old key opens"),
            )
            assert (await gateway.readiness(), await late.readiness()) == ((200, ""),) * 2
            for asked in (gateway, late):
                assert (await asked.push(event(), key=WRONG_KEY)).status_code == 401

    async def opens(gateway: Door, key: str) -> bool:
        return (await gateway.push(event(), key=key)).status_code == 202

    asyncio.run(scenario())


async def blames_database(gateway: Door) -> bool:
    """Return whether a gateway is not ready for want of a database."""
    status, reason = await gateway.readiness()
    return status == 503 and "database" in reason


@pytest.mark.usefixtures("impatient")
def test_a_database_that_hangs_holds_up_neither_probes_nor_events(
    installation: Settings,
) -> None:
    async def scenario() -> None:
        url = installation.database_url.get_secret_value()
        async with door(installation) as gateway:
            async with await psycopg.AsyncConnection.connect(url) as other:
                await other.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")
                await until(
                    lambda: blames_database(gateway),
                    "not ready, because of the database",
                    limit_s=8,
                )
                assert (await gateway.push(event())).status_code == 202
                assert (await gateway.push(event(), key=WRONG_KEY)).status_code == 503

            async def ready() -> bool:
                return (await gateway.readiness())[0] == 200

            await until(ready, "ready again")
            assert (await gateway.push(event(), key=WRONG_KEY)).status_code == 401

    asyncio.run(asyncio.wait_for(scenario(), 40))


def test_a_database_that_does_not_say_who_reports_a_vehicle_holds_up_no_event(
    installation: Settings,
) -> None:
    async def scenario() -> None:
        url = installation.database_url.get_secret_value()
        async with (
            door(installation) as gateway,
            await psycopg.AsyncConnection.connect(url) as other,
        ):
            await other.execute("LOCK TABLE vehicle_vendor IN ACCESS EXCLUSIVE MODE")
            for number in range(8):  # more than there are connections
                async with asyncio.timeout(10):
                    assert (await gateway.push(event(f"car-{number}"))).status_code == 202
            assert (await gateway.readiness())[0] == 200

    asyncio.run(asyncio.wait_for(scenario(), 60))
