"""What the commands of studies share: their options, progress on the terminal, and storing."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream.cli.database import with_pool

if TYPE_CHECKING:
    from optimizer.search import ProgressCallback
    from stream.studies.run import Solved

Weeks = Annotated[
    int,
    typer.Option(min=1, max=104, help="Number of weeks to study, counted back from the newest."),
]
TimeLimit = Annotated[float, typer.Option(min=0.001, help="Longest search time, in CPU seconds.")]
Seed = Annotated[  # CP-SAT's has 31 bits
    int,
    typer.Option(
        min=0, max=2**31 - 1, help="The same data, seed and time limit give the same plan."
    ),
]


def store_and_show(solved: Solved) -> None:
    """Store a study under the name of the user, and print it."""
    from stream.studies.render import show as show_study
    from stream.studies.run import store

    who = getpass.getuser()
    show_study(with_pool(lambda pool: store(pool, solved, who)), Console())


@contextmanager
def showing_progress(what: str) -> Iterator[ProgressCallback]:
    """Show how far a search is, on a terminal."""
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
