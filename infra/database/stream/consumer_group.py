"""What all workers agree on of a topic: their consumer group, the cluster, and the progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.stream.progress import Partition


@dataclass(frozen=True, slots=True)
class TopicState:
    """What is stored of a topic that workers consume."""

    generation: int
    """Number in the workers' group id; raised when the group is stuck."""
    cluster_id: str | None
    """Kafka cluster that the offsets are of; None while it is to be learnt."""
    progress: Mapping[Partition, int]
    """Next offset to process of each partition that has been begun."""


async def read_topic_state(connection: AsyncConnection[TupleRow], topic: str) -> TopicState:
    """Return what is stored of a topic."""
    cursor = await connection.execute(
        "SELECT generation, cluster_id FROM consumer_group WHERE topic = %s", [topic]
    )
    generation, cluster_id = await cursor.fetchone() or (0, None)
    cursor = await connection.execute(
        "SELECT partition, next_offset FROM stream_progress WHERE topic = %s", [topic]
    )
    progress = {Partition(topic, number): offset for number, offset in await cursor.fetchall()}
    return TopicState(generation, cluster_id, progress)


async def raise_generation(
    connection: AsyncConnection[TupleRow], topic: str, generation: int
) -> None:
    """Have all workers leave the group of this generation for the next one.

    Does nothing where another worker has done so already.
    """
    await connection.execute(
        "INSERT INTO consumer_group AS c (topic, generation) VALUES (%(topic)s, %(now)s::int + 1) "
        "ON CONFLICT (topic) DO UPDATE SET generation = c.generation + 1, updated_at = now() "
        "WHERE c.generation = %(now)s::int",
        {"topic": topic, "now": generation},
    )


async def adopt_cluster(connection: AsyncConnection[TupleRow], topic: str, cluster_id: str) -> None:
    """Note of which cluster the offsets are, unless that is known already."""
    await connection.execute(
        "INSERT INTO consumer_group AS c (topic, cluster_id) VALUES (%s, %s) "
        "ON CONFLICT (topic) DO UPDATE SET cluster_id = excluded.cluster_id, updated_at = now() "
        "WHERE c.cluster_id IS NULL",
        [topic, cluster_id],
    )


async def reset_progress(connection: AsyncConnection[TupleRow], topic: str) -> int:
    """Forget offsets and cluster of a topic; return how many partitions had progress.

    Every partition then begins at its earliest record, in whatever cluster is there.
    """
    cursor = await connection.execute("DELETE FROM stream_progress WHERE topic = %s", [topic])
    await connection.execute(
        "UPDATE consumer_group SET cluster_id = NULL, updated_at = now() WHERE topic = %s", [topic]
    )
    return cursor.rowcount
