"""Dead letters on the command line: list, show, replay and discard them."""

from __future__ import annotations

import asyncio
import getpass
from datetime import datetime
from typing import Annotated

import typer
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from rich.console import Console

from infra.database.stream import dead_letters as store
from infra.database.stream.dead_letters import Filter, StoredLetter
from infra.settings import Settings
from schemas.events.dead_letters import DeadLetterReason
from stream.cli.arguments import instant
from stream.cli.database import with_connection
from stream.cli.operate.dead_letter_view import show_letter, show_letters, show_summary

dead_letters = typer.Typer(
    no_args_is_help=True,
    help="Look at, replay or discard events that could not be processed. "
    "docs/dead-letters.md explains each reason.",
)

_Reason = Annotated[DeadLetterReason | None, typer.Option(help="Only letters with this reason.")]
_Vendor = Annotated[str | None, typer.Option(help="Only letters of this vendor.")]
_Vehicle = Annotated[
    str | None,
    typer.Option(help="Only letters of this vehicle or tracker, such as syddjurs/car-1."),
]
_Municipality = Annotated[str | None, typer.Option(help="Only letters of this municipality.")]
_Since = Annotated[
    str | None, typer.Option(help="Only letters written since, such as 2026-03-01T00:00:00+01:00.")
]
_Id = Annotated[
    str | None, typer.Argument(metavar="ID", help="Letter id, or its first characters.")
]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@dead_letters.command("list")
def list_letters(  # noqa: PLR0913, PLR0917 - the filters
    reason: _Reason = None,
    vendor: _Vendor = None,
    vehicle: _Vehicle = None,
    municipality: _Municipality = None,
    since: _Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of letters to list.")] = 50,
    summary: Annotated[  # noqa: FBT002 - typer makes a flag of it
        bool, typer.Option("--summary", help="Count letters by reason and vendor instead.")
    ] = False,
    everything: Annotated[  # noqa: FBT002 - the same
        bool, typer.Option("--all", help="Also letters that were replayed or discarded.")
    ] = False,
) -> None:
    """List dead letters that nobody has decided about, newest first."""
    wanted = _filter(reason, vendor, vehicle, municipality, since)
    console = Console(highlight=False)
    if summary:
        show_summary(
            with_connection(lambda connection: store.summarise(connection, wanted)), console
        )
        return
    letters = with_connection(
        lambda connection: store.list_letters(
            connection, wanted, everything=everything, limit=limit
        )
    )
    show_letters(letters, console)


@dead_letters.command("show")
def show(
    letter: Annotated[
        str, typer.Argument(metavar="ID", help="Letter id, or its first characters.")
    ],
) -> None:
    """Show one letter with its full message."""
    show_letter(
        with_connection(lambda connection: store.find_letter(connection, letter)),
        Console(highlight=False),
    )


@dead_letters.command("replay")
def replay(  # noqa: PLR0913, PLR0917 - the filters
    letter: _Id = None,
    reason: _Reason = None,
    vendor: _Vendor = None,
    vehicle: _Vehicle = None,
    municipality: _Municipality = None,
    since: _Since = None,
    yes: _Yes = False,  # noqa: FBT002 - typer makes a flag of it
) -> None:
    """Process letters again. Correct first what made them fail.

    Give the id of one letter, also of one that was replayed or discarded before, or filters for
    several open letters. A letter that fails again becomes a dead letter again.
    """
    from stream.cli.operate.dead_letter_replay import replay_all, replay_one

    wanted = _filter(reason, vendor, vehicle, municipality, since)
    settings = Settings()
    if letter is not None:
        _refuse_both(wanted)
        stored = with_connection(lambda connection: store.find_letter(connection, letter))
        asyncio.run(replay_one(settings, stored.letter_id))
        typer.echo(f"replayed {stored.letter_id}")
        return
    count, until = with_connection(lambda connection: _count(connection, wanted))
    _ask("replay", count, yes=yes)
    outcome = asyncio.run(replay_all(settings, wanted, until))
    typer.echo(f"replayed {outcome.replayed}")
    for letter_id, error in outcome.refused.items():
        typer.echo(f"{letter_id} stays open, the broker refuses it: {error}", err=True)
    if outcome.refused:
        raise typer.Exit(1)


@dead_letters.command("discard")
def discard(  # noqa: PLR0913, PLR0917 - the filters
    letter: _Id = None,
    reason: _Reason = None,
    vendor: _Vendor = None,
    vehicle: _Vehicle = None,
    municipality: _Municipality = None,
    since: _Since = None,
    by: Annotated[str, typer.Option(help="Who decides (default: your user name).")] = "",
    yes: _Yes = False,  # noqa: FBT002 - typer makes a flag of it
) -> None:
    """Discard letters. They are deleted after 30 days and can be replayed until then.

    Give the id of one letter, or at least one filter for several open letters.
    """
    wanted = _filter(reason, vendor, vehicle, municipality, since)
    who = by or getpass.getuser()
    if letter is not None:
        _refuse_both(wanted)
        stored = with_connection(lambda connection: _discard_one(connection, letter, who))
        typer.echo(f"discarded {stored.letter_id} by {who}")
        return
    if wanted == Filter():
        raise typer.BadParameter("give the id of a letter, or a filter such as --reason not-json")
    count, until = with_connection(lambda connection: _count(connection, wanted))
    _ask("discard", count, yes=yes)
    discarded = with_connection(
        lambda connection: store.discard_open(connection, wanted, until, who)
    )
    typer.echo(f"discarded {discarded} by {who}")


def _filter(
    reason: DeadLetterReason | None,
    vendor: str | None,
    vehicle: str | None,
    municipality: str | None,
    since: str | None,
) -> Filter:
    return Filter(
        reason,
        vendor,
        vehicle,
        municipality,
        None if since is None else instant("--since", since),
    )


def _refuse_both(wanted: Filter) -> None:
    if wanted != Filter():
        raise typer.BadParameter("give the id of a letter or filters, not both")


def _ask(what: str, count: int, *, yes: bool) -> None:
    if count and not yes:
        typer.confirm(f"{what} {count} {'letter' if count == 1 else 'letters'}?", abort=True)


async def _count(connection: AsyncConnection[TupleRow], wanted: Filter) -> tuple[int, datetime]:
    """Return how many letters are open now; what comes later was not asked about."""
    until = await store.now(connection)
    return await store.count_open(connection, wanted), until


async def _discard_one(
    connection: AsyncConnection[TupleRow], id_prefix: str, who: str
) -> StoredLetter:
    letter = await store.find_letter(connection, id_prefix)
    if not await store.discard_letter(connection, letter.letter_id, who):
        done = (
            "replayed" if letter.replayed_at is not None else f"discarded by {letter.discarded_by}"
        )
        raise typer.BadParameter(f"letter {letter.letter_id} was {done} already")
    return letter
