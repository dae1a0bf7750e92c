"""The gateway on real brokers and a real database: what vendors are told, and what Kafka has."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import httpx
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from infra.database.keys import KeyHolder, create_key, revoke_keys
from infra.embedded.guardian import Guardian
from infra.embedded.process import free_port
from infra.embedded.tansu import EmbeddedBroker
from infra.kafka import Topics, client_options, create_topics, held
from infra.settings import KafkaSettings, Settings
from schemas.fix import Fix, FixBatch, NativeFix
from schemas.ids import municipality_of
from stream.health import serving
from stream.ingest.app import make_app
from stream.ingest.gateway import MAX_FIXES_PER_MESSAGE, Gateway
from stream.ingest.requests import MAX_EVENTS, parse
from tests.apache_kafka.broker import ApacheKafka, apache_kafka_available
from tests.processes import Service
from tests.stream_harness import enter_municipality, open_pool

_START: Final = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)
_WRONG_KEY: Final = "fp_" + "x" * 43
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """A running gateway and the key of a vendor of Syddjurs."""

    http: httpx.AsyncClient
    key: str

    async def push(self, events: object, *, key: str | None = None) -> httpx.Response:
        """Push events as JSON."""
        return await self.send(json.dumps(events).encode(), key=key)

    async def send(
        self, body: bytes | AsyncIterator[bytes], *, key: str | None = None
    ) -> httpx.Response:
        """Push a body as it is."""
        return await self.http.post(
            "/v1/events", content=body, headers={"Authorization": f"Bearer {key or self.key}"}
        )

    async def readiness(self) -> tuple[int, str]:
        """Return what the gateway says of itself: status and reason."""
        answer = await self.http.get("/readyz")
        return answer.status_code, answer.json().get("reason", "")


def event(vehicle_id: str = "car-1", second: int = 0, **changes: Any) -> Event:
    """Return a good event; a change to None leaves the field out."""
    whole = {
        "vehicle_id": vehicle_id,
        "recorded_at": (_START + timedelta(seconds=second)).isoformat(),
        "lat": 56.3226,
        "lon": 10.4461,
        "speed_mps": 13.9,
        "ignition": True,
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def fix(sent: Event, municipality_id: str = "syddjurs") -> Fix:
    """Return what an event is in Kafka."""
    return Fix(**{**sent, "vehicle_id": f"{municipality_id}/{sent['vehicle_id']}"})


def identity(one: Fix) -> tuple[str, datetime]:
    return one.vehicle_id, one.recorded_at


def in_order(fixes: Iterable[Fix]) -> list[Fix]:
    return sorted(fixes, key=identity)


async def new_key(
    settings: Settings, municipality_id: str = "syddjurs", vendor: str = "tracker-co"
) -> str:
    """Create a vendor's key, as `fleetpulse key create` does."""
    async with open_pool(settings.database_url.get_secret_value()) as pool:
        async with pool.connection() as connection:
            return await create_key(connection, municipality_id, vendor)


@pytest.fixture
def installation(settings: Settings) -> Settings:
    """Return an installation with its topics and two municipalities."""

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            await enter_municipality(pool)
            await enter_municipality(pool, "roskilde")

    asyncio.run(main())
    return settings


