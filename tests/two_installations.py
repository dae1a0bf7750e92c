"""A reader of one municipality, alone in a database and beside others; what plans tell it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from infra.database.access.readers import grant_reader
from infra.database.connection.pool import make_pool
from infra.settings import Settings
from tests.sample_fleet import Connection, fill, recent_start

PASSWORD = "only for the tests"  # noqa: S105 - of roles that live as long as a test
OWN, OTHERS = "aarhus", ("favrskov", "syddjurs")


def connect(url: str, user: str) -> Connection:
    return psycopg.connect(make_conninfo(url, user=user, password=PASSWORD), autocommit=True)


def grant(url: str, name: str, municipality: str) -> None:
    async def with_pool() -> None:
        async with make_pool(Settings(database_url=SecretStr(url)), max_size=1) as pool:
            await grant_reader(pool, name, [municipality], PASSWORD)

    asyncio.run(with_pool())


def fill_alone(connection: Connection) -> None:
    fill(connection, OWN, start=recent_start(2), days=2)
    connection.execute("ANALYZE")


def fill_all(connection: Connection) -> None:
    for municipality in (OWN, *OTHERS):
        fill(connection, municipality, start=recent_start(2), days=2)
    connection.execute("ANALYZE")


class Installations:
    """The same reader of one municipality, alone and beside two others, and one of another."""

    def __init__(self, alone: str, beside: str, owner: Connection, names: tuple[str, str]) -> None:
        self.urls = (alone, beside)
        self.owner = owner
        self.reader, self.other = names
        grant(alone, self.reader, OWN)
        grant(beside, self.reader, OWN)
        grant(beside, self.other, OTHERS[0])

    def views(self) -> list[str]:
        """Return the names of all views of schema `reader`."""
        rows = self.owner.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'reader'::regnamespace "
            "AND relkind = 'v' ORDER BY 1"
        )
        return [row[0] for row in rows]

    def relations(self) -> list[sql.Composable]:
        """Return what a reader may select from: views, and functions of all time."""
        rows = self.owner.execute(
            "SELECT c.relname, NULL FROM pg_class c WHERE relnamespace = 'reader'::regnamespace "
            "AND has_table_privilege(%(reader)s, c.oid, 'SELECT') "
            "UNION ALL SELECT p.proname, p.pronargs FROM pg_proc p "
            "WHERE pronamespace = 'reader'::regnamespace AND p.pronargs > 0 "
            "AND has_function_privilege(%(reader)s, p.oid, 'EXECUTE')",
            {"reader": self.reader},
        ).fetchall()
        return [
            sql.Identifier("reader", name)
            + (sql.SQL("") if arguments is None else sql.SQL("('-infinity', 'infinity')"))
            for name, arguments in rows
        ]


TOLD: Final = (
    "Node Type",
    "Relation Name",
    "Function Name",
    "Plan Rows",
    "Plan Width",
    "Startup Cost",
    "Total Cost",
    "Actual Rows",
    "Actual Loops",
)


def shown_plan(plan: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a plan tells of rows, node by node."""
    removed = [(key, plan[key]) for key in sorted(plan) if key.startswith("Rows Removed")]
    return (
        *(plan.get(key) for key in TOLD),
        *removed,
        *(shown_plan(below) for below in plan.get("Plans", ())),
    )


def explain(connection: Connection, query: sql.Composable) -> tuple[Any, ...]:
    options = sql.SQL("EXPLAIN (ANALYZE, VERBOSE, BUFFERS, TIMING OFF, SUMMARY OFF, FORMAT JSON) ")
    row = connection.execute(options + query).fetchone()
    assert row is not None
    return shown_plan(row[0][0]["Plan"])
