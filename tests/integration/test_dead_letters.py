"""Dead letters: listed with reason and origin, replayed by the real command, and once only."""

from __future__ import annotations

import asyncio
import base64
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.kafka.client import Topics, client_options, create_topics, read_watermarks
from infra.settings import Settings, as_environment
from schemas.events.fix import Fix
from stream.worker.write.writer import Writer
from tests.processes import command
from tests.stream_harness import RECEIVED_AT, Log, enter_municipality, fetch, message, open_pool

_START: Final = datetime(2026, 2, 2, 5, 0, tzinfo=UTC)
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


def run(settings: Settings, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run `fleetpulse dead-letters …` as an operator does, who answers what it asks."""
    return command("dead-letters", *words, stdin=answer, **as_environment(settings), COLUMNS="80")


def dead_letters(settings: Settings, *words: str) -> str:
    """Run it to its end without a fault; return what it prints."""
    done = run(settings, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def words_of(boxed: str) -> str:
    """Return what is said in a box of a terminal, in one line."""
    return " ".join(boxed.replace("│", " ").split())


def ids(settings: Settings, where: str = "true") -> list[str]:
    """Return the ids of letters, the oldest first."""
    query = f"SELECT dead_letter_id FROM dead_letter WHERE {where} ORDER BY created_at, 1"
    return [str(row[0]) for row in read(settings, query)]


def prune(settings: Settings) -> None:
    """Run `fleetpulse prune`."""
    done = command("prune", **as_environment(settings))
    assert done.returncode == 0, done.stderr


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
        holds = await read_watermarks(
            settings.kafka, [(topic, place.partition) for place in places]
        )
        entries: list[tuple[bytes, bytes]] = []
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
                    entries += [(record.key, record.value) for record in records]
        finally:
            await consumer.stop()
        return entries

    return asyncio.run(main())


def test_the_list_names_reason_vehicle_vendor_and_origin_in_full_the_newest_first(
    settings: Settings,
) -> None:
    topic = fixes_topic(settings)
    messages = [message(report(1), vendor="trackit"), b"not json, and long: " + b"x" * 300]
    refuse(settings, *messages[:1])
    refuse(settings, *messages)
    first_id, second_id = (name[:8] for name in ids(settings))
    lines = dead_letters(settings, "list").splitlines()
    assert max(map(len, lines)) <= 80
    whole = " ".join(" ".join(lines).split())
    assert whole.index(second_id) < whole.index(first_id)
    assert f"vehicle not known, vendor not known, {topic}[0]@1" in whole
    assert f"syddjurs/car-1, vendor trackit, {topic}[0]@0, fix 0" in whole
    assert "no municipality syddjurs is entered" in whole
    assert [line.split()[-1] for line in lines if not line.startswith(" ")] == [
        "not-json",
        _UNKNOWN,
    ]


def test_a_list_is_of_one_reason_vendor_vehicle_municipality_or_time(settings: Settings) -> None:
    refuse(
        settings,
        message(report(1), vendor="trackit"),
        message(report(1, "roskilde/v-2"), vendor="webtrack"),
        b"not json",
        b'{"municipality_id": "roskilde", "vendor": "webtrack", '
        b'"received_at": "2026-02-02T05:00:00Z", "fixes": [{"vehicle_id": 7}]}',
    )
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(
            "UPDATE dead_letter SET created_at = '2026-01-01' WHERE reason = 'not-json'"
        )
    for option, value, where in (
        ("--reason", _UNKNOWN, f"reason = '{_UNKNOWN}'"),
        ("--vendor", "webtrack", "vendor = 'webtrack'"),
        ("--vehicle", "roskilde/v-2", "vehicle_id = 'roskilde/v-2'"),
        ("--municipality", "roskilde", "municipality_id = 'roskilde'"),
        ("--since", "2026-01-02T00:00:00Z", "reason <> 'not-json'"),
    ):
        expected = {name[:8] for name in ids(settings, where)}
        assert 0 < len(expected) < 4, option
        lines = dead_letters(settings, "list", option, value).splitlines()
        assert {line[:8] for line in lines if not line.startswith(" ")} == expected, option
    summary = dead_letters(settings, "list", "--summary").splitlines()
    assert max(map(len, summary)) <= 80
    cells = [line.split() for line in summary]
    assert [cell[:3] for cell in cells if cell[:1] == [_UNKNOWN]] == [
        [_UNKNOWN, "trackit", "1"],
        [_UNKNOWN, "webtrack", "1"],
    ]
    assert ["bad-fix", "webtrack", "1"] in [cell[:3] for cell in cells]
    assert ["not-json", "not", "known", "1", "2026-01-01"] in [cell[:5] for cell in cells]
    assert cells[-1][0] == "4"
    assert "no dead letter waits" in dead_letters(settings, "list", "--vendor", "nobody")
    refused = run(settings, "list", "--reason", "no-such")
    assert refused.returncode == 2


def test_a_letter_is_shown_whole_with_the_message_as_it_came(settings: Settings) -> None:
    text = '{"vehicle_id": "æ", "note": "' + "long " * 60 + '"}'
    binary, steering = b"\xff\xfe\x00", b'"\x1b[2J"'
    refuse(settings, text.encode(), binary, steering)
    shown = dict(
        zip(
            (row[0] for row in read(settings, "SELECT message_value FROM dead_letter")),
            (
                dead_letters(settings, "show", str(row[0])[:12])
                for row in read(settings, "SELECT dead_letter_id FROM dead_letter")
            ),
            strict=True,
        )
    )
    topic = fixes_topic(settings)
    assert text in shown[text.encode()]
    assert "UTF-8" in shown[text.encode()]
    for value in (binary, steering):  # a terminal must not obey what a vendor sends
        assert base64.b64encode(value).decode() in shown[value]
        assert "base64" in shown[value]
        assert "\x1b" not in shown[value]
    whole = shown[binary]
    assert f"{topic}[0]@1" in whole
    assert "not-json, see docs/dead-letters.md" in whole
    assert "syddjurs/car-1" in whole  # its key
    assert ids(settings, "reason = 'not-json'")[0] in "".join(shown.values())
    missing = run(settings, "show", "0000aaaa")
    assert missing.returncode == 2
    assert "no letter" in words_of(missing.stderr)


def test_an_id_that_begins_alike_is_told_from_others_or_refused(settings: Settings) -> None:
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        for last in "ab":
            connection.execute(
                "INSERT INTO dead_letter (dead_letter_id, reason, detail, topic, partition, "
                "record_offset, message_value) VALUES (%s, 'empty', 'd', 't', 0, 0, '')",
                [f"01234567-89ab-4def-8123-45678901234{last}"],
            )
    refused = run(settings, "discard", "01234567-89ab")
    assert refused.returncode == 2
    assert "more than one" in words_of(refused.stderr)
    assert run(settings, "show", "012").returncode == 2
    assert run(settings, "show", "vehicle").returncode == 2
    assert dead_letters(settings, "discard", "01234567-89ab-4def-8123-45678901234A", "--by", "me")
    assert read(settings, "SELECT count(*) FROM dead_letter WHERE discarded_by = 'me'") == [(1,)]


def test_a_letter_is_replayed_once_and_only_with_the_reason_asked_for(settings: Settings) -> None:
    fixes = report(2)
    refuse(settings, message(fixes), b"not json", b"[]")
    assert run(settings, "replay", answer="n\n").returncode == 1
    assert run(settings, "replay").returncode == 1  # nobody answers
    assert stream(settings) == []
    agreed = run(settings, "replay", "--reason", "not-json", answer="y\n")
    assert agreed.returncode == 0
    assert agreed.stdout == "replay 1 letter? [y/N]: replayed 1\n"
    assert stream(settings) == [(_KEY, b"not json")]
    assert dead_letters(settings, "replay", "--yes") == "replayed 3\n"
    assert dead_letters(settings, "replay", "--yes") == "replayed 0\n"
    assert sorted(stream(settings)) == sorted(
        (_KEY, value) for value in (b"not json", b"[]", *(message([fix]) for fix in fixes))
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
    assert dead_letters(settings, "replay", "--yes") == "replayed 250\n"
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
            text = await asyncio.to_thread(dead_letters, settings, "replay", "--yes")
            assert text == f"replayed {len(fixes)}\n"
            for key, value in await asyncio.to_thread(stream, settings):
                await write(value, key)

    asyncio.run(scenario())
    assert read(
        settings, "SELECT vehicle_id, recorded_at, received_at FROM fix ORDER BY recorded_at"
    ) == [(fix.vehicle_id, fix.recorded_at, RECEIVED_AT) for fix in fixes]
    assert read(settings, "SELECT started_at, ended_at FROM segment") == [
        (fixes[0].recorded_at, fixes[-1].recorded_at)
    ]
    assert read(settings, "SELECT replayed_at IS NOT NULL FROM dead_letter") == [(True,)] * 3


def test_a_discarded_letter_keeps_its_row_for_thirty_days_and_can_be_replayed_till_then(
    settings: Settings,
) -> None:
    refuse(settings, message(report(2)), b"not json")
    (unread,) = ids(settings, "reason = 'not-json'")
    assert run(settings, "discard").returncode == 2  # all at once is never meant
    assert run(settings, "discard", unread, "--reason", "not-json").returncode == 2
    assert run(settings, "discard", "--reason", _UNKNOWN, answer="n\n").returncode == 1
    assert read(settings, "SELECT 1 FROM dead_letter WHERE discarded_at IS NOT NULL") == []
    words = ("discard", "--reason", _UNKNOWN, "--by", "a coordinator", "--yes")
    assert dead_letters(settings, *words) == "discarded 2 by a coordinator\n"
    assert dead_letters(settings, *words) == "discarded 0 by a coordinator\n"
    assert dead_letters(settings, "discard", unread[:8], "--by", "me").startswith("discarded ")
    again = run(settings, "discard", unread)
    assert again.returncode == 2
    assert "discarded by me already" in words_of(again.stderr)
    assert "no dead letter waits" in dead_letters(settings, "list")
    assert "by a coordinator" in dead_letters(settings, "list", "--all")
    assert dead_letters(settings, "replay", "--yes") == "replayed 0\n"
    prune(settings)
    assert len(ids(settings)) == 3
    assert dead_letters(settings, "replay", unread[:8]) == f"replayed {unread}\n"
    assert stream(settings) == [(_KEY, b"not json")]
    assert ids(settings, "replayed_at IS NOT NULL AND discarded_at IS NULL") == [unread]
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(
            "UPDATE dead_letter SET discarded_at = now() - INTERVAL '31 days' "
            "WHERE discarded_at IS NOT NULL"
        )
    prune(settings)
    assert ids(settings) == [unread]
    assert "replayed already" in words_of(run(settings, "discard", unread).stderr)
    assert dead_letters(settings, "replay", unread) == f"replayed {unread}\n"  # once more


def test_a_letter_that_the_broker_refuses_stays_open_and_holds_up_no_other(
    settings: Settings,
) -> None:
    refuse(settings, *(b"not json %d" % number for number in range(3)))
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute(
            "UPDATE dead_letter SET message_value = decode(repeat('78', 17000000), 'hex') "
            "WHERE record_offset = 1"
        )
    done = run(settings, "replay", "--yes")
    assert done.stdout == "replayed 2\n"
    assert done.returncode == 1
    (refused,) = ids(settings, "replayed_at IS NULL")
    assert f"{refused} stays open, the broker refuses it" in done.stderr
    assert sorted(value for _, value in stream(settings)) == [b"not json 0", b"not json 2"]


def test_a_replayed_letter_of_a_foreign_vehicle_is_refused_again(settings: Settings) -> None:
    fixes = [*report(1), *report(1, "roskilde/v-2")]

    async def scenario() -> None:
        topics = Topics.named(settings.kafka.topic_prefix)
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            for municipality_id in ("syddjurs", "roskilde"):
                await enter_municipality(pool, municipality_id)
            log = Log(topics.fixes)
            log.append(message(fixes))
            writer = Writer(pool, topics)
            await writer.write(log.since(await log.assign(writer)))
            letters = "SELECT message_value FROM dead_letter"
            for value in await fetch(pool, letters):
                log.append(value[0])
            await writer.write(log.records[0])

    asyncio.run(scenario())
    assert (
        read(settings, "SELECT reason, municipality_id, vehicle_id FROM dead_letter")
        == [("foreign-vehicle", "syddjurs", "roskilde/v-2")] * 2
    )
    assert read(settings, "SELECT vehicle_id FROM fix") == [("syddjurs/car-1",)]
