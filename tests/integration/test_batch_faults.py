"""A batch that fails again and again: split until the culprit is alone, if it is the culprit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as producer_module
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from structlog.testing import capture_logs

from infra.database.connection.pool import Pool
from infra.database.stream.progress import Partition
from infra.embedded.reaper import Reaper
from infra.kafka.client import Topics, Watermarks, client_options, create_topics, read_watermarks
from infra.settings import Settings
from schemas.events.fix import Fix
from stream.worker.app import Health
from stream.worker.decode.records import Record
from stream.worker.write import commit as commit_module
from stream.worker.write import session_keepalive
from stream.worker.write.commit import Committer
from stream.worker.write.offsets import OffsetGap
from stream.worker.write.reread import read_again, record_of
from stream.worker.write.writer import Writer
from tests.processes import Service, until, wait_for
from tests.stream_harness import (
    RECEIVED_AT,
    TOPICS,
    Log,
    enter_municipality,
    fetch,
    message,
    open_pool,
)

START = datetime(2026, 2, 2, 6, tzinfo=UTC)
CULPRIT = "syddjurs/v5"
ROWS = "SELECT DISTINCT vehicle_id FROM fix ORDER BY 1"
LETTERS = "SELECT reason, record_offset FROM dead_letter ORDER BY 2"


def report(vehicle_id: str, second: int = 0) -> Fix:
    """Return a report."""
    at = START + timedelta(seconds=second)
    return Fix(vehicle_id=vehicle_id, recorded_at=at, lat=56.3, lon=10.4, ignition=True)


def reports(vehicles: int = 12) -> Log:
    """Return a log of one message of each vehicle."""
    log = Log()
    for number in range(vehicles):
        log.append(message([report(f"syddjurs/v{number}")]))
    return log


async def _no_ask(_: Sequence[Partition]) -> dict[tuple[str, int], Watermarks]:
    raise AssertionError("nothing is missing: nobody has to be asked")


async def _no_reread(_: OffsetGap) -> list[Record]:
    raise AssertionError("nothing is missing: nothing has to be read again")


async def committer_of(pool: Pool, log: Log) -> tuple[Committer, list[Record], Health]:
    """Return a worker's committer, what it has to commit, and its health."""
    writer, health = Writer(pool, TOPICS), Health()
    records = log.since(await log.assign(writer))
    return Committer(writer, health, _no_ask, _no_reread), records, health


async def harm(pool: Pool, body: str) -> None:
    """Have the database do something for each fix of the culprit that is written."""
    async with pool.connection() as connection:
        await connection.execute(
            f"CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NEW.vehicle_id = '{CULPRIT}' THEN {body} END IF; RETURN NEW; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER harm BEFORE INSERT ON vehicle_state FOR EACH ROW "
            "EXECUTE FUNCTION harm()"
        )


