"""Which vendors may report a vehicle or tracker: the first that did, and those allowed since.

The id is the one that is sent: a tracker's where a tracker sends an id of its own. Who is first is
noted in the transaction that writes its fixes, and is master data from then on. See ADR 0031.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from infra.database.connection.pool import Connection

VendorsOf = Mapping[str, Sequence[str]]
"""The vendors that may report an id, the first one first."""


class VendorLine(NamedTuple):
    """What `fleetpulse vendor list` shows of a vehicle's vendor."""

    vehicle_id: str
    vendor: str
    position: int | None
    """Its place among the vehicle's vendors; None: it may not report it."""
    allowed_by: str | None
    """Who allowed it; None: it came first."""
    waiting: int
    """How many of its fixes wait as dead letters `other-vendor`."""


async def load_vendors(connection: Connection) -> dict[str, tuple[str, ...]]:
    """Return the vendors of each id that was ever sent, the first one first."""
    cursor = await connection.execute(
        "SELECT vehicle_id, vendor FROM vehicle_vendor ORDER BY vehicle_id, position"
    )
    vendors: defaultdict[str, list[str]] = defaultdict(list)
    for vehicle_id, vendor in await cursor.fetchall():
        vendors[vehicle_id].append(vendor)
    return {vehicle_id: tuple(names) for vehicle_id, names in vendors.items()}


async def register_first_vendors(
    connection: Connection, first: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Note the first vendor of ids that have none; return the vendors of these ids.

    Where another transaction is doing the same, it is waited for, and its vendor is first.
    """
    ids = sorted(first)  # one order for all writers: no deadlock
    await connection.execute(
        "INSERT INTO vehicle_vendor (vehicle_id, vendor, position) "
        "SELECT id, vendor, 1 FROM unnest(%s::text[], %s::text[]) AS seen (id, vendor) "
        "ORDER BY id ON CONFLICT DO NOTHING",
        [ids, [first[vehicle_id] for vehicle_id in ids]],
    )
    return await vendors_of(connection, ids)


async def vendors_of(
    connection: Connection, vehicle_ids: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the vendors of some ids, without those that nobody has reported yet."""
    cursor = await connection.execute(
        "SELECT vehicle_id, array_agg(vendor ORDER BY position) FROM vehicle_vendor "
        "WHERE vehicle_id = ANY (%s) GROUP BY vehicle_id",
        [list(vehicle_ids)],
    )
    return {vehicle_id: tuple(names) for vehicle_id, names in await cursor.fetchall()}


async def allow_vendor(
    connection: Connection,
    vendor: str,
    vehicle_ids: Sequence[str],
    *,
    allowed_by: str,
    first: bool = False,
) -> int:
    """Let a vendor report these ids too; return for how many that is new.

    With `first` it counts before the others where they contradict it. Workers heed it with their
    next batch.
    """
    ids = sorted(vehicle_ids)
    place = "min(position) - 1" if first else "max(position) + 1"
    if first:
        await connection.execute(
            "DELETE FROM vehicle_vendor WHERE vendor = %s AND vehicle_id = ANY (%s)", [vendor, ids]
        )
    cursor = await connection.execute(
        "INSERT INTO vehicle_vendor (vehicle_id, vendor, position, allowed_by) "
        f"SELECT id, %s, coalesce((SELECT {place} FROM vehicle_vendor v WHERE v.vehicle_id = id), "
        "1), %s FROM unnest(%s::text[]) AS given (id) ORDER BY id ON CONFLICT DO NOTHING",
        [vendor, allowed_by, ids],
    )
    await _have_workers_read_again(connection)
    return cursor.rowcount


async def remove_vendor(connection: Connection, vendor: str, vehicle_ids: Sequence[str]) -> int:
    """Let a vendor report these ids no longer; return of how many it was one.

    What it has sent stays. Of an id that has no vendor left, the next one that reports is first.
    """
    cursor = await connection.execute(
        "DELETE FROM vehicle_vendor WHERE vendor = %s AND vehicle_id = ANY (%s)",
        [vendor, list(vehicle_ids)],
    )
    await _have_workers_read_again(connection)
    return cursor.rowcount


async def _have_workers_read_again(connection: Connection) -> None:
    await connection.execute("UPDATE tracker_revision SET revision = revision + 1")


async def reported_ids(connection: Connection, municipality_id: str) -> list[str]:
    """Return all ids of a municipality that have a vendor, or fixes of another one waiting."""
    cursor = await connection.execute(
        "SELECT vehicle_id FROM vehicle_vendor WHERE starts_with(vehicle_id, %(whose)s || '/') "
        "UNION SELECT vehicle_id FROM dead_letter WHERE reason = 'other-vendor' "
        "AND municipality_id = %(whose)s AND replayed_at IS NULL AND discarded_at IS NULL "
        "ORDER BY 1",
        {"whose": municipality_id},
    )
    return [row[0] for row in await cursor.fetchall()]


async def list_vendors(connection: Connection, municipality_id: str) -> list[VendorLine]:
    """Return the vendors of a municipality's ids, and those of which fixes only wait."""
    cursor = await connection.execute(
        "WITH waiting AS (SELECT vehicle_id, vendor, count(*) AS waiting FROM dead_letter "
        "WHERE reason = 'other-vendor' AND municipality_id = %(whose)s "
        "AND replayed_at IS NULL AND discarded_at IS NULL "
        "GROUP BY 1, 2), known AS (SELECT * FROM vehicle_vendor "
        "WHERE starts_with(vehicle_id, %(whose)s || '/')) "
        "SELECT vehicle_id, vendor, position, allowed_by, coalesce(waiting, 0) "
        "FROM known FULL JOIN waiting USING (vehicle_id, vendor) ORDER BY 1, 3 NULLS LAST, 2",
        {"whose": municipality_id},
    )
    return [VendorLine(*row) for row in await cursor.fetchall()]
