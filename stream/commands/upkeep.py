"""Keeping an installation healthy: dead letters, progress, retention."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table

from infra.database import dead_letters as store
from infra.database.consumer_group import reset_progress
from infra.database.outbox import prune as prune_rows
from infra.database.pool import make_pool
from infra.settings import Settings
from stream.commands.database import with_connection

dead_letters = typer.Typer(
    no_args_is_help=True, help="What came in and could not be used: look at it, replay it."
)
progress = typer.Typer(no_args_is_help=True, help="How far each partition has been processed.")

_Reason = Annotated[str | None, typer.Option(help="Only letters with this reason.")]


@dead_letters.command("list")
def list_letters(
    reason: _Reason = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest so many.")] = 50,
) -> None:
    """List dead letters that were not replayed, the newest first."""
    table = Table("when", "reason", "vehicle", "origin", "detail")
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut off; a reason stays whole, to be searched for
        column.no_wrap = column.header == "reason"
    for row in with_connection(
        lambda connection: store.list_waiting(connection, reason=reason, limit=limit)
    ):
        table.add_row(*(str(value or "") for value in row))
    Console().print(table)


@dead_letters.command("replay")
def replay_letters(reason: _Reason = None) -> None:
    """Send dead letters through the stream again; mend what made them fail first."""
    settings = Settings()
    typer.echo(f"replayed {asyncio.run(_replay(settings, reason))}")


async def _replay(settings: Settings, reason: str | None) -> int:
    from aiokafka import AIOKafkaProducer

    from infra.kafka import Topics, producer_options

    topic = Topics.named(settings.kafka.topic_prefix).fixes
    producer = AIOKafkaProducer(**producer_options(settings.kafka))
    count = 0
    async with make_pool(settings, max_size=1) as pool, producer:
        async with pool.connection() as connection:
            # Letters whose fault is still there come back, at once: those are for another time.
            until = await store.now(connection)
        while True:
            async with pool.connection() as connection, connection.transaction():
                letters = await store.take_waiting(
                    connection, reason=reason, until=until, limit=200
                )
                if not letters:
                    return count
                for letter in letters:
                    await producer.send_and_wait(topic, letter.value, key=letter.key)
                await store.mark_replayed(connection, [letter.letter_id for letter in letters])
            count += len(letters)


@progress.command("show")
def show() -> None:
    """Show the next offset of each partition."""
    table = Table("topic", "partition", "next offset", "since")
    for row in with_connection(_progress):
        table.add_row(*(str(value) for value in row))
    Console().print(table)


async def _progress(connection: AsyncConnection[TupleRow]) -> list[tuple[Any, ...]]:
    cursor = await connection.execute(
        "SELECT topic, partition, next_offset, updated_at FROM stream_progress ORDER BY 1, 2"
    )
    return await cursor.fetchall()


@progress.command("set")
def set_(
    topic: Annotated[str, typer.Argument()],
    partition: Annotated[int, typer.Argument(min=0)],
    offset: Annotated[int, typer.Argument(min=0, help="Next offset to process.")],
) -> None:
    """Move a partition's progress by hand, after records were lost; what is skipped is gone."""

    async def move(connection: AsyncConnection[TupleRow]) -> int:
        cursor = await connection.execute(
            "UPDATE stream_progress SET next_offset = %s, updated_at = now() "
            "WHERE topic = %s AND partition = %s",
            [offset, topic, partition],
        )
        return cursor.rowcount

    if not with_connection(move):
        raise typer.BadParameter(
            f"{topic}[{partition}] has no progress; see `fleetpulse progress show`"
        )
    typer.echo(f"{topic}[{partition}] continues at {offset}")


@progress.command("reset")
def reset(topic: Annotated[str, typer.Argument()]) -> None:
    """Begin a topic at its earliest records, after the Kafka cluster or the topic was replaced.

    What Kafka still holds is read again, and recognised where it was processed before.
    """
    count = with_connection(lambda connection: reset_progress(connection, topic))
    typer.echo(f"{topic}: {count} partitions begin at their earliest record")


def prune(
    fix_days: Annotated[
        int, typer.Option(min=1, help="Days that raw positions, and studies of people, are kept.")
    ] = 90,
) -> None:
    """Delete what is past its time; run it daily, by cron for example."""
    deleted = with_connection(lambda connection: prune_rows(connection, fix_days=fix_days))
    typer.echo(", ".join(f"{table}: {count}" for table, count in deleted.items()))
