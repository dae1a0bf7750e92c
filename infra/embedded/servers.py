"""The embedded servers together: one directory, one reaper, a broker and a database."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from infra.embedded.directory import Account, make_run_directory
from infra.embedded.postgres import EmbeddedPostgres
from infra.embedded.process import Child
from infra.embedded.reaper import Reaper
from infra.embedded.tansu import EmbeddedBroker


class EmbeddedServers:
    """Context of a running broker and database; nothing is left when it is left.

    Raises `ModuleNotFoundError` when the extra `embedded` is not installed, and
    `ChildFailedError` with the end of its log when a server does not start.
    """

    directory: Path
    reaper: Reaper
    postgres: EmbeddedPostgres
    broker: EmbeddedBroker

    def __enter__(self) -> Self:
        self.directory = make_run_directory(Account.current())
        self.reaper = Reaper(self.directory)
        try:
            self.broker = EmbeddedBroker(self.directory, self.reaper)
            self.postgres = EmbeddedPostgres(self.directory, self.reaper)
        except BaseException:
            self.reaper.close()
            raise
        return self

    @property
    def children(self) -> tuple[Child, Child]:
        """The processes of broker and database."""
        return self.broker.child, self.postgres.child

    def __exit__(self, *_: object) -> None:
        try:
            self.broker.stop()
            self.postgres.stop()
        finally:
            self.reaper.close()
