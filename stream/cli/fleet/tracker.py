"""Trackers that go from one vehicle to another: saying so, also weeks later."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.database.connection.pool import Connection, Pool
from infra.database.fleet import tracker_assignments as store
from infra.database.fleet.master_data import load_municipalities
from infra.settings import Settings
from schemas.ids import municipality_of, scoped
from stream.cli.database import with_connection, with_pool
from stream.cli.instants import instant
from stream.cli.scoped_ids import scoped_id

if TYPE_CHECKING:
    from infra.kafka.client import Topics
    from stream.worker.refold.reassign import Reassigned

tracker = typer.Typer(no_args_is_help=True, help="Which tracker is in which vehicle, since when.")

_Sender = Annotated[
    str,
    typer.Argument(
        metavar="TRACKER", help="The id that it sends, with its municipality: syddjurs/352093."
    ),
]


@tracker.command("assign")
def assign(
    sender: _Sender,
    vehicle: Annotated[str, typer.Argument(help="With or without its municipality.")],
    since: Annotated[
        str, typer.Option(help="When it came there, such as 2026-03-01T12:30:00+01:00.")
    ],
) -> None:
    """Say that a tracker is in a vehicle since an instant; what it sent since then moves along.

    Where it was until then is over at that instant. Safe beside running workers. Reaches as far
    back as raw fixes are kept.
    """
    from stream.worker.refold.reassign import assign as run

    vehicle_id = vehicle if "/" in vehicle else scoped(municipality_of(sender), vehicle)
    at = instant("--since", since)
    _change(sender, lambda pool, topics: run(pool, topics, sender, vehicle_id, at))


@tracker.command("release")
def release(
    sender: _Sender,
    until: Annotated[str, typer.Option(help="When it left, such as 2026-03-01T12:30:00+01:00.")],
) -> None:
    """Say that a tracker is in no vehicle from an instant on; what it sent since is set aside.

    As dead letters, which a later `assign` takes up. Until the very instant at which it was
    assigned, the assignment is taken back.
    """
    from stream.worker.refold.reassign import release as run

    at = instant("--until", until)
    _change(sender, lambda pool, topics: run(pool, topics, sender, at))


@tracker.command("list")
def list_(
    municipality: Annotated[str, typer.Argument(help="Whose trackers.")],
) -> None:
    """List which tracker was in which vehicle, and when; of others, ids are their vehicle's own."""

    async def read(
        connection: Connection,
    ) -> list[tuple[str, ...]]:
        if municipality not in await load_municipalities(connection):
            raise typer.BadParameter(
                f"municipality {municipality!r} is not entered; enter it first: fleetpulse fleet "
                "enter"
            )
        return [
            (sender, vehicle, since.isoformat(), "" if until is None else until.isoformat())
            for sender, vehicle, since, until in await store.list_assignments(
                connection, municipality
            )
        ]

    table = Table("tracker", "vehicle", "since", "until")
    for column in table.columns:
        column.overflow = "fold"
    for row in with_connection(read):
        table.add_row(*row)
    Console().print(table)


def _change(sender: str, work: Callable[[Pool, Topics], Awaitable[Reassigned]]) -> None:
    from infra.kafka.client import Topics

    scoped_id(
        "tracker",
        sender,
        "give the id that it sends after its municipality, such as syddjurs/352093",
    )
    topics = Topics.named(Settings().kafka.topic_prefix)
    done = with_pool(lambda pool: work(pool, topics))
    typer.echo(
        f"{done.tracker_id}: {done.moved:,} fixes moved, {done.set_aside:,} set aside as dead "
        f"letters, {done.taken_up:,} taken up from there; computed again: "
        f"{', '.join(done.vehicles) or 'nothing'}"
    )
