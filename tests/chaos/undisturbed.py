"""The rows that one writer makes of the same records when nothing disturbs it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.database.connection.pool import Pool
from infra.database.stream.progress import Partition
from infra.kafka.client import Topics, Watermarks, client_options, read_watermarks
from infra.settings import Settings
from stream.worker.decode.records import Record
from stream.worker.housekeeping.inactivity import settle_silent
from stream.worker.write.reread import record_of
from stream.worker.write.writer import Writer
from tests.database_contents import CLOCKS, contents
from tests.stream_harness import open_pool

TABLES = (
    "fix",
    "segment",
    "trip",
    "idle_interval",
    "round_trip",
    "usage_hour",
    "vehicle_state",
    "dead_letter",
    "vehicle",
)
LEFT_OUT = {
    **CLOCKS,
    "dead_letter.detail": "tells the fault of the moment, such as which connection was lost",
    "vehicle_state.version": "in how many batches the fixes came",
}
Rows = dict[str, list[tuple[Any, ...]]]


async def read_records(settings: Settings) -> list[Record]:
    """Return all that the broker holds of the fix topic, as a worker would be given it."""
    topic = Topics.named(settings.kafka.topic_prefix).fixes
    places = [(topic, number) for number in range(settings.kafka.partitions)]
    ends = await read_watermarks(settings.kafka, places)
    consumer = AIOKafkaConsumer(
        group_id=None, auto_offset_reset="earliest", **client_options(settings.kafka)
    )
    await consumer.start()
    records: list[Record] = []
    try:
        assigned = [TopicPartition(*place) for place in places]
        consumer.assign(assigned)
        await consumer.seek_to_beginning(*assigned)
        for place in assigned:
            while await consumer.position(place) < ends[place.topic, place.partition].end:
                for messages in (await consumer.getmany(timeout_ms=1000)).values():
                    records += [record_of(message, message.timestamp) for message in messages]
    finally:
        await consumer.stop()
    return sorted(records, key=lambda record: (record.partition, record.offset))


async def write(url: str, settings: Settings, records: list[Record], portion: int = 50) -> Rows:
    """Have one writer write them, and return the rows."""
    topics = Topics.named(settings.kafka.topic_prefix)
    ends = {
        (topics.fixes, number): Watermarks(0, sum(record.partition == number for record in records))
        for number in range(settings.kafka.partitions)
    }

    async def ask(partitions: Any) -> dict[tuple[str, int], Watermarks]:
        return {tuple(place): ends[tuple(place)] for place in partitions}

    async with open_pool(url) as pool:
        writer = Writer(pool, topics)
        await writer.start_at([Partition(*place) for place in ends], ask)
        for start in range(0, len(records), portion):
            await write_whatever_it_is(writer, records[start : start + portion])
        return await settled_rows(pool, topics)


async def write_whatever_it_is(writer: Writer, records: list[Record]) -> None:
    """Write records; what fails by itself becomes a dead letter, as in a worker."""
    try:
        await writer.write(records)
    except Exception as error:  # noqa: BLE001 - as the worker does: one by one, then a letter
        if len(records) > 1:
            for record in records:
                await write_whatever_it_is(writer, [record])
            return
        writer.mark_poison(records[0], error)
        await writer.write(records)


async def settled_rows(pool: Pool, topics: Topics) -> Rows:
    """Settle what no fix brings about, and return all rows that depend on the records."""
    await settle_silent(pool, topics, unwritten_for=timedelta(0))
    rows: Rows = {table: [] for table in TABLES}
    for table, *row in await contents(pool, LEFT_OUT, only=TABLES):
        rows[table].append(tuple(row))
    return rows
