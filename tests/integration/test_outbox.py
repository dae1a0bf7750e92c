"""The relay on real brokers and a real database: what transactions left goes out, at least once."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import REGISTRY
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb
from structlog.testing import capture_logs

from infra.database.connection.pool import Pool
from infra.database.stream.outbox import take_unpublished
from infra.database.stream.progress import put_outbox
from infra.embedded.process import free_port
from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker
from infra.kafka.client import (
    Topics,
    client_options,
    create_topics,
    producer_options,
    read_watermarks,
)
from infra.settings import Settings
from schemas.events.outgoing import DeadLetter
from stream.relay import publish_once, relay
from stream.worker.write.writer import Writer
from tests.apache_kafka.broker import ApacheKafka
from tests.processes import process_of_broker, until, with_broker
from tests.stream_harness import Log, fetch, open_pool

_PORTION: Final = 500
"""As many messages as the relay takes at once."""
Sent = tuple[str, dict[str, Any], str]
"""A message as a listener sees it: key, payload, and the header `event-id`."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Pool]:
    """Yield a pool on the database of an installation whose topics are there."""
    await create_topics(settings.kafka)
    async with open_pool(settings.database_url.get_secret_value()) as pool:
        yield pool


@asynccontextmanager
async def producing(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer like the relay's."""
    async with AIOKafkaProducer(**producer_options(settings.kafka)) as producer:
        yield producer


@asynccontextmanager
async def relaying(
    pool: Pool, settings: Settings, *, stop_limit_s: float = 15.0
) -> AsyncIterator[None]:
    """Run a relay; at the end it is told to stop, and must, in good order."""
    stop = asyncio.Event()
    task = asyncio.create_task(relay(pool, settings.kafka, stop))
    try:
        yield
        assert not task.done(), "the relay ended before it was told to"
    finally:
        stop.set()
        async with asyncio.timeout(stop_limit_s):
            await task


async def queue(pool: Pool, topic: str, count: int, *, first: int = 0) -> list[Sent]:
    """Leave messages in the outbox, as a transaction of the worker does; return them."""
    left = [
        (uuid.uuid4(), topic, f"syddjurs/bil-{number % 7}", {"number": number, "text": "Ærø\u2028"})
        for number in range(first, first + count)
    ]
    async with pool.connection() as connection:
        await put_outbox(connection, left)
    return [(key, payload, str(message_id)) for message_id, _, key, payload in left]


async def records(settings: Settings, topic: str) -> list[Sent]:
    """Return all that a topic of one partition holds, in order."""
    place = TopicPartition(topic, 0)
    end = (await read_watermarks(settings.kafka, [(topic, 0)]))[topic, 0].end
    consumer = AIOKafkaConsumer(
        group_id=None, enable_auto_commit=False, **client_options(settings.kafka)
    )
    await consumer.start()
    sents: list[Sent] = []
    try:
        consumer.assign([place])
        await consumer.seek_to_beginning()
        while await consumer.position(place) < end:
            for record in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                headers = dict(record.headers)
                assert headers.keys() == {"event-id"}
                sents.append(
                    (
                        record.key.decode(),
                        json.loads(record.value),
                        headers["event-id"].decode(),
                    )
                )
    finally:
        await consumer.stop()
    return sents


async def waiting(pool: Pool) -> int:
    """Return how many messages are not marked as published."""
    ((count,),) = await fetch(pool, "SELECT count(*) FROM outbox WHERE published_at IS NULL")
    return int(count)


async def in_hand(pool: Pool) -> bool:
    """Return whether a relay has taken messages and waits for the broker.

    Without a look at the rows, which would lock them: the relay would pass them by.
    """
    ((count,),) = await fetch(
        pool,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state = 'idle in transaction' AND query LIKE 'SELECT message_id%payload FROM outbox%'",
    )
    return bool(count) and bool(await waiting(pool))


def test_messages_reach_their_topics_in_order_and_are_marked(settings: Settings) -> None:
    topics = Topics.named(settings.kafka.topic_prefix)

    async def scenario() -> None:
        async with opened(settings) as pool, producing(settings) as producer:
            trips = await queue(pool, topics.trips, 60)
            plans = await queue(pool, topics.plans, 3)
            trips += await queue(pool, topics.trips, _PORTION, first=60)
            assert await publish_once(pool, producer) == _PORTION
            assert await waiting(pool) == 63
            assert await publish_once(pool, producer) == 63
            assert await publish_once(pool, producer) == 0
            assert await waiting(pool) == 0
        assert await records(settings, topics.trips) == trips
        assert await records(settings, topics.plans) == plans
        assert await records(settings, topics.round_trips) == []

    asyncio.run(scenario())


def test_what_a_crash_before_the_commit_left_is_sent_again_with_the_same_id(
    settings: Settings,
) -> None:
    topic = Topics.named(settings.kafka.topic_prefix).trips

    async def scenario() -> None:
        async with opened(settings) as pool, producing(settings) as producer:
            sent = await queue(pool, topic, 5)
            async with pool.connection() as connection:
                # Fails at the commit, which comes when the broker has acknowledged everything.
                await connection.execute(
                    "CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN RAISE 'crashed before the commit'; END $$"
                )
                await connection.execute(
                    "CREATE CONSTRAINT TRIGGER crash AFTER UPDATE ON outbox "
                    "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION crash()"
                )
            with pytest.raises(psycopg.errors.RaiseException, match="crashed before the commit"):
                await publish_once(pool, producer)
            assert await records(settings, topic) == sent
            assert await waiting(pool) == len(sent)
            async with pool.connection() as connection:
                await connection.execute("DROP TRIGGER crash ON outbox")
            assert await publish_once(pool, producer) == len(sent)
            assert await waiting(pool) == 0
        assert await records(settings, topic) == sent * 2

    asyncio.run(scenario())


def test_a_relay_passes_by_what_another_has_in_hand_and_takes_it_when_that_one_dies(
    settings: Settings,
) -> None:
    topic = Topics.named(settings.kafka.topic_prefix).trips

    async def scenario() -> None:
        async with opened(settings) as pool, producing(settings) as producer:
            sent = await queue(pool, topic, 10)
            async with pool.connection() as other:
                assert len(await take_unpublished(other, 4)) == 4
                assert await publish_once(pool, producer) == 6
                assert await publish_once(pool, producer) == 0
                await other.rollback()
            assert await publish_once(pool, producer) == 4
        assert await records(settings, topic) == sent[4:] + sent[:4]

    asyncio.run(scenario())


def test_two_relays_side_by_side_publish_each_message_once(settings: Settings) -> None:
    topic = Topics.named(settings.kafka.topic_prefix).trips

    async def scenario() -> None:
        async with opened(settings) as pool:
            sent = await queue(pool, topic, 2 * _PORTION)  # enough to begin with for both
            async with relaying(pool, settings), relaying(pool, settings):
                for first in range(2 * _PORTION, 2_000, 100):
                    sent += await queue(pool, topic, 100, first=first)

                async def empty() -> bool:
                    return not await waiting(pool)

                await until(empty, "all are published")
        published = await records(settings, topic)
        assert Counter(message_id for _, _, message_id in published) == Counter(
            message_id for _, _, message_id in sent
        )
        assert sorted(published, key=number) == sent

    asyncio.run(scenario())


def number(message: Sent) -> int:
    return int(message[1]["number"])


def test_a_dead_letter_too_long_for_a_message_holds_up_nothing(settings: Settings) -> None:
    topics = Topics.named(settings.kafka.topic_prefix)
    too_long = b"\xff" * 900_000  # base64 makes a third more of it

    async def scenario() -> None:
        async with opened(settings) as pool:
            log = Log(topics.fixes)
            log.append(too_long, key=b"k")
            log.append(b"short")
            writer = Writer(pool, topics)
            await writer.write(log.since(await log.assign(writer)))
            others = await queue(pool, topics.trips, 3)
            async with relaying(pool, settings):

                async def empty() -> bool:
                    return not await waiting(pool)

                await until(empty, "all are published", limit_s=8)
            assert await records(settings, topics.trips) == others
            letters = [
                DeadLetter.model_validate(payload)
                for _, payload, _ in await records(settings, topics.dead_letters)
            ]
            assert [(letter.reason, letter.offset) for letter in letters] == [
                ("not-json", 0),
                ("not-json", 1),
            ]
            assert letters[0].message_value == ""
            assert "table dead_letter" in letters[0].detail
            assert letters[1].message_value == "c2hvcnQ="
            assert await fetch(
                pool, "SELECT message_value FROM dead_letter ORDER BY record_offset"
            ) == [(too_long,), (b"short",)]

    asyncio.run(scenario())


def test_a_relay_waits_while_the_broker_is_away_and_goes_on(
    database_url: str, reaper: Reaper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr("infra.embedded.tansu.free_port", lambda: port)
    settings = with_broker(database_url, f"127.0.0.1:{port}", idempotence=False)
    topic = Topics.named(settings.kafka.topic_prefix).trips

    async def scenario(stack: ExitStack) -> None:
        async with open_pool(database_url) as pool:

            async def empty() -> bool:
                return not await waiting(pool)

            first = await queue(pool, topic, 3)
            with capture_logs() as logs:
                async with relaying(pool, settings):

                    async def complained() -> bool:
                        return any(log["event"] == "outbox waits" for log in logs)

                    await until(complained, "the relay finds no broker")
                    assert await waiting(pool) == 3
                    stack.callback((await asyncio.to_thread(EmbeddedBroker, tmp_path, reaper)).stop)
                    await create_topics(settings.kafka)
                    await until(empty, "the relay finds the broker")
                    assert await records(settings, topic) == first

                    broker = process_of_broker(settings)
                    broker.suspend()
                    second = await queue(pool, topic, 3, first=3)
                    await until(partial(in_hand, pool), "the relay tries to publish")
                    assert await waiting(pool) == 3
                    broker.resume()
                    await until(empty, "the relay goes on")
        published = await records(settings, topic)
        assert published == first + second

    with ExitStack() as stack:
        asyncio.run(scenario(stack))


def test_a_relay_stops_when_told_though_the_broker_is_away(
    mortal: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.relay.STOP_LIMIT_S", 1.0)
    topic = Topics.named(mortal.kafka.topic_prefix).trips

    async def scenario() -> None:
        async with opened(mortal) as pool:

            async def published() -> bool:
                return not await waiting(pool)

            await queue(pool, topic, 1)
            async with relaying(pool, mortal, stop_limit_s=6):
                await until(published, "the relay works")
                process_of_broker(mortal).kill()
                await queue(pool, topic, 2, first=1)
                await until(partial(in_hand, pool), "the relay tries to publish")
            assert await waiting(pool) == 2
            async with pool.connection() as connection:
                assert len(await take_unpublished(connection, 5)) == 2, "still locked"

    asyncio.run(scenario())


def test_a_relay_that_loses_its_database_waits_and_goes_on(settings: Settings) -> None:
    topic = Topics.named(settings.kafka.topic_prefix).trips
    url = make_conninfo(
        settings.database_url.get_secret_value(), application_name="the relay under test"
    )

    async def scenario() -> None:
        async with opened(settings) as other, open_pool(url) as pool:
            await pool.wait()

            async def published() -> bool:
                return not await waiting(other)

            with capture_logs() as logs:
                async with relaying(pool, settings):
                    sent = await queue(other, topic, 3)
                    await until(published, "the relay works")
                    async with other.connection() as connection:
                        await connection.execute(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE datname = current_database() "
                            "AND application_name = 'the relay under test'"
                        )
                    sent += await queue(other, topic, 3, first=3)
                    await until(published, "the relay goes on")
            assert {log["event"] for log in logs} == {"outbox waits"}
        assert await records(settings, topic) == sent

    asyncio.run(scenario())


def large_plan(size: int) -> dict[str, Any]:
    """Return a document like a plan's of a town with very many vehicles."""
    placement = {f"syddjurs/{number}": "syddjurs/town-hall" for number in range(size)}
    return {
        "type": "placement-plan",
        "plan_id": str(uuid.uuid4()),
        "municipality_id": "syddjurs",
        "status": "optimal",
        "placement": placement,
        "vehicle_ids": sorted(placement),
        "explanation": "in words",
    }


async def leave(pool: Pool, topic: str, payload: dict[str, Any]) -> uuid.UUID:
    """Leave a message in the outbox as it is, as an older version of us did; return its id."""
    message_id = uuid.uuid4()
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO outbox (message_id, topic, key, payload) VALUES (%s, %s, 'k', %s)",
            [message_id, topic, Jsonb(payload)],
        )
    return message_id


@pytest.mark.parametrize("written", ["by us", "by an older version"])
def test_a_plan_too_long_for_a_message_is_shortened_and_holds_up_nothing(
    settings: Settings, written: str
) -> None:
    topics = Topics.named(settings.kafka.topic_prefix)
    plan = large_plan(40_000)
    assert len(json.dumps(plan)) > 2**21

    async def scenario() -> None:
        async with opened(settings) as pool:
            if written == "by us":
                async with pool.connection() as connection:
                    await put_outbox(connection, [(uuid.uuid4(), topics.plans, "syddjurs", plan)])
                ((length,),) = await fetch(pool, "SELECT length(payload::text) FROM outbox")
                assert length < 2**20
            else:
                await leave(pool, topics.plans, plan)
            others = await queue(pool, topics.trips, 3)
            async with relaying(pool, settings):

                async def empty() -> bool:
                    return not await waiting(pool)

                await until(empty, "all are published", limit_s=8)
            assert await records(settings, topics.trips) == others
            ((_, payload, _),) = await records(settings, topics.plans)
            assert payload["plan_id"] == plan["plan_id"]
            assert payload["vehicle_ids"] == plan["vehicle_ids"]
            assert payload["explanation"] == plan["explanation"]
            assert payload["left_out"] == ["placement"]
            assert "table plan" in payload["left_out_reason"]

    asyncio.run(scenario())


async def tried_by_themselves(pool: Pool, ids: set[uuid.UUID]) -> None:
    """Wait until these messages, and no others, were each refused by itself."""

    async def told() -> bool:
        apart = await fetch(
            pool,
            "SELECT message_id FROM outbox WHERE published_at IS NULL AND attempts > 0 "
            "AND refusal <> '' AND retry_at > now()",
        )
        return {entry for (entry,) in apart} == ids

    await until(told, "each was tried by itself", limit_s=40)


def test_what_kafka_refuses_by_itself_is_set_apart(settings: Settings) -> None:
    """A topic that cannot be, and good messages behind it."""
    topics = Topics.named(settings.kafka.topic_prefix)

    async def scenario() -> None:
        async with opened(settings) as pool:
            bad = {await leave(pool, "no/such topic", {"n": n}) for n in range(3)}
            others = await queue(pool, topics.trips, 3)
            before = refused("no/such topic")
            async with relaying(pool, settings):

                async def behind() -> bool:
                    return await waiting(pool) == len(bad)

                await until(behind, "the others are published")
                others += await queue(pool, topics.trips, 3, first=3)
                await until(behind, "so are those that come later")
                await tried_by_themselves(pool, bad)
            assert refused("no/such topic") >= before + 3
            assert await records(settings, topics.trips) == others

    asyncio.run(scenario())


def refused(topic: str) -> float:
    """Return how often Kafka has refused a message of a topic sent by itself."""
    name = "fleetpulse_outbox_refused_total"
    return REGISTRY.get_sample_value(name, {"topic": topic}) or 0.0


@pytest.mark.kafka
def test_what_was_refused_goes_out_when_it_may(
    database_url: str, apache_kafka: ApacheKafka
) -> None:
    """Its topic was not there; the embedded broker would have made it."""
    settings = with_broker(database_url, apache_kafka.bootstrap_servers, idempotence=True)
    topics = Topics.named(settings.kafka.topic_prefix)
    missing = f"{topics.trips}.missing"

    async def scenario() -> None:
        async with opened(settings) as pool:
            bad = await leave(pool, missing, {"n": 2})
            others = await queue(pool, topics.trips, 3)
            async with relaying(pool, settings):
                await tried_by_themselves(pool, {bad})
                assert await waiting(pool) == 1
                admin = AIOKafkaAdminClient(**client_options(settings.kafka))
                await admin.start()
                await admin.create_topics([NewTopic(missing, 1, 1)])
                await admin.close()

                async def over() -> bool:
                    return not await waiting(pool)

                await until(over, "what may be published now is", limit_s=60)
            assert await records(settings, topics.trips) == others
            ((_, payload, _),) = await records(settings, missing)
            assert payload == {"n": 2}

    asyncio.run(scenario())


@pytest.mark.kafka
def test_what_is_too_long_for_its_topic_is_set_apart_alone(
    database_url: str, apache_kafka: ApacheKafka
) -> None:
    """The broker refuses a batch for one of its messages: the others of it go out."""
    settings = with_broker(database_url, apache_kafka.bootstrap_servers, idempotence=True)
    topics = Topics.named(settings.kafka.topic_prefix)

    async def scenario() -> None:
        admin = AIOKafkaAdminClient(**client_options(settings.kafka))
        await admin.start()
        narrow = {"max.message.bytes": "2000"}
        await admin.create_topics([NewTopic(topics.trips, 1, 1, topic_configs=narrow)])
        await admin.close()
        async with opened(settings) as pool:
            sent = await queue(pool, topics.trips, 30)
            bad = await leave(pool, topics.trips, {"text": "x" * 3000})
            sent += await queue(pool, topics.trips, 30, first=30)
            others = await queue(pool, topics.plans, 3)
            async with relaying(pool, settings):

                async def behind() -> bool:
                    return await waiting(pool) == 1

                await until(behind, "the others are published", limit_s=40)
            assert await fetch(
                pool, "SELECT message_id FROM outbox WHERE published_at IS NULL AND refusal <> ''"
            ) == [(bad,)]
            published = await records(settings, topics.trips)
            assert {entry[2] for entry in published} == {entry[2] for entry in sent}
            assert await records(settings, topics.plans) == others

    asyncio.run(scenario())
