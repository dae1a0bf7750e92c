"""Trackers that go from one vehicle to another, entered also weeks later."""

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
from stream.cli.arguments import instant, scoped_id
from stream.cli.database import with_connection, with_pool

if TYPE_CHECKING:
    from infra.kafka.client import Topics
    from stream.worker.refold.reassign import Reassigned

tracker = typer.Typer(
    no_args_is_help=True, help="Assign trackers to vehicles, also for weeks that have passed."
)

_Sender = Annotated[
    str,
    typer.Argument(
        metavar="TRACKER",
        help="The id that the tracker sends, with its municipality, such as syddjurs/352093.",
    ),
]


@tracker.command("assign")
def assign(
    sender: _Sender,
    vehicle: Annotated[str, typer.Argument(help="Vehicle id, with or without its municipality.")],
    since: Annotated[
        str, typer.Option(help="When it was installed there, such as 2026-03-01T12:30:00+01:00.")
    ],
) -> None:
    """Assign a tracker to a vehicle from a point in time. Positions sent since then move there.

    An earlier assignment ends at that time. You can run this while workers run. It reaches as far
    back as raw positions are kept.
    """
    from stream.worker.refold.reassign import assign as run

    vehicle_id = vehicle if "/" in vehicle else scoped(municipality_of(sender), vehicle)
    at = instant("--since", since)
    _change(sender, lambda pool, topics: run(pool, topics, sender, vehicle_id, at))


@tracker.command("release")
def release(
    sender: _Sender,
    until: Annotated[
        str, typer.Option(help="When it was taken out, such as 2026-03-01T12:30:00+01:00.")
    ],
) -> None:
    """Take a tracker out of its vehicle from a point in time.

    Later positions are kept aside as dead letters until the tracker is assigned again. If you give
    the time at which it was assigned, that assignment is cancelled.
    """
    from stream.worker.refold.reassign import release as run

    at = instant("--until", until)
    _change(sender, lambda pool, topics: run(pool, topics, sender, at))


@tracker.command("list")
def list_(
    municipality: Annotated[str, typer.Argument(help="Id of the municipality.")],
) -> None:
    """List which tracker was in which vehicle, and when.

    A tracker that is not listed reports under the id of its vehicle.
    """

    async def read(
        connection: Connection,
    ) -> list[tuple[str, ...]]:
        if municipality not in await load_municipalities(connection):
            raise typer.BadParameter(
                f"municipality {municipality!r} is not entered; enter it first: fleetpulse fleet "
                "apply"
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
    change = with_pool(lambda pool: work(pool, topics))
    typer.echo(
        f"{change.tracker_id}: {change.moved:,} fixes moved, {change.set_aside:,} set aside as "
        f"dead letters, {change.taken_up:,} taken up from there; recalculated: "
        f"{', '.join(change.vehicles) or 'nothing'}"
    )