@asynccontextmanager
async def door(settings: Settings, key: str | None = None) -> AsyncIterator[Door]:
    """Run a gateway, with a key that it knows from its start."""
    given_key = key or await new_key(settings)
    async with (
        serving(make_app(settings), "127.0.0.1", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http,
    ):
        yield Door(http, given_key)


async def messages(settings: Settings) -> list[FixBatch]:
    """Return all that the fix topic holds, each message read as the worker reads it."""
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    places = [TopicPartition(topic, number) for number in range(settings.kafka.partitions)]
    holds = await held(settings.kafka, [(topic, place.partition) for place in places])
    consumer = AIOKafkaConsumer(
        group_id=None, enable_auto_commit=False, **client_options(settings.kafka)
    )
    await consumer.start()
    found: list[FixBatch] = []
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning()
        for place in places:
            while await consumer.position(place) < holds[topic, place.partition].end:
                for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                    found.append(FixBatch.model_validate_json(record.value))
    finally:
        await consumer.stop()
    return found


async def fixes_in_kafka(settings: Settings) -> list[Fix]:
    """Return all fixes of the fix topic, in order of vehicle and time."""
    return in_order(one for message in await messages(settings) for one in message.fixes)


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, *, limit_s: float = 15.0
) -> None:
    """Ask until the answer is yes."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + limit_s
    while not await condition():
        assert clock() < deadline, f"not within {limit_s:g} s: {what}"
        await asyncio.sleep(0.05)


def test_one_event_and_an_array_are_in_kafka_when_they_are_answered(
    installation: Settings,
) -> None:
    whole = event(
        "car.2:b_-",
        heading_deg=90,
        odometer_m=12_345_678.9,
        fuel_fraction=0.5,
        soc_fraction=1,
        accuracy_m=4.2,
    )
    array = [event("car-1", 1, recorded_at="2026-02-02T06:00:01+01:00", ignition=False), whole]

    async def scenario() -> None:
        async with door(installation) as gateway:
            one = await gateway.push(event())
            assert (one.status_code, one.json()) == (202, {"accepted": 1, "rejected": []})
            assert await fixes_in_kafka(installation) == [fix(event())]
            two = await gateway.push(array)
            assert (two.status_code, two.json()) == (202, {"accepted": 2, "rejected": []})
            found = await messages(installation)
        fixes = [one for message in found for one in message.fixes]
        assert in_order(fixes) == in_order(fix(sent) for sent in (event(), *array))
        assert {(one.municipality_id, one.vendor) for one in found} == {("syddjurs", "tracker-co")}
        now = datetime.now(UTC)
        assert all(now - timedelta(minutes=1) < one.received_at <= now for one in found)

    asyncio.run(scenario())


def test_the_good_ones_of_an_array_are_accepted_and_each_bad_one_is_named(
    installation: Settings,
) -> None:
    bad: list[tuple[object, list[tuple[str, str]]]] = [
        (event(lat=90.5), [("lat", "less than or equal to 90, got '90.5'")]),
        (
            event(recorded_at="2026-02-02T05:00:00"),
            [("recorded_at", "'2026-02-02T05:00:00' has no offset from UTC; send for example")],
        ),
        (event(recorded_at="0001-01-01T00:00:00+14:00"), [("recorded_at", "out of range")]),
        (event(lon=None), [("lon", "is missing")]),
        (event(sped_mps=3), [("sped_mps", "is not a field of this event; see /docs")]),
        (event(type="door"), [("type", "'fix', got 'door'")]),
        (event(speed_mps="fast"), [("speed_mps", "got 'fast'")]),
        (event(lat=-91, lon=None), [("lat", "greater than or equal to -90"), ("lon", "missing")]),
        ("car-1", [("", "got 'car-1'")]),
        (None, [("", "got 'None'")]),
    ]
    sent: list[object] = []
    good: list[Event] = []
    expected: list[tuple[int, str, str]] = []
    for second, (one, faults) in enumerate(bad):
        good.append(event("car-1", second))
        sent += [good[-1], one]
        expected += [(2 * second + 1, field, reason) for field, reason in faults]

    async def scenario() -> None:
        async with door(installation) as gateway:
            answer = await gateway.push(sent)
        assert answer.status_code == 202
        assert answer.json()["accepted"] == len(good)
        rejected = answer.json()["rejected"]
        assert [(one["index"], one["field"]) for one in rejected] == [
            (index, field) for index, field, _ in expected
        ]
        for one, (_, _, reason) in zip(rejected, expected, strict=True):
            assert reason in one["reason"]
        assert await fixes_in_kafka(installation) == in_order(map(fix, good))

    asyncio.run(scenario())


def test_a_request_without_a_good_event_is_refused_and_says_why(installation: Settings) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            one = await gateway.push(event(lat=91))
            two = await gateway.push([event(lat=91), event(lon=None)])
            nothing = await gateway.push([])
        assert (one.status_code, two.status_code) == (422, 422)
        assert (one.json()["accepted"], two.json()["accepted"]) == (0, 0)
        assert [(at["index"], at["field"]) for at in one.json()["rejected"]] == [(0, "lat")]
        assert [(at["index"], at["field"]) for at in two.json()["rejected"]] == [
            (0, "lat"),
            (1, "lon"),
        ]
        assert (nothing.status_code, nothing.json()) == (202, {"accepted": 0, "rejected": []})
        assert await messages(installation) == []

    asyncio.run(scenario())


def test_who_has_no_valid_key_writes_nothing_and_is_told_the_remedy(
    installation: Settings,
) -> None:
    async def scenario() -> None:
        revoked = await new_key(installation)
        assert await revoke(installation, revoked) == 1
        async with door(installation) as gateway:
            for header in (
                {},
                {"Authorization": f"Bearer {_WRONG_KEY}"},
                {"Authorization": f"Bearer {revoked}"},
                {"Authorization": f"Bearer {gateway.key[:-1]}"},
                {"Authorization": f"Basic {gateway.key}"},
                {"Authorization": gateway.key},
            ):
                answer = await gateway.http.post("/v1/events", json=event(), headers=header)
                assert answer.status_code == 401, header
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert "send `Authorization: Bearer <key>`" in answer.json()["detail"]
            assert (await gateway.push(event("car-2"))).status_code == 202
        assert await fixes_in_kafka(installation) == [fix(event("car-2"))]

    asyncio.run(scenario())


async def revoke(settings: Settings, key: str) -> int:
    """Revoke a key, as `fleetpulse key revoke` does."""
    async with (
        open_pool(settings.database_url.get_secret_value()) as pool,
        pool.connection() as connection,
    ):
        return await revoke_keys(connection, key[:9])


def test_a_new_key_works_at_once_and_a_revoked_one_soon_no_longer(
    installation: Settings,
) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            key = await new_key(installation, vendor="late-comer")

            async def answers(status: int) -> bool:
                await gateway.readiness()  # as a supervisor asks, every second or so
                return (await gateway.push(event(), key=key)).status_code == status

            await until(lambda: answers(202), "the new key opens", limit_s=3)
            await revoke(installation, key)
            await until(lambda: answers(401), "the revoked key is refused", limit_s=12)
            assert (await gateway.push(event())).status_code == 202

    asyncio.run(scenario())


def test_a_key_writes_for_its_own_municipality_only(installation: Settings) -> None:
    foreign = ["roskilde/car-1", "/car-1", "../roskilde/car-1", "syddjurs/car-1", "roskilde\\car-1"]

    async def scenario() -> None:
        async with door(installation) as gateway:
            answer = await gateway.push([event(vehicle_id) for vehicle_id in foreign])
            assert answer.status_code == 422
            assert [(one["index"], one["field"]) for one in answer.json()["rejected"]] == [
                (index, "vehicle_id") for index in range(len(foreign))
            ]
            answer = await gateway.push([event(municipality_id="roskilde")])
            assert answer.status_code == 422
            assert [one["field"] for one in answer.json()["rejected"]] == ["municipality_id"]
            both = [gateway.key, await new_key(installation, "roskilde")]
            for key in both:
                await until(lambda key=key: opens(gateway, key), "the key opens", limit_s=3)  # type: ignore[misc]
        found = await messages(installation)
        assert {
            (message.municipality_id, one.vehicle_id) for message in found for one in message.fixes
        } == {("syddjurs", "syddjurs/car-1"), ("roskilde", "roskilde/car-1")}

    async def opens(gateway: Door, key: str) -> bool:
        return (await gateway.push(event(), key=key)).status_code == 202

    asyncio.run(scenario())


def test_a_body_that_cannot_be_read_or_is_too_long_is_refused(installation: Settings) -> None:
    limited = installation.model_copy(update={"max_request_bytes": 20_000})
    at_limit = json.dumps(event()).encode().ljust(20_000)

    async def in_parts(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 4_096):
            yield body[start : start + 4_096]

    async def scenario() -> None:
        async with door(limited) as gateway:
            for body, status, detail in (
                (b"", 422, "the body is not JSON"),
                (b"{", 422, "the body is not JSON"),
                (b'{"vehicle_id": "\xff"}', 422, "the body is not JSON"),
                (b"NaN", 422, "the body is not JSON"),
                (b"42", 422, "the body is a int; send one event as an object, or an array"),
                (b"null", 422, "send one event as an object, or an array"),
                (b"[" + b"0," * MAX_EVENTS + b"0]", 413, "5001 events in one request, limit 5000"),
                (at_limit + b" ", 413, "longer than 20,000 bytes; send it in smaller parts"),
                (at_limit * 200, 413, "longer than 20,000 bytes; send it in smaller parts"),
            ):
                for sent in (body, in_parts(body)):
                    answer = await gateway.send(sent)
                    assert answer.status_code == status, body[:40]
                    assert detail in answer.json()["detail"]
            assert (await gateway.send(at_limit)).status_code == 202
            assert (await gateway.send(in_parts(at_limit))).status_code == 202
        assert await fixes_in_kafka(installation) == [fix(event())] * 2

    asyncio.run(scenario())


def test_an_event_nested_beyond_reason_does_not_take_its_neighbours_with_it(
    installation: Settings,
) -> None:
    nested = "[" * 400 + "]" * 400

    async def scenario() -> None:
        async with door(installation) as gateway:
            answer = await gateway.send(
                f'[{json.dumps(event())}, {nested}, {{"lat": {nested}}}]'.encode()
            )
            assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
            assert [one["index"] for one in answer.json()["rejected"]] == [1, 2]
            assert (await gateway.send(nested.encode())).status_code == 422
        assert await fixes_in_kafka(installation) == [fix(event())]

    asyncio.run(scenario())


def test_many_small_requests_share_messages_and_all_arrive_once(installation: Settings) -> None:
    patient = installation.model_copy(update={"coalesce_ms": 50.0})
    sent = [event(f"car-{number % 40}", number) for number in range(200)]

    async def scenario() -> None:
        roskilde = await new_key(installation, "roskilde")
        async with door(patient) as gateway:
            answers = await asyncio.gather(
                *(
                    gateway.push(one, key=roskilde if number % 2 else gateway.key)
                    for number, one in enumerate(sent)
                )
            )
        assert {answer.status_code for answer in answers} == {202}
        found = await messages(installation)
        assert len(found) < len(sent) / 2
        fixes = [one for message in found for one in message.fixes]
        assert in_order(fixes) == in_order(
            fix(one, "roskilde" if number % 2 else "syddjurs") for number, one in enumerate(sent)
        )
        for message in found:
            assert {municipality_of(one.vehicle_id) for one in message.fixes} == {
                message.municipality_id
            }

    asyncio.run(scenario())


def test_a_message_full_of_the_longest_events_is_not_too_long_for_kafka(
    installation: Settings,
) -> None:
    longest_m = "m" * 40
    tiny = 1.2345678901234567e-100
    events = [
        event(
            "v" * 80,
            second,
            recorded_at=(_START + timedelta(seconds=second, microseconds=1)).isoformat(),
            lat=-tiny,
            lon=-tiny,
            speed_mps=tiny,
            heading_deg=tiny,
            ignition=False,
            odometer_m=tiny,
            fuel_fraction=tiny,
            soc_fraction=tiny,
            accuracy_m=tiny,
        )
        for second in range(MAX_FIXES_PER_MESSAGE)
    ]

    async def scenario() -> None:
        async with open_pool(installation.database_url.get_secret_value()) as pool:
            await enter_municipality(pool, longest_m)
        key = await new_key(installation, longest_m, vendor="x" * 60)
        async with door(installation, key) as gateway:
            assert (await gateway.push(events)).status_code == 202
        (message,) = await messages(installation)
        assert list(message.fixes) == [fix(one, longest_m) for one in events]

    asyncio.run(scenario())


def test_a_sender_that_gives_up_does_not_take_others_with_it(installation: Settings) -> None:
    holder = KeyHolder("syddjurs", "tracker-co")
    patient = installation.model_copy(update={"coalesce_ms": 50.0})

    async def scenario() -> None:
        gateway = Gateway(patient)
        await gateway.start()
        try:
            impatient, staying = (
                asyncio.create_task(gateway.accept(holder, [NativeFix(**event(second=second))]))
                for second in range(2)
            )
            await asyncio.sleep(0)  # both wait for the same message now
            impatient.cancel()
            await staying
        finally:
            await gateway.stop()
        assert fix(event(second=1)) in await fixes_in_kafka(installation)

    asyncio.run(scenario())


def test_probes_metrics_and_documentation_answer(installation: Settings) -> None:
    vendor = f"vendor-{uuid.uuid4().hex[:8]}"

    async def scenario() -> None:
        key = await new_key(installation, vendor=vendor)
        async with door(installation, key) as gateway:
            alive = await gateway.http.get("/healthz")
            assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
            assert await gateway.readiness() == (200, "")
            await gateway.push([event(), event("car-2"), event(lat=91, lon=181)])
            metrics = (await gateway.http.get("/metrics")).text
            for fate, count in (("accepted", 2), ("rejected", 1)):
                line = (
                    f'fleetpulse_ingest_events_total{{fate="{fate}",vendor="{vendor}"}} {count}.0'
                )
                assert line in metrics.splitlines()
            docs = await gateway.http.get("/docs")
            assert docs.status_code == 200
            assert "/openapi.json" in docs.text
            _check_openapi((await gateway.http.get("/openapi.json")).json())

    asyncio.run(scenario())


def _check_openapi(document: Mapping[str, Any]) -> None:
    operation = document["paths"]["/v1/events"]["post"]
    (scheme,) = operation["security"]
    (name,) = scheme
    declared = document["components"]["securitySchemes"][name]
    assert (declared["type"], declared["scheme"]) == ("http", "bearer")
    native = NativeFix.model_json_schema()
    body = operation["requestBody"]["content"]["application/json"]
    single, array = body["schema"]["anyOf"]
    assert single == native
    assert (array["type"], array["items"], array["maxItems"]) == ("array", native, MAX_EVENTS)
    good, rejected = parse(json.dumps(body["example"]).encode())
    assert (len(good), rejected) == (len(body["example"]), [])
    answers = {
        status: sorted(_models(response["content"]["application/json"]["schema"]))
        for status, response in operation["responses"].items()
    }
    assert answers == {
        "202": ["Answer"],
        "401": ["Refusal"],
        "413": ["Refusal"],
        "422": ["Answer", "Refusal"],
        "429": ["Refusal"],
        "503": ["Refusal"],
    }


def _models(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the models that a schema refers to."""
    return [one["$ref"].rpartition("/")[2] for one in schema.get("anyOf", [schema])]