async def limit(pool: Pool, **limits: str) -> None:
    """Have all later sessions of the database stay within limits."""
    async with pool.connection() as connection:
        for name, value in limits.items():
            await connection.execute(
                f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET {name} = ''{value}''', "
                "current_database()); END $$"
            )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("PERFORM pg_sleep(30);", "statement timeout"),
        ("RAISE 'as the test asked' USING ERRCODE = '53200';", "OutOfMemory"),
        ("RAISE 'as the test asked' USING ERRCODE = '54000';", "ProgramLimitExceeded"),
        ("PERFORM pg_terminate_backend(pg_backend_pid());", "AdminShutdown"),
        ("RAISE 'as the test asked' USING ERRCODE = '22003';", "NumericValueOutOfRange"),
    ],
)
def test_what_the_database_ends_our_session_over_becomes_a_letter_and_the_others_rows(
    database_url: str, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    monkeypatch.setattr(commit_module, "RETRY_LONGEST_S", 0.1)

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await harm(pool, body)
            await limit(pool, statement_timeout="500ms")
        async with open_pool(database_url) as pool:
            committer, records, health = await committer_of(pool, reports())
            await committer.commit(records)
            assert await fetch(pool, LETTERS) == [("unprocessable", 5)]
            ((detail,),) = await fetch(pool, "SELECT detail FROM dead_letter")
            assert says in detail
            expected = sorted(f"syddjurs/v{number}" for number in range(12) if number != 5)
            assert await fetch(pool, ROWS) == [(name,) for name in expected]
            assert await fetch(pool, "SELECT next_offset FROM stream_progress") == [(12,)]
            assert health.problem is None

    asyncio.run(main())


@pytest.mark.parametrize("errcode", ["53100", "53300", "57P03", "55P03", "42501"])
def test_while_the_database_can_be_used_by_nobody_all_wait_and_nothing_becomes_a_letter(
    database_url: str, monkeypatch: pytest.MonkeyPatch, errcode: str
) -> None:
    """Disk full, connections used up, starting up, locked, no rights yet."""
    monkeypatch.setattr(commit_module, "RETRY_LONGEST_S", 0.1)

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await harm(pool, f"RAISE 'as the test asked' USING ERRCODE = '{errcode}';")
            committer, records, health = await committer_of(pool, reports())
            with capture_logs() as logs:
                committing = asyncio.create_task(committer.commit(records))

                async def patient() -> bool:
                    waits = [log for log in logs if log["event"] == "batch waits for the database"]
                    return len(waits) > 15

                await until(patient, "it has tried often")
            assert health.problem is not None
            assert await fetch(pool, LETTERS) == await fetch(pool, ROWS) == []
            async with pool.connection() as connection:
                await connection.execute("DROP TRIGGER harm ON vehicle_state")
            await committing
            assert await fetch(pool, LETTERS) == []
            assert len(await fetch(pool, ROWS)) == 12

    asyncio.run(main())


def test_sessions_that_end_while_the_database_takes_no_writes_are_no_batch_s_fault(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that ends each session that writes, as one does that shuts down again and again."""
    monkeypatch.setattr(commit_module, "RETRY_LONGEST_S", 0.1)

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            log = reports(1)
            committer, records, _ = await committer_of(pool, log)
            async with pool.connection() as connection:
                await connection.execute(
                    "CREATE FUNCTION harm() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
                )
                await connection.execute(
                    "CREATE TRIGGER harm BEFORE UPDATE ON stream_progress FOR EACH ROW "
                    "EXECUTE FUNCTION harm()"
                )
            with capture_logs() as logs:
                committing = asyncio.create_task(committer.commit(records))

                async def patient() -> bool:
                    event = "the database takes no other writes either"
                    return len([log for log in logs if log["event"] == event]) > 12

                await until(patient, "it has tried often", limit_s=40)
            assert await fetch(pool, LETTERS) == []
            async with pool.connection() as connection:
                await connection.execute("DROP TRIGGER harm ON stream_progress")
            await committing
            assert await fetch(pool, LETTERS) == []
            assert len(await fetch(pool, ROWS)) == 1

    asyncio.run(main())


def test_a_fold_that_takes_longer_than_a_session_may_idle_is_written_all_the_same(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_keepalive, "_EVERY_S", 0.02)
    slow = [
        report(CULPRIT, second).model_copy(update={"lat": 56.3 + second * 1e-5})
        for second in range(15_000)
    ]

    async def main() -> None:
        async with open_pool(database_url) as pool:
            await enter_municipality(pool)
            await limit(pool, idle_in_transaction_session_timeout="400ms")
        async with open_pool(database_url) as pool:
            log = reports(3)
            for first in range(0, len(slow), 5_000):
                part = slow[first : first + 5_000]
                log.append(message([*part, *part]))  # twice: so they are looked at one by one
            committer, records, _ = await committer_of(pool, log)
            await committer.commit(records)
            assert len(await fetch(pool, ROWS)) == 4
            assert await fetch(pool, LETTERS) == []

    asyncio.run(main())


async def produce(settings: Settings, *values: bytes, timestamps: dict[int, int]) -> None:
    """Produce messages to the first partition, some with a timestamp of their own."""
    producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    await producer.start()
    try:
        for number, value in enumerate(values):
            await producer.send_and_wait(
                topic, value, partition=0, timestamp_ms=timestamps.get(number)
            )
    finally:
        await producer.stop()


def test_offsets_that_were_not_delivered_are_read_again(settings: Settings) -> None:
    topics = Topics.named(settings.kafka.topic_prefix)
    place = Partition(topics.fixes, 0)
    values = [message([report(f"syddjurs/v{number}")]) for number in range(8)]

    async def ask(partitions: Sequence[Partition]) -> Any:
        return await read_watermarks(settings.kafka, partitions)

    async def reread(hole: OffsetGap) -> list[Record]:
        return await read_again(settings.kafka, hole)

    async def main() -> None:
        await create_topics(settings.kafka)
        await produce(settings, *values, timestamps={})
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            await enter_municipality(pool)
            writer, health = Writer(pool, topics), Health()
            await writer.start_at([place], ask)
            committer = Committer(writer, health, ask, reread)
            records = [
                Record(*place, offset, None, value, RECEIVED_AT)
                for offset, value in enumerate(values)
            ]
            await committer.commit(records[:2])
            with capture_logs() as logs:
                await committer.commit([records[4], records[7]])
            assert len(await fetch(pool, ROWS)) == 8
            assert await fetch(pool, "SELECT next_offset FROM stream_progress") == [(8,)]
            # The last of them is 4, which came before what was missing in the second hole.
            read = [log["read"] for log in logs if log["event"] == "offsets were not delivered"]
            assert read == [2, 2, 1]
            assert health.fatal is None

    asyncio.run(main())


BARE = (
    b'{"vehicle_id": "syddjurs/bare%d", "recorded_at": "2026-02-02T06:00:00Z", "lat": 56.3, '
    b'"lon": 10.4}'
)


@pytest.mark.parametrize("timestamp_ms", [None, -1, -(10**15), 9 * 10**15, float("inf")])
def test_no_timestamp_is_too_odd_for_a_record(timestamp_ms: float | None) -> None:
    sent = Record("topic", 0, 1, None, b"{}", None)
    assert record_of(sent, timestamp_ms) == sent


def test_a_timestamp_that_is_no_instant_costs_no_neighbour(
    settings: Settings, reaper: Reaper, tmp_path: Path
) -> None:
    """Apache Kafka takes it; a batch says itself when it was received."""
    values = [message([report(f"syddjurs/v{number}")]) for number in range(9)]
    values[4:4] = [BARE % number for number in range(2)]
    wrong = {3: -(10**15), 4: -(10**15), 5: 1_770_012_000_000}

    async def prepare() -> None:
        await create_topics(settings.kafka)
        await produce(settings, *values, timestamps=wrong)
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            await enter_municipality(pool)

    async def rows() -> list[list[tuple[Any, ...]]]:
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            queries = ("SELECT sum(next_offset) FROM stream_progress", ROWS, LETTERS)
            return [await fetch(pool, query) for query in queries]

    asyncio.run(prepare())
    with Service("worker", settings, reaper, tmp_path) as worker:
        wait_for(
            lambda: asyncio.run(rows())[0] == [(len(values),)],
            limit_s=60,
            what="all are processed",
            who=(worker,),
        )
        assert "offsets without records" not in worker.child.log.read_text()
    _, vehicles, letters = asyncio.run(rows())
    assert vehicles == [(f"syddjurs/v{number}",) for number in range(9)]
    assert letters == [("no-envelope", 4), ("no-envelope", 5)]


class _RawName(str):
    """A name of a header that is no text on the wire."""

    __slots__ = ()

    def encode(self, *_: Any) -> bytes:
        """Return bytes that are not UTF-8."""
        return b"\xff\xfe"


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_headers_and_compression_of_any_kind_cost_nobody_his_rows(
    settings: Settings,
    reaper: Reaper,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compression: str | None,
) -> None:
    topics = Topics.named(settings.kafka.topic_prefix)
    values = [message([report(f"syddjurs/v{number}")]) for number in range(5)]
    # The quick builder insists on text.
    for module in (message_accumulator, producer_module):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)

    async def prepare() -> None:
        await create_topics(settings.kafka)
        async with (
            open_pool(settings.database_url.get_secret_value()) as pool,
            AIOKafkaProducer(
                **client_options(settings.kafka), acks="all", compression_type=compression
            ) as producer,
        ):
            await enter_municipality(pool)
            for number, value in enumerate(values):
                headers = [(_RawName("name"), b"value")] if number == 2 else []
                await producer.send(topics.fixes, value, partition=0, headers=headers)
            await producer.flush()

    async def rows() -> list[tuple[Any, ...]]:
        async with open_pool(settings.database_url.get_secret_value()) as pool:
            return await fetch(pool, ROWS)

    asyncio.run(prepare())
    with Service("worker", settings, reaper, tmp_path) as worker:
        wait_for(
            lambda: len(asyncio.run(rows())) == len(values),
            limit_s=60,
            what="all are rows",
            who=(worker,),
        )
