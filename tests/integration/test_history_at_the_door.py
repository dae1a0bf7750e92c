"""History at the gateway's door: who may declare a range of it, how, and what Kafka has then."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from infra.settings import Settings
from schemas.events.history import HEADER, HistoryRange
from stream.history_header import range_to_declare
from stream.ingest_client import KeyRefusedError, VendorClient
from stream.replay.mapping import load_mapping
from stream.replay.push import push_files
from tests.integration.ingest_door import Door, door, event, messages, new_key
from tests.processes import command

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
    patient = installation.model_copy(update={"linger_ms": 50.0})

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
            (message.history, report.vehicle_id)
            for message in await messages(installation)
            for report in message.fixes
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
            push = (await gateway.admin.get("/openapi.json")).json()["paths"]["/v1/events"]["post"]
        assert HEADER in [entry["name"] for entry in push["parameters"]]
        assert "403" in push["responses"]

    asyncio.run(scenario())


def test_recorded_files_declare_the_range_that_they_reach_back_to(
    installation: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "recorded.csv"
    path.write_text(
        "vehicle_id,recorded_at,lat,lon\n"
        "cab-1,2008-05-17T08:00:00Z,37.75,-122.4\n"
        "cab-1,2008-06-10T08:00:00Z,37.75,-122.4\n"
    )
    june = HistoryRange(datetime(2008, 6, 1, tzinfo=UTC), datetime(2008, 6, 30, tzinfo=UTC))
    whole = HistoryRange(datetime(2008, 5, 17, 8, tzinfo=UTC), datetime(2008, 6, 10, 8, tzinfo=UTC))

    async def push(gateway: Door, history: HistoryRange | None = None) -> None:
        url = str(gateway.http.base_url)
        async with VendorClient(url, gateway.key) as client:
            result = await push_files([path], load_mapping(None), client, history=history)
        assert (result.accepted, result.rejected) == (2, 0)

    async def scenario() -> None:
        async with door(installation) as gateway:
            with pytest.raises(KeyRefusedError, match=r"403 .*fleetpulse key create \.\.\. --hist"):
                await push(gateway)
        async with door(installation, await new_key(installation, history=True)) as gateway:
            await push(gateway)
            await push(gateway, june)
        assert [message.history for message in await messages(installation)] == [whole, june]

    asyncio.run(scenario())


def test_recent_fixes_declare_nothing() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    recent = [now - timedelta(days=89), now]
    assert range_to_declare(recent, now) is None
    assert range_to_declare([], now) is None
    older = recent[0] - timedelta(microseconds=1)
    assert range_to_declare([now, older], now) == HistoryRange(older, now)


def test_keys_are_made_and_listed_with_what_they_allow(installation: Settings) -> None:
    address = {"FLEETPULSE_DATABASE_URL": installation.database_url.get_secret_value()}
    for vendor, options in (("live-co", ()), ("recorder", ("--history",))):
        assert command("key", "create", "syddjurs", vendor, *options, **address).returncode == 0
    listed = command("key", "list", **address).stdout
    allowed = {
        cells[3]: cells[4] for line in listed.splitlines() if len(cells := line.split("│")) > 5
    }
    assert {vendor.strip(): may.strip() for vendor, may in allowed.items()} == {
        "live-co": "no",
        "recorder": "yes",
    }