def _event_like() -> st.SearchStrategy[object]:
    """Return events of which some are good and some have anything in any field."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=5,
    )
    instants = st.builds(
        lambda at, offset_min: at.replace(tzinfo=timezone(timedelta(minutes=offset_min))),
        st.datetimes() | st.sampled_from([datetime.min, datetime.max]),  # noqa: DTZ901
        st.integers(-14 * 60, 14 * 60),
    ).map(datetime.isoformat)
    changes = st.dictionaries(
        st.sampled_from(sorted(NativeFix.model_fields)) | st.text(max_size=5),
        anything | instants,
        max_size=2,
    )
    return anything | changes.map(lambda changed: {**event(), **changed})


def test_no_body_whatever_is_answered_with_an_error_of_ours(
    installation: Settings, guardian: Guardian, tmp_path: Path
) -> None:
    key = asyncio.run(new_key(installation))
    accepted = 0

    with running(Service("ingest", installation, guardian, tmp_path)) as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as http:

            @hypothesis_settings(max_examples=60, deadline=None, database=None)
            @given(
                st.binary(max_size=200)
                | (st.lists(_event_like(), max_size=5) | _event_like())
                .map(json.dumps)
                .map(str.encode)
            )
            def push(body: bytes) -> None:
                nonlocal accepted
                answer = http.post("/v1/events", content=body)
                told = answer.json()
                assert answer.status_code in {202, 422}, answer.text
                if "detail" in told:
                    assert answer.status_code == 422
                    return
                document = json.loads(body)
                events = document if isinstance(document, list) else [document]
                bad = {one["index"] for one in told["rejected"]}
                assert told["accepted"] + len(bad) == len(events)
                assert bad <= set(range(len(events)))
                assert answer.status_code == (202 if told["accepted"] or not bad else 422)
                accepted += told["accepted"]

            push()
            assert http.get("/readyz").status_code == 200
    assert len(asyncio.run(fixes_in_kafka(installation))) == accepted > 0


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """Stop a process at the end."""
    try:
        yield service
    finally:
        service.stop()


def test_what_was_answered_202_is_in_kafka_though_the_gateway_is_killed(
    installation: Settings, guardian: Guardian, tmp_path: Path
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
        key = await new_key(installation)
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:
            pushing = asyncio.gather(*(push_on(Door(http, key), lane) for lane in range(20)))

            async def many() -> bool:
                return len(accepted) > 200

            await until(many, "200 events accepted")
            service.kill()
            await pushing
        found = {identity(one) for one in await fixes_in_kafka(installation)}
        missing = {identity(fix(one)) for one in accepted} - found
        assert not missing

    with running(Service("ingest", installation, guardian, tmp_path)) as service:
        service.wait_ready()
        asyncio.run(scenario(service))


@pytest.fixture(params=["tansu", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def mortal(
    request: pytest.FixtureRequest, database_url: str, guardian: Guardian, tmp_path: Path
) -> Iterator[tuple[Settings, Callable[[], None]]]:
    """Yield an installation with a broker of its own, and how to stop that broker."""
    with ExitStack() as stack:
        broker: EmbeddedBroker | ApacheKafka
        if request.param == "tansu":
            broker = EmbeddedBroker(tmp_path, guardian)
            stack.callback(broker.stop)
        else:
            reason = apache_kafka_available()
            if reason is not None:
                pytest.skip(reason)
            broker = stack.enter_context(ApacheKafka())
        yield (
            _with_broker(database_url, broker.bootstrap_servers, request.param != "tansu"),
            stack.close,
        )


def _with_broker(database_url: str, bootstrap_servers: str, idempotence: bool) -> Settings:
    return Settings(
        database_url=SecretStr(database_url),
        kafka=KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            topic_prefix=f"test-{uuid.uuid4().hex[:12]}",
            idempotence=idempotence,
        ),
    )


async def prepare(settings: Settings) -> None:
    """Create topics and enter a municipality."""
    await create_topics(settings.kafka)
    async with open_pool(settings.database_url.get_secret_value()) as pool:
        await enter_municipality(pool)


def test_without_its_broker_the_gateway_accepts_nothing_and_says_so(
    mortal: tuple[Settings, Callable[[], None]],
) -> None:
    settings, stop_broker = mortal

    async def scenario() -> None:
        await prepare(settings)
        async with door(settings) as gateway:
            assert (await gateway.push(event())).status_code == 202
            assert (await gateway.readiness())[0] == 200
            await asyncio.to_thread(stop_broker)
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


def test_when_its_broker_is_back_the_gateway_accepts_again(
    database_url: str, guardian: Guardian, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr("infra.embedded.tansu.free_port", lambda: port)
    broker = EmbeddedBroker(tmp_path, guardian)
    settings = _with_broker(database_url, broker.bootstrap_servers, idempotence=False)

    async def scenario() -> None:
        nonlocal broker
        await prepare(settings)
        async with door(settings) as gateway:

            async def ready(*, wanted: bool) -> bool:
                return ((await gateway.readiness())[0] == 200) is wanted

            await until(lambda: ready(wanted=True), "ready")
            await asyncio.to_thread(broker.stop)
            await until(lambda: ready(wanted=False), "not ready")
            broker = await asyncio.to_thread(EmbeddedBroker, tmp_path, guardian)
            await create_topics(settings.kafka)  # this broker remembers nothing
            await until(lambda: ready(wanted=True), "ready again")
            assert (await gateway.push(event())).status_code == 202
        assert await fixes_in_kafka(settings) == [fix(event())]

    try:
        asyncio.run(scenario())
    finally:
        broker.stop()


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


def test_without_its_database_the_gateway_accepts_whom_it_knows(
    installation: Settings, server_url: str
) -> None:
    async def scenario() -> None:
        new = await new_key(installation, vendor="late-comer")
        await revoke(installation, new)
        async with door(installation) as gateway:
            new = await new_key(installation, vendor="late-comer")
            let_in(installation, server_url, allowed=False)

            async def not_ready() -> bool:
                status, reason = await gateway.readiness()
                return status == 503 and "database" in reason

            await until(not_ready, "not ready, because of the database")
            assert (await gateway.push(event())).status_code == 202
            # Whoever it does not know may be valid all the same: later, not never.
            unknown = await gateway.push(event("car-2"), key=new)
            assert unknown.status_code == 503
            assert int(unknown.headers["Retry-After"]) > 0
            assert "key" in unknown.json()["detail"]

            let_in(installation, server_url, allowed=True)

            async def let_in_again() -> bool:
                return (await gateway.push(event("car-2"), key=new)).status_code == 202

            await until(let_in_again, "the new key opens")
            assert (await gateway.readiness())[0] == 200
        assert await fixes_in_kafka(installation) == [fix(event()), fix(event("car-2"))]

    asyncio.run(scenario())


def test_a_gateway_that_starts_without_its_database_does_not_call_keys_wrong(
    installation: Settings, server_url: str
) -> None:
    async def scenario() -> None:
        key = await new_key(installation)
        let_in(installation, server_url, allowed=False)
        async with door(installation, key) as gateway:
            assert (await gateway.push(event())).status_code == 503
            status, reason = await gateway.readiness()
            assert status == 503
            assert "database" in reason
            let_in(installation, server_url, allowed=True)

            async def let_in_again() -> bool:
                return (await gateway.push(event())).status_code == 202

            await until(let_in_again, "the key opens")

    asyncio.run(scenario())


def test_a_database_that_hangs_holds_up_neither_probes_nor_events(
    installation: Settings,
) -> None:
    async def scenario() -> None:
        url = installation.database_url.get_secret_value()
        async with door(installation) as gateway:
            async with await psycopg.AsyncConnection.connect(url) as other:
                await other.execute("LOCK TABLE api_key IN ACCESS EXCLUSIVE MODE")

                async def not_ready() -> bool:
                    status, reason = await gateway.readiness()
                    return status == 503 and "database" in reason

                await until(not_ready, "not ready, because of the database", limit_s=8)
                assert (await gateway.push(event())).status_code == 202
                assert (await gateway.push(event(), key=_WRONG_KEY)).status_code == 503

            async def ready() -> bool:
                return (await gateway.readiness())[0] == 200

            await until(ready, "ready again")
            assert (await gateway.push(event(), key=_WRONG_KEY)).status_code == 401

    asyncio.run(asyncio.wait_for(scenario(), 40))
