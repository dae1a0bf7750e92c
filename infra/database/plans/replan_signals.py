"""Cheap queries for signals that a plan is due, or that one in the making is no longer wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from infra.database.connection.pool import Connection
from schemas.events.alerts import DEPOT_SHORT, UNDERUSED, AlertKind

_PRESSING: Final = (UNDERUSED, DEPOT_SHORT)

# All of master data that a plan is made from, homes included. Their hash only tells that something
# has changed; what and how much, `optimizer.drift` says.
_FLEETS: Final = """
SELECT m.municipality_id, coalesce(md5(string_agg(one.what, E'\\n' ORDER BY one.what)), '')
FROM municipality m LEFT JOIN (
    SELECT municipality_id, jsonb_build_array('vehicle', vehicle_id, vehicle_type, energy_source,
        consumption_per_km, seats, range_km, home_depot_id, lease_ends_on,
        locked_until, in_service_until)::text AS what
    FROM vehicle JOIN vehicle_in_service USING (municipality_id, vehicle_id) WHERE registered
    UNION ALL
    SELECT municipality_id, jsonb_build_array('depot', depot_id, lat, lon, capacity,
        charger_count)::text
    FROM depot
    UNION ALL
    SELECT municipality_id, jsonb_build_array('planning', planning)::text FROM municipality
) AS one USING (municipality_id)
WHERE %(municipality_id)s::text IS NULL OR m.municipality_id = %(municipality_id)s
GROUP BY m.municipality_id
"""

_ALERTS: Final = """
SELECT a.municipality_id, a.kind, coalesce(a.vehicle_id, a.depot_id) AS whose
FROM municipality m
JOIN LATERAL (
    SELECT p.created_at FROM plan p WHERE p.municipality_id = m.municipality_id
    ORDER BY p.created_at DESC LIMIT 1
) AS newest ON true
JOIN alert a ON a.municipality_id = m.municipality_id AND a.resolved_at IS NULL
    AND a.noted_at > newest.created_at
WHERE a.kind = ANY (%s)
ORDER BY 1, 2, 3
"""


@dataclass(frozen=True, slots=True)
class OpenAlertCount:
    """Who has been found underused or short since the newest plan, and still is: ids."""

    underused: tuple[str, ...] = ()
    short: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Vehicles and depots together."""
        return len(self.underused) + len(self.short)


async def read_fleet_digests(
    connection: Connection, municipality_id: str | None = None
) -> Mapping[str, str]:
    """Return a hash of the master data that plans are made from, of one municipality or of all."""
    cursor = await connection.execute(_FLEETS, {"municipality_id": municipality_id})
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def read_open_alert_counts(connection: Connection) -> Mapping[str, OpenAlertCount]:
    """Return the alert pressure of each municipality that has a plan and any."""
    cursor = await connection.execute(_ALERTS, [[*_PRESSING]])
    alerts: dict[tuple[str, AlertKind], list[str]] = {}
    for municipality_id, kind, subject in await cursor.fetchall():
        alerts.setdefault((municipality_id, kind), []).append(subject)
    return {
        municipality_id: OpenAlertCount(
            tuple(alerts.get((municipality_id, UNDERUSED), ())),
            tuple(alerts.get((municipality_id, DEPOT_SHORT), ())),
        )
        for municipality_id in {key[0] for key in alerts}
    }


async def count_waiting(connection: Connection, municipality_id: str) -> int:
    """Return how many requests of a municipality nobody has answered."""
    cursor = await connection.execute(
        "SELECT count(*) FROM plan_request WHERE municipality_id = %s AND done_at IS NULL",
        [municipality_id],
    )
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def newest_on_request(connection: Connection) -> Mapping[str, datetime]:
    """Return when the newest plan on request was stored, of each municipality that asks again."""
    cursor = await connection.execute(
        "SELECT municipality_id, (SELECT max(r.done_at) FROM plan_request r "
        "WHERE r.municipality_id = w.municipality_id AND r.plan_id IS NOT NULL) AS planned_at "
        "FROM (SELECT DISTINCT municipality_id FROM plan_request WHERE done_at IS NULL) AS w"
    )
    return {row[0]: row[1] for row in await cursor.fetchall() if row[1] is not None}
