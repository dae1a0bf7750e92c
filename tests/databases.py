"""Databases of the tests' own on one server: empty, migrated, or with rows in them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from infra.database.connection.migrate import migrate

Fill = Callable[[psycopg.Connection[TupleRow]], None]
"""Enters rows; the connection commits each statement and thinks in UTC."""
_MIGRATED: Final = "migrated"


class Databases:
    """Databases on a server, each gone when its test is over.

    What was migrated or filled once is copied from then on. On TimescaleDB nothing can be copied,
    as its background workers stay connected to each database: there each test fills its own.
    """

    def __init__(self, server_url: str, *, copies: bool) -> None:
        self._server_url = server_url
        self._copies = copies
        self._templates: dict[str, str] = {}

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Yield a superuser's connection string to a database without tables."""
        with self._made("template0") as name:
            yield self._url(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """Yield one with our tables."""
        with self._with(_MIGRATED, migrate) as url:
            yield url

    @contextmanager
    def filled(self, what: str, fill: Fill) -> Iterator[str]:
        """Yield one with our tables and rows; the same `what` must mean the same rows."""

        def enter(url: str) -> None:
            migrate(url)  # nothing to do in a copy
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SET TIME ZONE 'UTC'")
                fill(connection)

        with self._with(what, enter, based_on=_MIGRATED) as url:
            yield url

    def drop_templates(self) -> None:
        """Drop what was kept for copies."""
        for name in self._templates.values():
            self._drop(name)
        self._templates.clear()

    @contextmanager
    def _with(
        self, what: str, enter: Callable[[str], None], *, based_on: str | None = None
    ) -> Iterator[str]:
        if not self._copies:
            with self._made("template0") as name:
                enter(self._url(name))
                yield self._url(name)
            return
        if what not in self._templates:
            name = self._create(self._templates.get(based_on or "", "template0"))
            try:
                enter(self._url(name))
            except BaseException:
                self._drop(name)
                raise
            self._templates[what] = name
        with self._made(self._templates[what]) as name:
            yield self._url(name)

    @contextmanager
    def _made(self, template: str) -> Iterator[str]:
        name = self._create(template)
        try:
            yield name
        finally:
            self._drop(name)

    def _create(self, template: str) -> str:
        name = f"fleetpulse_test_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(
                # Of a template of ten megabytes cheaper than through the log.
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return name

    def _drop(self, name: str) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )

    def _url(self, name: str) -> str:
        if "://" not in self._server_url:
            return make_conninfo(self._server_url, dbname=name)
        head, _, query = self._server_url.partition("?")
        return head.rsplit("/", 1)[0] + f"/{name}" + (f"?{query}" if query else "")
