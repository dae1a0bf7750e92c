"""Progress on the command line: how far each partition is, how far behind, and moving it."""

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
from infra.kafka.lag import Lag, Progress, read_all_progress, read_lag
from infra.settings import Settings
from stream.cli.database import with_connection

progress = typer.Typer(no_args_is_help=True, help="How far each partition has been processed.")


@progress.command("show")
def show() -> None:
    """Show the next offset of each partition, and how far the stream is behind."""
    stored = with_connection(read_all_progress)
    settings = Settings().kafka
    topic = Topics.named(settings.topic_prefix).fixes
    offsets = {one.partition: one.next_offset for one in stored if one.topic == topic}
    lags: Mapping[int, Lag] = {}
    problem = None
    try:
        lags = asyncio.run(read_lag(settings, topic, offsets))
    except (KafkaError, OSError) as away:
        problem = f"kafka at {settings.bootstrap_servers}: {away or repr(away)}"
    console = Console(highlight=False)
    console.print(progress_table(stored, topic, lags, datetime.now(UTC)))
    if problem is not None:
        console.print(f"the lag is not known: {problem}", markup=False)
        raise typer.Exit(1)


def progress_table(
    stored: Sequence[Progress], topic: str, lags: Mapping[int, Lag], now: datetime
) -> Table:
    """Return one row a partition: of `topic` with its lag, of others without."""
    table = Table(
        "partition", "next offset", "behind", "oldest", "last moved, UTC", box=box.SIMPLE_HEAD
    )
    for column in table.columns:
        column.overflow = "fold"
        column.no_wrap = column.header != "partition"
    for one in stored:
        lag = lags.get(one.partition) if one.topic == topic else None
        table.add_row(
            f"{one.topic}[{one.partition}]",
            str(one.next_offset),
            "not known" if lag is None else _behind(one, lag),
            "" if lag is None or lag.oldest_at is None else _age(now, lag.oldest_at),
            f"{one.updated_at:%Y-%m-%d %H:%M}",
        )
    begun = {one.partition for one in stored if one.topic == topic}
    for number, lag in sorted(lags.items()):
        if number not in begun:
            waits = "" if lag.oldest_at is None else _age(now, lag.oldest_at)
            table.add_row(f"{topic}[{number}]", "none", f"{lag.records:,}", waits, "never")
    return table


def _behind(stored: Progress, lag: Lag) -> str:
    if stored.next_offset > lag.end_offset:
        return f"ends at {lag.end_offset}"
    return f"{lag.records:,}"


def _age(now: datetime, at: datetime) -> str:
    return f"{max(0.0, (now - at).total_seconds()):,.0f} s"


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
