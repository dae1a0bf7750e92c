"""History at the gateway's door: who may declare a range of it, how, and what Kafka has then."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import httpx
import pytest

from infra.settings import Settings
from schemas.history import HistoryRange
from stream.ingest.history import HEADER
from tests.integration.ingest_door import Door, door, event, messages, new_key

SPRING = "2024-03-01/2024-05-31T23:59:59+02:00"
SPRING_RANGE = HistoryRange(
    datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 5, 31, 21, 59, 59, tzinfo=UTC)
)


async def _push(gateway: Door, history: str, *vehicle_ids: str) -> httpx.Response:
    return await gateway.http.post(
        "/v1/events",
        content=json.dumps([event(vehicle_id) for vehicle_id in vehicle_ids]).encode(),
        headers={"Authorization": f"Bearer {gateway.key}", HEADER: history},
    )


def test_a_declared_range_travels_in_the_envelope_and_is_not_mixed_with_live_fixes(
    installation: Settings,
) -> None:
    patient = installation.model_copy(update={"coalesce_ms": 50.0})

    async def scenario() -> None:
        key = await new_key(installation, history=True)
        async with door(patient, key) as gateway:
            live, spring, summer = await asyncio.gather(
                gateway.push([event("car-1")]),
                _push(gateway, SPRING, "car-1", "car-2"),
                _push(gateway, "2024-06-01/2024-06-30", "car-1"),
            )
        assert [live.status_code, spring.status_code, summer.status_code] == [202] * 3
        declared = {
            (one.history, report.vehicle_id)
            for one in await messages(installation)
            for report in one.fixes
        }
        june = HistoryRange(datetime(2024, 6, 1, tzinfo=UTC), datetime(2024, 6, 30, tzinfo=UTC))
        assert declared == {
            (None, "syddjurs/car-1"),
            (SPRING_RANGE, "syddjurs/car-1"),
            (SPRING_RANGE, "syddjurs/car-2"),
            (june, "syddjurs/car-1"),
        }

    asyncio.run(scenario())


def test_a_key_without_permission_is_told_how_to_get_it(installation: Settings) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            answer = await _push(gateway, SPRING, "car-1")
            assert answer.status_code == 403
            assert "2024-03-01T00:00:00+00:00/2024-05-31T21:59:59+00:00" in answer.json()["detail"]
            assert "fleetpulse key create ... --history" in answer.json()["detail"]
        assert await messages(installation) == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "Invalid isoformat string: ''"),
        ("2024-01-01", "Invalid isoformat string: ''"),
        ("2024-01-01/soon", "soon"),
        ("2024-01-01T00:00:00/2024-06-30", "no offset from UTC"),
        ("2024-06-30/2024-01-01", "ends before it begins"),
        ("0001-01-01T00:00:00+01:00/2024-01-01", "0001"),
        ("2024-01-01/P3M", "P3M"),
    ],
)
def test_a_header_that_is_no_range_is_told(installation: Settings, value: str, why: str) -> None:
    async def scenario() -> None:
        async with door(installation, await new_key(installation, history=True)) as gateway:
            answer = await _push(gateway, value, "car-1")
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith(f"{HEADER}: ")
        assert why in answer.json()["detail"]

    asyncio.run(scenario())


def test_the_documentation_tells_of_the_header(installation: Settings) -> None:
    async def scenario() -> None:
        async with door(installation) as gateway:
            push = (await gateway.http.get("/openapi.json")).json()["paths"]["/v1/events"]["post"]
        assert [one["name"] for one in push["parameters"]] == [HEADER]
        assert "403" in push["responses"]

    asyncio.run(scenario())
