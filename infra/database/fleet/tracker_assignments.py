"""Assignments of trackers to vehicles, and the fixes and dead letters that a change moves.

Who changes an assignment and a batch that is folded by the one of before must not pass each other.
They meet at the state of every vehicle that both touch; for what has no state to meet at, at one
lock, see `lock_assignments`. A batch then compares revisions. See ADR 0012.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import sql

from infra.database.connection.locks import acquire_exclusive_lock, acquire_shared_lock
from infra.database.connection.pool import Connection
from infra.database.timeline.tables import (
    CHECKPOINT,
    FIX,
    IDLE_INTERVAL,
    ROUND_TRIP,
    SEGMENT,
    TRIP,
    USAGE_HOUR,
    Row,
)
from schemas.fleet.master_data import Assignment

_NO_REVISION: Final = "tracker_revision has no row; restore the one that revision 0010 put there"
_FIX_COLUMNS: Final = sql.SQL(", ").join(map(sql.Identifier, FIX.columns))
_DERIVED: Final = (SEGMENT, TRIP, IDLE_INTERVAL, ROUND_TRIP, USAGE_HOUR, CHECKPOINT)


@dataclass(frozen=True, slots=True)
class WaitingLetter:
    """A dead letter of one fix that counts as soon as its tracker turns out to be elsewhere."""

    letter_id: UUID
    reason: str
    value: bytes


async def load_assignments(
    connection: Connection,
) -> tuple[int, Mapping[str, tuple[Assignment, ...]]]:
    """Return the revision and all assignments, by tracker and in order of time, of one moment."""
    cursor = await connection.execute(
        "SELECT r.revision, a.tracker_id, a.vehicle_id, a.since, a.until "
        "FROM tracker_revision r LEFT JOIN tracker_assignment a ON true "
        "ORDER BY a.tracker_id, a.since"
    )
    rows = await cursor.fetchall()
    if not rows:
        raise RuntimeError(_NO_REVISION)
    by_tracker: defaultdict[str, list[Assignment]] = defaultdict(list)
    for _, tracker_id, *assignment in rows:
        if tracker_id is not None:
            by_tracker[tracker_id].append(Assignment(*assignment))
    return rows[0][0], {
        tracker_id: tuple(assignments) for tracker_id, assignments in by_tracker.items()
    }


async def read_revision(connection: Connection) -> int:
    """Return how often assignments have changed."""
    row = await (await connection.execute("SELECT revision FROM tracker_revision")).fetchone()
    if row is None:
        raise RuntimeError(_NO_REVISION)
    revision: int = row[0]
    return revision


async def share_assignments(connection: Connection) -> None:
    """Wait until no assignment is being changed, and keep it so until the transaction ends.

    For a batch with a vehicle that may have no state yet, or with a fix that is of no vehicle. Call
    it before the states are locked.
    """
    await acquire_shared_lock(connection)


async def lock_assignments(connection: Connection) -> None:
    """Let one change of assignments go on at a time, and no newcomer beside it."""
    await acquire_exclusive_lock(connection)


async def has_vehicle(connection: Connection, vehicle_id: str) -> bool:
    """Return whether a vehicle is entered, or was seen in the stream."""
    cursor = await connection.execute("SELECT 1 FROM vehicle WHERE vehicle_id = %s", [vehicle_id])
    return await cursor.fetchone() is not None


async def write_assignments(
    connection: Connection, tracker_id: str, assignments: Sequence[Assignment]
) -> None:
    """Let these be the assignments of a tracker."""
    await connection.execute("DELETE FROM tracker_assignment WHERE tracker_id = %s", [tracker_id])
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO tracker_assignment (tracker_id, vehicle_id, since, until) "
            "VALUES (%s, %s, %s, %s)",
            [(tracker_id, *assignment) for assignment in assignments],
        )


async def list_assignments(
    connection: Connection, municipality_id: str
) -> list[tuple[str, str, datetime, datetime | None]]:
    """Return (tracker, vehicle, since, until) of a municipality's trackers, in order of time."""
    cursor = await connection.execute(
        "SELECT tracker_id, vehicle_id, since, until FROM tracker_assignment "
        "WHERE starts_with(tracker_id, %s || '/') ORDER BY tracker_id, since",
        [municipality_id],
    )
    return [(row[0], row[1], row[2], row[3]) for row in await cursor.fetchall()]


