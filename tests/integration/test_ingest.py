"""The gateway on real brokers and a real database: what vendors are told, and what Kafka has."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from infra.database.fleet.api_keys import KeyHolder, revoke_keys
from infra.embedded.reaper import Reaper
from infra.settings import Settings
from schemas.events.fix import NativeFix
from schemas.ids import municipality_of
from stream.ingest.http.event_codec import PushedFix
from stream.ingest.http.requests import MAX_EVENTS, parse
from stream.ingest.producer import MAX_FIXES_PER_MESSAGE, Gateway
from tests.integration.ingest_door import (
    START,
    WRONG_KEY,
    Event,
    door,
    event,
    fix,
    fixes_in_kafka,
    in_order,
    messages,
    new_key,
)
from tests.processes import Service, until
from tests.stream_harness import enter_municipality, open_pool


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
            response = await gateway.push(event())
            assert (response.status_code, response.json()) == (202, {"accepted": 1, "rejected": []})
            assert await fixes_in_kafka(installation) == [fix(event())]
            two = await gateway.push(array)
            assert (two.status_code, two.json()) == (202, {"accepted": 2, "rejected": []})
            fix_batchs = await messages(installation)
        fixes = [entry for message in fix_batchs for entry in message.fixes]
        assert in_order(fixes) == in_order(fix(sent) for sent in (event(), *array))
        assert {(fix_batch.municipality_id, fix_batch.vendor) for fix_batch in fix_batchs} == {
            ("syddjurs", "tracker-co")
        }
        now = datetime.now(UTC)
        assert all(
            now - timedelta(minutes=1) < fix_batch.received_at <= now for fix_batch in fix_batchs
        )

    asyncio.run(scenario())


def test_a_position_in_private_mode_never_reaches_kafka(installation: Settings) -> None:
    sent = event(private_mode=True, heading_deg=90, accuracy_m=4.2, odometer_m=1000.0)

    async def scenario() -> None:
        async with door(installation) as gateway:
            answer = await gateway.push(sent)
            assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "rejected": []})
            kept = {
                name: sent[name] for name in ("vehicle_id", "recorded_at", "ignition", "odometer_m")
            }
            assert await fixes_in_kafka(installation) == [fix({**kept, "private_mode": True})]

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
    for second, (refused, faults) in enumerate(bad):
        good.append(event("car-1", second))
        sent += [good[-1], refused]
        expected += [(2 * second + 1, field, reason) for field, reason in faults]

    async def scenario() -> None:
        async with door(installation) as gateway:
            answer = await gateway.push(sent)
        assert answer.status_code == 202
        assert answer.json()["accepted"] == len(good)
        rejected = answer.json()["rejected"]
        assert [(entry["index"], entry["field"]) for entry in rejected] == [
            (index, field) for index, field, _ in expected
        ]
        for entry, (_, _, reason) in zip(rejected, expected, strict=True):
            assert reason in entry["reason"]
        assert await fixes_in_kafka(installation) == in_order(map(fix, good))

    asyncio.run(scenario())


def test_a_request_without_a_good_event_is_refused_and_says_why(installation: Settings) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            response = await gateway.push(event(lat=91))
            two = await gateway.push([event(lat=91), event(lon=None)])
            nothing = await gateway.push([])
        assert (response.status_code, two.status_code) == (422, 422)
        assert (response.json()["accepted"], two.json()["accepted"]) == (0, 0)
        assert [(at["index"], at["field"]) for at in response.json()["rejected"]] == [(0, "lat")]
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
                {"Authorization": f"Bearer {WRONG_KEY}"},
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
                return (await gateway.push(event(), key=key)).status_code == status

            async def answers_when_watched(status: int) -> bool:
                await gateway.readiness()  # as a supervisor asks, every few seconds
                return await answers(status)

            await until(lambda: answers(202), "the new key opens", limit_s=3)
            await revoke(installation, key)
            await until(lambda: answers_when_watched(401), "the old key is refused", limit_s=12)
            assert (await gateway.push(event())).status_code == 202

    asyncio.run(scenario())


def test_a_key_writes_for_its_own_municipality_only(installation: Settings) -> None:
    foreign = ["roskilde/car-1", "/car-1", "../roskilde/car-1", "syddjurs/car-1", "roskilde\\car-1"]

    async def scenario() -> None:
        roskilde = await new_key(installation, "roskilde")
        async with door(installation) as gateway:
            answer = await gateway.push([event(vehicle_id) for vehicle_id in foreign])
            assert answer.status_code == 422
            assert [(entry["index"], entry["field"]) for entry in answer.json()["rejected"]] == [
                (index, "vehicle_id") for index in range(len(foreign))
            ]
            answer = await gateway.push([event(municipality_id="roskilde")])
            assert answer.status_code == 422
            assert [entry["field"] for entry in answer.json()["rejected"]] == ["municipality_id"]
            for key in (gateway.key, roskilde):
                assert (await gateway.push(event(), key=key)).status_code == 202
        fix_batchs = await messages(installation)
        assert {
            (message.municipality_id, entry.vehicle_id)
            for message in fix_batchs
            for entry in message.fixes
        } == {("syddjurs", "syddjurs/car-1"), ("roskilde", "roskilde/car-1")}

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
    less = "[" * 230 + "]" * 230

    async def scenario() -> None:
        async with door(installation) as gateway:
            answer = await gateway.send(
                f'[{json.dumps(event())}, {nested}, {{"lat": {less}}}]'.encode()
            )
            assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
            assert [entry["index"] for entry in answer.json()["rejected"]] == [1, 2]
            assert (await gateway.send(nested.encode())).status_code == 422
        assert await fixes_in_kafka(installation) == [fix(event())]

    asyncio.run(scenario())


def test_many_small_requests_share_messages_and_all_arrive_once(installation: Settings) -> None:
    patient = installation.model_copy(update={"linger_ms": 500.0})
    sent = [event(f"car-{number % 40}", number) for number in range(100)]

    async def scenario() -> None:
        roskilde = await new_key(installation, "roskilde")
        async with door(patient) as gateway:
            pushing: list[asyncio.Task[httpx.Response]] = []
            async with asyncio.TaskGroup() as group:
                for number, entry in enumerate(sent):
                    key = roskilde if number % 2 else gateway.key
                    pushing.append(group.create_task(gateway.push(entry, key=key)))
                    await asyncio.sleep(0.002)  # one after the other, not all in one go
        assert {task.result().status_code for task in pushing} == {202}
        fix_batchs = await messages(installation)
        assert len(fix_batchs) < len(sent) / 2
        fixes = [entry for message in fix_batchs for entry in message.fixes]
        assert in_order(fixes) == in_order(
            fix(entry, "roskilde" if number % 2 else "syddjurs")
            for number, entry in enumerate(sent)
        )
        for message in fix_batchs:
            assert {municipality_of(entry.vehicle_id) for entry in message.fixes} == {
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
            recorded_at=(START + timedelta(seconds=second, microseconds=1)).isoformat(),
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
        assert list(message.fixes) == [fix(entry, longest_m) for entry in events]

    asyncio.run(scenario())


def test_a_sender_that_gives_up_does_not_take_others_with_it(installation: Settings) -> None:
    holder = KeyHolder("syddjurs", "tracker-co")
    patient = installation.model_copy(update={"linger_ms": 50.0})

    async def scenario() -> None:
        gateway = Gateway(patient)
        await gateway.start()
        try:
            impatient, staying = (
                asyncio.create_task(gateway.accept(holder, [_accepted(event(second=second))]))
                for second in range(2)
            )
            await asyncio.sleep(0)  # both wait for the same message now
            impatient.cancel()
            await staying
        finally:
            await gateway.stop()
        assert fix(event(second=1)) in await fixes_in_kafka(installation)

    asyncio.run(scenario())


def _accepted(sent: Event) -> PushedFix:
    return PushedFix.of(NativeFix(**sent))


def test_probes_metrics_and_documentation_answer(installation: Settings) -> None:
    vendor = f"vendor-{uuid.uuid4().hex[:8]}"

    async def scenario() -> None:
        key = await new_key(installation, vendor=vendor)
        async with door(installation, key) as gateway:
            alive = await gateway.http.get("/healthz")
            assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
            assert await gateway.readiness() == (200, "")
            await gateway.push([event(), event("car-2"), event(lat=91, lon=181)])
            metrics = (await gateway.admin.get("/metrics")).text
            for outcome, count in (("accepted", 2), ("rejected", 1)):
                labels = f'outcome="{outcome}",vendor="{vendor}"'
                line = f"fleetpulse_ingest_events_total{{{labels}}} {count}.0"
                assert line in metrics.splitlines()
            docs = await gateway.admin.get("/docs")
            assert docs.status_code == 200
            assert "/openapi.json" in docs.text
            assert "<script" not in docs.text
            assert "//" not in docs.text.replace("://", "")
            _check_openapi((await gateway.admin.get("/openapi.json")).json())

    asyncio.run(scenario())


def _check_openapi(document: Mapping[str, Any]) -> None:
    operation = document["paths"]["/v1/events"]["post"]
    (scheme,) = operation["security"]
    (name,) = scheme
    declared = document["components"]["securitySchemes"][name]
    assert (declared["type"], declared["scheme"]) == ("http", "bearer")
    assert document["components"]["schemas"]["NativeFix"] == NativeFix.model_json_schema()
    native = {"$ref": "#/components/schemas/NativeFix"}
    body = operation["requestBody"]["content"]["application/json"]
    single, array = body["schema"]["anyOf"]
    assert single == native
    assert (array["type"], array["items"], array["maxItems"]) == ("array", native, MAX_EVENTS)
    parsed = parse(json.dumps(body["example"]).encode())
    assert (len(parsed.good), parsed.rejected) == (len(body["example"]), [])
    answers = {
        status: sorted(_models(response["content"]["application/json"]["schema"]))
        for status, response in operation["responses"].items()
        if "content" in response
    }
    assert answers.pop("202") == ["Answer"]
    assert answers.pop("422") == ["Answer", "Refusal"]
    assert set(map(tuple, answers.values())) == {("Refusal",)}
    assert answers.keys() == {*("401", "403", "405", "413", "415", "429", "503")}


def _models(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the models that a schema refers to."""
    return [entry["$ref"].rpartition("/")[2] for entry in schema.get("anyOf", [schema])]


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
    installation: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    key = asyncio.run(new_key(installation))
    accepted = 0

    with Service("ingest", installation, reaper, tmp_path) as service:
        service.wait_ready()
        with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {key}"}) as http:

            @hypothesis_settings(max_examples=50, deadline=None, database=None)
            @given(
                st.binary(max_size=200)
                | (st.lists(_event_like(), max_size=5) | _event_like())
                .map(json.dumps)
                .map(str.encode)
            )
            def push(body: bytes) -> None:
                nonlocal accepted
                answer = http.post("/v1/events", content=body)
                entry = answer.json()
                assert answer.status_code in {202, 422}, answer.text
                if "detail" in entry:
                    assert answer.status_code == 422
                    return
                document = json.loads(body)
                events = document if isinstance(document, list) else [document]
                bad = {rejected["index"] for rejected in entry["rejected"]}
                assert entry["accepted"] + len(bad) == len(events)
                assert bad <= set(range(len(events)))
                assert answer.status_code == (202 if entry["accepted"] or not bad else 422)
                accepted += entry["accepted"]

            push()
            assert http.get("/readyz").status_code == 200
    assert len(asyncio.run(fixes_in_kafka(installation))) == accepted > 0
