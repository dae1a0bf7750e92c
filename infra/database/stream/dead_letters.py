"""Dead letters: finding them, sending them through the stream again, and discarding them.

A letter is open until it is replayed or discarded. Its row stays for 30 days after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row

from schemas.errors import UserError
from schemas.events.dead_letters import DeadLetterReason

ID_DIGITS: Final = 8
"""Digits of an id that are shown in lists."""
_FEWEST_DIGITS: Final = 4
_ID_LENGTH: Final = 32
_NAMED: Final = 5
_OPEN: Final = "replayed_at IS NULL AND discarded_at IS NULL"
_MATCHES: Final = (
    "(%(reason)s::text IS NULL OR reason = %(reason)s) "
    "AND (%(vendor)s::text IS NULL OR vendor = %(vendor)s) "
    "AND (%(vehicle_id)s::text IS NULL OR vehicle_id = %(vehicle_id)s) "
    "AND (%(municipality_id)s::text IS NULL OR municipality_id = %(municipality_id)s) "
    "AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)"
)
_COLUMNS: Final = (
    "dead_letter_id AS letter_id, created_at, reason, detail, vendor, municipality_id, vehicle_id, "
    "topic, partition, record_offset, item_index, message_key, message_value, replayed_at, "
    "discarded_at, discarded_by"
)


class LetterNotFoundError(UserError):
    """No letter has an id that begins so, or more than one has."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which letters are meant: those for which all that is given holds."""

    reason: DeadLetterReason | None = None
    vendor: str | None = None
    vehicle_id: str | None = None
    municipality_id: str | None = None
    since: datetime | None = None
    """The earliest instant at which a letter was written."""


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as it is stored; key and value are a message that can be produced again."""

    letter_id: UUID
    created_at: datetime
    reason: str
    detail: str
    vendor: str | None
    municipality_id: str | None
    vehicle_id: str | None
    topic: str
    partition: int
    record_offset: int
    item_index: int | None
    message_key: bytes | None
    message_value: bytes
    replayed_at: datetime | None = None
    discarded_at: datetime | None = None
    discarded_by: str | None = None


@dataclass(frozen=True, slots=True)
class LetterCount:
    """How many open letters there are of one reason and vendor, and from when to when."""

    reason: str
    vendor: str | None
    count: int
    oldest_at: datetime
    newest_at: datetime


async def list_letters(
    connection: AsyncConnection[TupleRow], wanted: Filter, *, everything: bool, limit: int
) -> list[StoredLetter]:
    """Return the newest letters, those that are not open only if `everything` is asked for."""
    state = "true" if everything else _OPEN
    async with connection.cursor(row_factory=class_row(StoredLetter)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM dead_letter WHERE {state} AND {_MATCHES} "
            "ORDER BY created_at DESC, dead_letter_id LIMIT %(limit)s",
            {**asdict(wanted), "limit": limit},
        )
        return await cursor.fetchall()


async def summarise(connection: AsyncConnection[TupleRow], wanted: Filter) -> list[LetterCount]:
    """Return how many letters are open by reason and vendor, the most first."""
    async with connection.cursor(row_factory=class_row(LetterCount)) as cursor:
        await cursor.execute(
            "SELECT reason, vendor, count(*) AS count, min(created_at) AS oldest_at, "
            f"max(created_at) AS newest_at FROM dead_letter WHERE {_OPEN} AND {_MATCHES} "
            "GROUP BY reason, vendor ORDER BY count(*) DESC, reason, vendor",
            asdict(wanted),
        )
        return await cursor.fetchall()


async def count_open(connection: AsyncConnection[TupleRow], wanted: Filter) -> int:
    """Return how many letters are open."""
    cursor = await connection.execute(
        f"SELECT count(*) FROM dead_letter WHERE {_OPEN} AND {_MATCHES}", asdict(wanted)
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def find_letter(connection: AsyncConnection[TupleRow], id_prefix: str) -> StoredLetter:
    """Lock and return the letter whose id begins with these hexadecimal digits.

    Raises `LetterNotFoundError` when there is none, or more than one.
    """
    digits = id_prefix.replace("-", "").lower()
    if not (_FEWEST_DIGITS <= len(digits) <= _ID_LENGTH and set(digits) <= set("0123456789abcdef")):
        raise LetterNotFoundError(
            f"{id_prefix!r} is no id of a letter; give {_FEWEST_DIGITS} to {_ID_LENGTH} "
            "hexadecimal digits, as `fleetpulse dead-letters list` shows them"
        )
    async with connection.cursor(row_factory=class_row(StoredLetter)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM dead_letter WHERE dead_letter_id BETWEEN %s AND %s "
            "ORDER BY dead_letter_id LIMIT %s FOR UPDATE",
            [UUID(digits.ljust(_ID_LENGTH, "0")), UUID(digits.ljust(_ID_LENGTH, "f")), _NAMED],
        )
        letters = await cursor.fetchall()
    if not letters:
        raise LetterNotFoundError(
            f"no letter's id begins with {id_prefix}; see `fleetpulse dead-letters list --all`, "
            "those replayed or discarded more than 30 days ago are deleted"
        )
    if len(letters) > 1:
        ids = ", ".join(str(letter.letter_id) for letter in letters)
        raise LetterNotFoundError(f"more than one letter's id begins with {id_prefix}: {ids}")
    return letters[0]


async def now(connection: AsyncConnection[TupleRow]) -> datetime:
    """Return the database's time, by which letters are dated."""
    row = await (await connection.execute("SELECT now()")).fetchone()
    if row is None:
        raise RuntimeError("SELECT now() returned no row")
    at: datetime = row[0]
    return at


