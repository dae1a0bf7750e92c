"""Feeds a writer like a worker does, without a broker: a log of records and what was committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from prometheus_client import REGISTRY
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

from infra.database.connection.pool import Pool
from infra.database.stream.progress import Partition
from infra.kafka.client import Topics, Watermarks
from schemas.events.fix import Fix, FixBatch
from schemas.events.history import HistoryRange
from schemas.ids import municipality_of
from stream.worker.decode.records import Record
from stream.worker.write.writer import Writer
from tests.database_contents import OF_THE_DELIVERY, contents

TOPICS = Topics.named("test")
RECEIVED_AT = datetime(2026, 3, 1, tzinfo=UTC)

_WRITTEN = (
    "fix",
    "segment",
    "trip",
    "idle_interval",
    "round_trip",
    "usage_hour",
    "vehicle_state",
    "vehicle_checkpoint",
    "stream_progress",
    "outbox",
    "dead_letter",
)


def message(
    fixes: Sequence[Fix],
    *,
    received_at: datetime = RECEIVED_AT,
    vendor: str = "test",
    history: HistoryRange | None = None,
) -> bytes:
    """Return the value of a Kafka message with these fixes of one municipality."""
    since, until = history or (None, None)
    return (
        FixBatch(
            municipality_id=municipality_of(fixes[0].vehicle_id),
            vendor=vendor,
            received_at=received_at,
            history_since=since,
            history_until=until,
            fixes=tuple(fixes),
        )
        .model_dump_json(exclude_none=True)
        .encode()
    )


class Log:
    """The partitions of a topic, in memory: what was produced, in order."""

    def __init__(self, topic: str = TOPICS.fixes) -> None:
        self.topic = topic
        self.records: dict[int, list[Record]] = {}

    def append(self, value: bytes | None, *, partition: int = 0, key: bytes | None = None) -> None:
        """Produce one message."""
        records = self.records.setdefault(partition, [])
        records.append(Record(self.topic, partition, len(records), key, value, RECEIVED_AT))

    async def assign(
        self, writer: Writer, only: Collection[int] | None = None
    ) -> dict[Partition, int]:
        """Give all partitions, or those that are there of some, to a writer; return its starts."""
        places = {
            Partition(self.topic, number): records
            for number, records in self.records.items()
            if only is None or number in only
        }

        async def ask(partitions: Sequence[Partition]) -> dict[tuple[str, int], Watermarks]:
            return {partition: Watermarks(0, len(places[partition])) for partition in partitions}

        return await writer.start_at(list(places), ask)

    def since(self, starts: dict[Partition, int]) -> list[Record]:
        """Return all records from these offsets on, partition after partition."""
        return [
            record
            for place, offset in sorted(starts.items())
            for record in self.records[place.partition][offset:]
        ]


@asynccontextmanager
async def open_pool(
    url: str, connection_class: type[AsyncConnection[TupleRow]] = AsyncConnection[TupleRow]
) -> AsyncIterator[Pool]:
    """Yield a pool on a database, of ordinary connections or of those given."""

    async def prepare(connection: AsyncConnection[TupleRow]) -> None:
        await connection.execute("SET TIME ZONE 'UTC'")
        await connection.commit()

    async with AsyncConnectionPool(
        url,
        connection_class=connection_class,
        min_size=1,
        max_size=4,
        open=False,
        configure=prepare,
    ) as pool:
        yield pool


async def fetch(pool: Pool, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    async with pool.connection() as connection:
        return await (await connection.execute(query)).fetchall()


async def derived(pool: Pool) -> list[tuple[Any, ...]]:
    """Return all rows that must depend on the set of fixes only, each after its table's name."""
    return await contents(pool, OF_THE_DELIVERY)


async def enter_municipality(pool: Pool, municipality_id: str = "syddjurs") -> None:
    """Enter a municipality with one depot, `depot` at 56.3, 10.4, and car `a`, a petrol car."""
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO municipality (municipality_id, name) VALUES (%s, %s)",
            [municipality_id, municipality_id],
        )
        await connection.execute(
            "INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity) "
            "VALUES (%s, %s, 'Depot', 56.3, 10.4, 10)",
            [f"{municipality_id}/depot", municipality_id],
        )
        await connection.execute(
            "INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, energy_source, "
            "consumption_per_km, home_depot_id) VALUES (%s, %s, 'A', 'car', 'petrol', 0.06, %s)",
            [f"{municipality_id}/a", municipality_id, f"{municipality_id}/depot"],
        )


def faults(task: str) -> float:
    """Return how many faults of a background task this process has counted."""
    name = "fleetpulse_background_faults_total"
    return REGISTRY.get_sample_value(name, {"task": task}) or 0.0


async def empty(pool: Pool) -> None:
    """Delete everything that a stream writes; master data stays."""
    async with pool.connection() as connection:
        # The laws do this thousands of times: on a few rows, TRUNCATE is thirty times as slow.
        await connection.execute("; ".join(f"DELETE FROM {table}" for table in _WRITTEN))


async def limit_changes_of_old_fixes(pool: Pool) -> None:
    """Refuse changes of stored fixes that TimescaleDB would refuse if they were many and old."""
    async with pool.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION limited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction', true) "
            "IS DISTINCT FROM '0' THEN RAISE 'tuple decompression limit exceeded by operation'; "
            "END IF; RETURN NULL; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER limited AFTER UPDATE ON fix FOR EACH ROW EXECUTE FUNCTION limited()"
        )
