"""Dead letters: listed with reason and origin, replayed by the real command, and once only."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.kafka import Topics, client_options, create_topics, held
from infra.settings import Settings
from schemas.fix import Fix
from stream.worker.writer import Writer
from tests.processes import environment
from tests.stream_harness import RECEIVED_AT, Log, enter_municipality, message, open_pool

_START: Final = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)
_COMMAND_LIMIT_S: Final = 30.0
_KEY: Final = b"syddjurs/car-1"
_UNKNOWN: Final = "unknown-municipality"
"""Reason of a letter whose municipality is not entered."""


def report(count: int, vehicle_id: str = "syddjurs/car-1") -> list[Fix]:
    """Return fixes of a vehicle, a minute apart."""
    return [
        Fix(vehicle_id=vehicle_id, recorded_at=_START + timedelta(minutes=at), lat=56.3, lon=10.4)
        for at in range(count)
    ]


def fixes_topic(settings: Settings) -> str:
    return Topics.named(settings.kafka.topic_prefix).fixes


def dead_letters(settings: Settings, *words: str) -> str:
    """Run `fleetpulse dead-letters …` as an operator does; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "stream.cli", "dead-letters", *words],
        env=environment(settings, COLUMNS="80"),
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(table: str) -> list[list[str]]:
    """Return the rows of a printed table; a cell that was folded is put together again."""
    rows: list[list[str]] = []
    for line in table.splitlines():
        if not line.startswith("│"):
            continue
        cells = [cell.strip() for cell in line.strip("│").split("│")]
        if re.match(r"\d{4}-", cells[0]) or not rows:  # a row begins with its year
            rows.append(cells)
        else:
            rows[-1] = [above + below for above, below in zip(rows[-1], cells, strict=True)]
    return rows


def read(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        return connection.execute(query.encode()).fetchall()


def refuse(settings: Settings, *values: bytes) -> None:
    """Have a writer meet these messages, while nobody is entered, from where it was last time."""

    async def main() -> None:
        await create_topics(settings.kafka)
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            log = Log(fixes_topic(settings))
            for value in values:
                log.append(value, key=_KEY)
            writer = Writer(pool, Topics.named(settings.kafka.topic_prefix))
            await writer.write(log.since(await log.assign(writer)))

    asyncio.run(main())


def stream(settings: Settings) -> list[tuple[bytes, bytes]]:
    """Return key and value of all messages of the fix topic."""

    async def main() -> list[tuple[bytes, bytes]]:
        topic = fixes_topic(settings)
        places = [TopicPartition(topic, number) for number in range(settings.kafka.partitions)]
        holds = await held(settings.kafka, [(topic, place.partition) for place in places])
        found: list[tuple[bytes, bytes]] = []
        consumer = AIOKafkaConsumer(
            group_id=None, enable_auto_commit=False, **client_options(settings.kafka)
        )
        await consumer.start()
        try:
            consumer.assign(places)
            await consumer.seek_to_beginning()
            for place in places:
                while await consumer.position(place) < holds[topic, place.partition].end:
                    records = (await consumer.getmany(place, timeout_ms=500)).get(place, [])
                    found += [(record.key, record.value) for record in records]
        finally:
            await consumer.stop()
        return found

    return asyncio.run(main())


def test_the_list_names_reason_vehicle_and_origin_in_full_the_newest_first(
    settings: Settings,
) -> None:
    topic = fixes_topic(settings)
    messages = [message(report(1)), b"not json, and long: " + b"x" * 300]
    refuse(settings, *messages[:1])
    refuse(settings, *messages)
    second, first = rows_of(dead_letters(settings, "list"))
    assert first[0] < second[0]
    assert first[1:4] == [_UNKNOWN, "syddjurs/car-1", f"{topic}[0]@0"]
    assert "syddjurs" in first[4]
    assert second[1:4] == ["not-json", "", f"{topic}[0]@1"]
    (chosen,) = rows_of(dead_letters(settings, "list", "--reason", _UNKNOWN, "--limit", "1"))
    assert chosen[:4] == first[:4]


def test_a_letter_is_replayed_once_and_only_with_the_reason_asked_for(settings: Settings) -> None:
    fixes = report(2)
    refuse(settings, message(fixes), b"not json", b"[]")
    assert dead_letters(settings, "replay", "--reason", "not-json") == "replayed 1\n"
    assert stream(settings) == [(_KEY, b"not json")]
    assert dead_letters(settings, "replay") == "replayed 3\n"
    assert dead_letters(settings, "replay") == "replayed 0\n"
    assert sorted(stream(settings)) == sorted(
        (_KEY, value) for value in (b"not json", b"[]", *(message([one]) for one in fixes))
    )


def test_a_replay_ends_though_its_letters_come_back_at_once(settings: Settings) -> None:
    refuse(settings, message(report(250)))  # more than the command takes at once
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        # A worker that is quick: a letter is back before the command looks for the next.
        connection.execute(
            "CREATE FUNCTION come_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "INSERT INTO dead_letter (dead_letter_id, reason, detail, topic, partition, "
            "record_offset, message_value) VALUES (gen_random_uuid(), NEW.reason, NEW.detail, "
            "NEW.topic, NEW.partition, NEW.record_offset + 1000, NEW.message_value); "
            "RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE TRIGGER come_back AFTER UPDATE ON dead_letter "
            "FOR EACH ROW EXECUTE FUNCTION come_back()"
        )
    assert dead_letters(settings, "replay") == "replayed 250\n"
    assert len(stream(settings)) == 250
    assert read(settings, "SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL") == [(250,)]


def test_replayed_letters_become_rows_once_their_fault_is_mended(settings: Settings) -> None:
    fixes = report(3)
    topics = Topics.named(settings.kafka.topic_prefix)

    async def scenario() -> None:
        await create_topics(settings.kafka)
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            log = Log(topics.fixes)
            writer = Writer(pool, topics)  # the same before and after, as in a worker that runs on

            async def write(value: bytes, key: bytes) -> None:
                log.append(value, key=key)
                await writer.write(log.since(starts)[-1:])

            log.records[0] = []
            starts = await log.assign(writer)
            await write(message(fixes), _KEY)
            assert read(settings, "SELECT reason FROM dead_letter") == [(_UNKNOWN,)] * len(fixes)
            assert read(settings, "SELECT 1 FROM fix") == []

            await enter_municipality(pool)
            said = await asyncio.to_thread(dead_letters, settings, "replay")
            assert said == f"replayed {len(fixes)}\n"
            for key, value in await asyncio.to_thread(stream, settings):
                await write(value, key)

    asyncio.run(scenario())
    assert read(
        settings, "SELECT vehicle_id, recorded_at, received_at FROM fix ORDER BY recorded_at"
    ) == [(one.vehicle_id, one.recorded_at, RECEIVED_AT) for one in fixes]
    assert read(settings, "SELECT started_at, ended_at FROM segment") == [
        (fixes[0].recorded_at, fixes[-1].recorded_at)
    ]
    assert read(settings, "SELECT replayed_at IS NOT NULL FROM dead_letter") == [(True,)] * 3