async def take_open(
    connection: AsyncConnection[TupleRow],
    wanted: Filter,
    *,
    after: StoredLetter | None,
    until: datetime,
    limit: int,
) -> list[StoredLetter]:
    """Lock and return the oldest open letters after one, of those written until an instant."""
    async with connection.cursor(row_factory=class_row(StoredLetter)) as cursor:
        await cursor.execute(
            f"SELECT {_COLUMNS} FROM dead_letter WHERE {_OPEN} AND {_MATCHES} "
            "AND created_at <= %(until)s AND (%(after_id)s::uuid IS NULL "
            "OR (created_at, dead_letter_id) > (%(after_at)s, %(after_id)s)) "
            "ORDER BY created_at, dead_letter_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED",
            {
                **asdict(wanted),
                "until": until,
                "after_at": None if after is None else after.created_at,
                "after_id": None if after is None else after.letter_id,
                "limit": limit,
            },
        )
        return await cursor.fetchall()


async def mark_replayed(connection: AsyncConnection[TupleRow], ids: Sequence[UUID]) -> None:
    """Note that these letters are in the stream again, were they discarded or not."""
    await connection.execute(
        "UPDATE dead_letter SET replayed_at = now(), discarded_at = NULL, discarded_by = NULL "
        "WHERE dead_letter_id = ANY(%s)",
        [list(ids)],
    )


async def discard_letter(
    connection: AsyncConnection[TupleRow], letter_id: UUID, discarded_by: str
) -> bool:
    """Note who decided that a letter is of no use; return whether it was open."""
    cursor = await connection.execute(
        "UPDATE dead_letter SET discarded_at = now(), discarded_by = %s "
        f"WHERE dead_letter_id = %s AND {_OPEN}",
        [discarded_by, letter_id],
    )
    return cursor.rowcount == 1


async def discard_open(
    connection: AsyncConnection[TupleRow], wanted: Filter, until: datetime, discarded_by: str
) -> int:
    """Discard the open letters written until an instant; return how many there were."""
    cursor = await connection.execute(
        "UPDATE dead_letter SET discarded_at = now(), discarded_by = %(by)s "
        f"WHERE {_OPEN} AND {_MATCHES} AND created_at <= %(until)s",
        {**asdict(wanted), "until": until, "by": discarded_by},
    )
    return cursor.rowcount