async def read_sent(  # noqa: PLR0913, PLR0917 - each bounds what is read
    connection: Connection,
    vehicle_id: str,
    tracker_id: str,
    since: datetime,
    until: datetime | None,
    after: datetime | None,
    limit: int,
) -> list[Row]:
    """Return what a tracker sent of a vehicle in a stretch of time, as rows of `FIX`, in order."""
    cursor = await connection.execute(
        sql.SQL(
            "SELECT {} FROM fix WHERE vehicle_id = %(vehicle_id)s "
            "AND coalesce(tracker_id, vehicle_id) = %(tracker_id)s "
            "AND recorded_at >= %(since)s AND recorded_at < %(until)s "
            "AND recorded_at > %(after)s ORDER BY recorded_at LIMIT %(limit)s"
        ).format(_FIX_COLUMNS),
        {
            "vehicle_id": vehicle_id,
            "tracker_id": tracker_id,
            "since": since,
            "until": until or "infinity",
            "after": after or "-infinity",
            "limit": limit,
        },
    )
    return await cursor.fetchall()


async def delete_sent(
    connection: Connection,
    vehicle_id: str,
    tracker_id: str,
    since: datetime,
    until: datetime | None,
) -> None:
    """Delete what a tracker sent of a vehicle in a stretch of time."""
    await connection.execute(
        "DELETE FROM fix WHERE vehicle_id = %s AND coalesce(tracker_id, vehicle_id) = %s "
        "AND recorded_at >= %s AND recorded_at < %s",
        [vehicle_id, tracker_id, since, until or "infinity"],
    )


async def oldest_fix(connection: Connection, vehicle_id: str) -> datetime | None:
    """Return the instant of a vehicle's oldest stored fix; None where none is stored."""
    cursor = await connection.execute(
        "SELECT min(recorded_at) FROM fix WHERE vehicle_id = %s", [vehicle_id]
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def forget_rows(connection: Connection, vehicle_id: str, *, after: datetime | None) -> None:
    """Delete a vehicle's checkpoints after an instant; without one, all that its fixes gave."""
    if after is not None:
        await connection.execute(
            "DELETE FROM vehicle_checkpoint WHERE vehicle_id = %s AND recorded_at > %s",
            [vehicle_id, after],
        )
        return
    for table in _DERIVED:
        await connection.execute(
            sql.SQL("DELETE FROM {} WHERE vehicle_id = %s").format(sql.Identifier(table.name)),
            [vehicle_id],
        )


async def forget_state(connection: Connection, vehicle_id: str) -> None:
    """Delete the state of a vehicle that has no fix any more."""
    await connection.execute("DELETE FROM vehicle_state WHERE vehicle_id = %s", [vehicle_id])


async def take_letters(
    connection: Connection, senders: Collection[str], after: UUID | None, limit: int
) -> list[WaitingLetter]:
    """Lock and return dead letters of these senders that an assignment decides on, in order of id.

    They are the losers of an instant that two fixes want, and what was of no vehicle. At most
    `limit` of those after one.
    """
    given: dict[str, Any] = {"senders": list(senders), "after": after or UUID(int=0)}
    cursor = await connection.execute(
        "SELECT dead_letter_id, reason, message_value FROM dead_letter "
        "WHERE replayed_at IS NULL AND discarded_at IS NULL "
        "AND reason IN ('conflicting-fix', 'unassigned-tracker') "
        "AND vehicle_id = ANY (%(senders)s) AND dead_letter_id > %(after)s "
        "ORDER BY dead_letter_id LIMIT %(limit)s FOR UPDATE",
        {**given, "limit": limit},
    )
    return [WaitingLetter(*row) for row in await cursor.fetchall()]
