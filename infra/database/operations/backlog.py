"""What waits in the whole installation, in a few bounded queries, for metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.plans.plan_queue import read_plan_ages

_STATEMENT_LIMIT_MS: Final = 5_000
_VENDORS_NAMED: Final = 20
OTHER_VENDORS: Final = "others"
"""Stands for all but the vendors with the most letters: who writes to Kafka may call itself any."""

_LETTERS: Final = """
WITH open AS (
    SELECT reason, coalesce(vendor, '') AS vendor, count(*) AS count FROM dead_letter
    WHERE replayed_at IS NULL AND discarded_at IS NULL GROUP BY 1, 2
), named AS (
    SELECT vendor FROM open GROUP BY vendor ORDER BY sum(count) DESC, vendor LIMIT %s
)
SELECT o.reason, CASE WHEN n.vendor IS NULL THEN %s ELSE o.vendor END AS vendor, sum(o.count)
FROM open o LEFT JOIN named n USING (vendor) GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, or was made when, at one instant."""

    outbox_messages: int
    outbox_oldest_at: datetime | None
    open_letters: Sequence[tuple[str, str, int]]
    """Reason, vendor (empty where not known) and number; few vendors are named, see above."""
    open_alerts: Sequence[tuple[str, int]]
    """Kind and number."""
    newest_plans: Sequence[tuple[str, datetime]]
    """Of each municipality that has a plan."""


async def read_backlog(connection: AsyncConnection[TupleRow]) -> Backlog:
    """Read it in one transaction that changes nothing, each statement for 5 s at most.

    Raises `psycopg.errors.QueryCanceled`, an `OperationalError`, for one that takes longer.
    """
    async with connection.transaction():
        await connection.execute("SET TRANSACTION READ ONLY")
        await connection.execute(
            "SELECT set_config('statement_timeout', %s, true)", [str(_STATEMENT_LIMIT_MS)]
        )
        waiting = await connection.execute(
            "SELECT count(*), (SELECT created_at FROM outbox "
            "WHERE published_at IS NULL AND retry_at IS NULL ORDER BY position LIMIT 1) "
            "FROM outbox WHERE published_at IS NULL AND retry_at IS NULL"
        )
        row = await waiting.fetchone()
        letters = await connection.execute(_LETTERS, [_VENDORS_NAMED, OTHER_VENDORS])
        alerts = await connection.execute(
            "SELECT kind, count(*) FROM alert WHERE resolved_at IS NULL GROUP BY kind"
        )
        return Backlog(
            outbox_messages=0 if row is None else row[0],
            outbox_oldest_at=None if row is None else row[1],
            open_letters=[(row[0], row[1], int(row[2])) for row in await letters.fetchall()],
            open_alerts=[(row[0], row[1]) for row in await alerts.fetchall()],
            newest_plans=[
                (standing.municipality_id, standing.planned_at)
                for standing in await read_plan_ages(connection)
                if standing.planned_at is not None
            ],
        )
