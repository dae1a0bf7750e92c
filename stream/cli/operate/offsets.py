"""Offsets on the command line: how far each partition is processed, and how to move it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from aiokafka.errors import KafkaError
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from rich import box
from rich.console import Console
from rich.table import Table

from infra.database.stream.consumer_group import reset_progress
from infra.kafka.client import Topics
from infra.kafka.lag import Lag, PartitionProgress, read_all_progress, read_lag
from infra.settings import Settings
from stream.cli.database import with_connection

offsets = typer.Typer(
    no_args_is_help=True, help="Show and move how far each partition is processed."
)


@offsets.command("show")
def show() -> None:
    """Show the next offset of each partition, and how far processing is behind."""
    stored = with_connection(read_all_progress)
    settings = Settings().kafka
    topic = Topics.named(settings.topic_prefix).fixes
    next_offsets = {
        progress.partition: progress.next_offset for progress in stored if progress.topic == topic
    }
    lags: Mapping[int, Lag] = {}
    problem = None
    try:
        lags = asyncio.run(read_lag(settings, topic, next_offsets))
    except (KafkaError, OSError) as away:
        problem = f"kafka at {settings.bootstrap_servers}: {away or repr(away)}"
    console = Console(highlight=False)
    console.print(offsets_table(stored, topic, lags, datetime.now(UTC)))
    if problem is not None:
        console.print(f"the lag is not known: {problem}", markup=False)
        raise typer.Exit(1)


def offsets_table(
    stored: Sequence[PartitionProgress], topic: str, lags: Mapping[int, Lag], now: datetime
) -> Table:
    """Return one row a partition: of `topic` with its lag, of others without."""
    table = Table(
        "partition", "next offset", "behind", "oldest", "last moved, UTC", box=box.SIMPLE_HEAD
    )
    for column in table.columns:
        column.overflow = "fold"
        column.no_wrap = column.header != "partition"
    for progress in stored:
        lag = lags.get(progress.partition) if progress.topic == topic else None
        table.add_row(
            f"{progress.topic}[{progress.partition}]",
            str(progress.next_offset),
            "not known" if lag is None else _behind(progress, lag),
            "" if lag is None or lag.oldest_at is None else _age(now, lag.oldest_at),
            f"{progress.updated_at:%Y-%m-%d %H:%M}",
        )
    begun = {progress.partition for progress in stored if progress.topic == topic}
    for number, lag in sorted(lags.items()):
        if number not in begun:
            waits = "" if lag.oldest_at is None else _age(now, lag.oldest_at)
            table.add_row(f"{topic}[{number}]", "none", f"{lag.records:,}", waits, "never")
    return table


def _behind(stored: PartitionProgress, lag: Lag) -> str:
    if stored.next_offset > lag.end_offset:
        return f"ends at {lag.end_offset}"
    return f"{lag.records:,}"


def _age(now: datetime, at: datetime) -> str:
    return f"{max(0.0, (now - at).total_seconds()):,.0f} s"


@offsets.command("set")
def set_(
    topic: Annotated[str, typer.Argument()],
    partition: Annotated[int, typer.Argument(min=0)],
    offset: Annotated[int, typer.Argument(min=0, help="Next offset to process.")],
) -> None:
    """Set the next offset of a partition by hand, after records were lost.

    Records that are skipped are never processed.
    """

    async def move(connection: AsyncConnection[TupleRow]) -> int:
        cursor = await connection.execute(
            "UPDATE stream_progress SET next_offset = %s, updated_at = now() "
            "WHERE topic = %s AND partition = %s",
            [offset, topic, partition],
        )
        return cursor.rowcount

    if not with_connection(move):
        raise typer.BadParameter(
            f"{topic}[{partition}] has no offset; see `fleetpulse offsets show`"
        )
    typer.echo(f"{topic}[{partition}] continues at {offset}")


@offsets.command("reset")
def reset(topic: Annotated[str, typer.Argument()]) -> None:
    """Start a topic at its earliest records, after the Kafka cluster or the topic was replaced.

    What Kafka still holds is read again. Positions that were processed before count once.
    """
    count = with_connection(lambda connection: reset_progress(connection, topic))
    typer.echo(f"{topic}: {count} partitions begin at their earliest record")
