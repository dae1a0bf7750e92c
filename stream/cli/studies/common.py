"""What the commands of studies have in common: their options, how they tell, keep and complain."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream.cli.database import with_pool

if TYPE_CHECKING:
    from optimizer.search import Tell
    from stream.studies.run import Solved

Municipality = Annotated[str, typer.Argument(help="Of which municipality.")]
Weeks = Annotated[int, typer.Option(min=1, max=104, help="So many weeks, the newest ones.")]
TimeLimit = Annotated[
    float, typer.Option(min=0.001, help="Of search, in counted seconds of one core.")
]
Seed = Annotated[  # CP-SAT's has 31 bits
    int, typer.Option(min=0, max=2**31 - 1, help="The same rows, seed and limit: the same plan.")
]


def keep_and_show(solved: Solved) -> None:
    """Store a study of who is logged in, and print it."""
    from stream.studies.render import show as show_study
    from stream.studies.run import keep

    who = getpass.getuser()
    show_study(with_pool(lambda pool: keep(pool, solved, who)), Console())


@contextmanager
def telling(what: str) -> Iterator[Tell]:
    """Show how far a search is, where somebody looks on."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn(what),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=1.0)

        def tell(share: float, at: str) -> None:
            progress.update(task, completed=share, description=at)

        yield tell
