"""API keys of vendors: random, stored as hashes, each for one municipality."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from psycopg import AsyncConnection
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow

from infra.database.fleet.master_data import UnknownMunicipalityError

_PREFIX: Final = "fp_"
SHOWN_CHARACTERS: Final = 9
"""Of a key, in logs, metrics and lists; 36 of its 256 random bits."""


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whom a key speaks for."""

    municipality_id: str
    vendor: str
    may_push_history: bool = False
    """Whether a request may declare a range of history, older than raw fixes are kept."""


def key_hash(key: str) -> bytes:
    """Return what is stored of a key. A key is 256 random bits, so that no salt is needed."""
    return hashlib.sha256(key.encode()).digest()


async def create_key(
    connection: AsyncConnection[TupleRow],
    municipality_id: str,
    vendor: str,
    *,
    history: bool = False,
) -> str:
    """Create a key and return it; this is the only time that it can be read.

    With `history`, requests may declare a range of history.

    Raises `UnknownMunicipalityError`.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        await connection.execute(
            "INSERT INTO api_key (key_hash, key_prefix, municipality_id, vendor, may_push_history) "
            "VALUES (%s, %s, %s, %s, %s)",
            [key_hash(key), key[:SHOWN_CHARACTERS], municipality_id, vendor, history],
        )
    except ForeignKeyViolation:
        raise UnknownMunicipalityError(municipality_id) from None
    return key


async def revoke_keys(connection: AsyncConnection[TupleRow], key_prefix: str) -> int:
    """Revoke the keys that begin so; return how many were still valid."""
    cursor = await connection.execute(
        "UPDATE api_key SET revoked_at = now() WHERE key_prefix = %s AND revoked_at IS NULL",
        [key_prefix],
    )
    return cursor.rowcount


async def list_keys(
    connection: AsyncConnection[TupleRow],
) -> list[tuple[str, str, str, bool, object, object]]:
    """Return (prefix, municipality, vendor, may push history, created, revoked) of every key."""
    cursor = await connection.execute(
        "SELECT key_prefix, municipality_id, vendor, may_push_history, created_at, revoked_at "
        "FROM api_key ORDER BY municipality_id, vendor, created_at"
    )
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in await cursor.fetchall()]


async def valid_keys(connection: AsyncConnection[TupleRow]) -> dict[bytes, KeyHolder]:
    """Return all keys that are not revoked, by hash."""
    cursor = await connection.execute(
        "SELECT key_hash, municipality_id, vendor, may_push_history FROM api_key "
        "WHERE revoked_at IS NULL"
    )
    return {bytes(row[0]): KeyHolder(row[1], row[2], row[3]) for row in await cursor.fetchall()}
