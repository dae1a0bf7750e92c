"""Alerts: the figures that they rest on, which are open, and rows and events in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import dict_row

from infra.database.connection.locks import Lock, try_lock
from infra.database.connection.pool import Connection
from infra.database.stream.progress import put_outbox
from schemas.events.alerts import AlertKind, AlertRaised, AlertResolved

Subject = tuple[str, AlertKind]
"""A vehicle or depot and what is wrong with it."""

_VEHICLES: Final = """
WITH seen AS (
    SELECT v.vehicle_id, v.vehicle_type, v.energy_source, s.first_recorded_at, s.last_recorded_at
    FROM vehicle v JOIN vehicle_state s USING (vehicle_id)
    JOIN vehicle_in_service USING (vehicle_id)
    WHERE v.municipality_id = %(municipality_id)s AND v.registered
      AND s.first_recorded_at <= %(until)s
), used AS (
    SELECT u.vehicle_id, sum(u.distance_m) / 1000 AS km,
           sum(u.driving_s + u.idling_s) / 3600 AS engine_h, sum(u.idling_s) / 3600 AS idling_h,
           count(DISTINCT (u.hour AT TIME ZONE %(timezone)s)::date)
               FILTER (WHERE u.trip_count > 0) AS days_used
    FROM usage_hour u JOIN seen USING (vehicle_id)
    WHERE u.hour >= %(until)s - make_interval(days => %(days)s) AND u.hour < %(until)s
    GROUP BY u.vehicle_id
), part AS (
    SELECT seen.vehicle_id, unnest(c.during * tstzmultirange(tstzrange(
               greatest(seen.first_recorded_at, %(until)s - make_interval(days => %(days)s)),
               %(until)s))) AS during
    FROM seen
    JOIN local_day d ON d.municipality_id = %(municipality_id)s AND d.started_at < %(until)s
        AND d.ended_at > %(until)s - make_interval(days => %(days)s)
    JOIN available_time c ON c.municipality_id = d.municipality_id AND c.local_day = d.local_day
        AND c.vehicle_type = seen.vehicle_type
), available AS (
    SELECT part.vehicle_id,
           sum(extract(epoch FROM upper(part.during) - lower(part.during))) / 3600 AS available_h,
           sum(t.used_s) / 3600 AS used_available_h
    FROM part CROSS JOIN LATERAL (
        SELECT sum(extract(epoch FROM least(upper(part.during), t.ended_at)
                                      - greatest(lower(part.during), t.started_at))) AS used_s
        FROM trip t
        WHERE t.vehicle_id = part.vehicle_id AND tstzrange(t.started_at, t.ended_at) && part.during
    ) t
    GROUP BY part.vehicle_id
), read AS (
    SELECT t.vehicle_id, sum(t.odometer_m) / 1000 AS odometer_km,
           sum(t.gps_m) / 1000 AS odometer_gps_km
    FROM trip t JOIN seen USING (vehicle_id)
    WHERE t.odometer_m IS NOT NULL AND t.gps_m IS NOT NULL AND t.started_at < %(until)s
      AND t.started_at >= %(until)s - make_interval(days => %(days)s)
    GROUP BY t.vehicle_id
)
SELECT seen.vehicle_id, seen.vehicle_type AS vehicle_class, seen.energy_source,
       least(%(days)s, extract(epoch FROM %(until)s - seen.first_recorded_at) / 86400)::float8
           AS observed_days,
       coalesce(used.km, 0)::float8 AS distance_km, coalesce(used.days_used, 0) AS days_used,
       coalesce(used.engine_h, 0)::float8 AS engine_h,
       coalesce(used.idling_h, 0)::float8 AS idling_h,
       greatest(0, extract(epoch FROM %(until)s - seen.last_recorded_at) / 3600)::float8
           AS silent_h,
       coalesce(available.available_h, 0)::float8 AS available_h,
       coalesce(available.used_available_h, 0)::float8 AS used_available_h,
       coalesce(read.odometer_km, 0)::float8 AS odometer_km,
       coalesce(read.odometer_gps_km, 0)::float8 AS odometer_gps_km
FROM seen LEFT JOIN used USING (vehicle_id) LEFT JOIN available USING (vehicle_id)
LEFT JOIN read USING (vehicle_id)
ORDER BY seen.vehicle_id
"""

# By who is at home there today, also on the days before: an alert asks whether there are enough.
_DEPOTS: Final = """
SELECT o.depot_id, s.supply::integer AS supply, count(*)::integer AS days,
       (count(*) FILTER (WHERE o.peak_out >= CASE s.supply WHEN 0 THEN 1 WHEN 1 THEN 2
                                                  ELSE s.supply END))::integer AS short_days,
       max(o.peak_out)::integer AS peak_out
FROM depot_occupancy_day o JOIN depot_supply s USING (municipality_id, depot_id)
WHERE o.municipality_id = %(municipality_id)s
  AND o.day >= %(until)s - make_interval(days => %(days)s) AND o.day < %(until)s
  AND EXISTS (
      SELECT 1 FROM local_day d JOIN available_time a USING (municipality_id, local_day)
      WHERE d.municipality_id = o.municipality_id AND d.started_at = o.day
        AND NOT isempty(a.during))
GROUP BY o.depot_id, s.supply ORDER BY o.depot_id
"""

_RETIRED: Final = """
SELECT v.vehicle_id, v.in_service_until,
       coalesce(extract(epoch FROM s.last_recorded_at - ended.at) / 3600, 0)::float8 AS reporting_h,
       coalesce(greatest(0, extract(epoch FROM %(until)s - s.last_recorded_at) / 3600), 0)::float8
           AS silent_h,
       coalesce((SELECT sum(u.distance_m) / 1000 FROM usage_hour u
                 WHERE u.vehicle_id = v.vehicle_id AND u.hour >= ended.at), 0)::float8
           AS distance_km
FROM vehicle v LEFT JOIN vehicle_state s USING (vehicle_id)
CROSS JOIN LATERAL (
    SELECT (v.in_service_until + 1)::timestamp AT TIME ZONE %(timezone)s AS at) AS ended
WHERE v.municipality_id = %(municipality_id)s AND v.registered
  AND v.vehicle_id NOT IN (SELECT vehicle_id FROM vehicle_in_service)
ORDER BY v.vehicle_id
"""


# Of a tracker in the vehicle that it was in last; of an id that is no vehicle's nobody can be told.
_OTHER_VENDORS: Final = """
SELECT v.vehicle_id, array_agg(DISTINCT l.vendor ORDER BY l.vendor) AS vendors, count(*) AS fixes
FROM dead_letter l
LEFT JOIN LATERAL (
    SELECT a.vehicle_id FROM tracker_assignment a WHERE a.tracker_id = l.vehicle_id
    ORDER BY a.since DESC LIMIT 1) a ON true
JOIN vehicle v ON v.vehicle_id = coalesce(a.vehicle_id, l.vehicle_id)
WHERE l.reason = 'other-vendor' AND l.municipality_id = %(municipality_id)s
  AND l.replayed_at IS NULL AND l.discarded_at IS NULL AND l.vendor IS NOT NULL
GROUP BY v.vehicle_id ORDER BY v.vehicle_id
"""


STATISTICS: Final[Mapping[str, str]] = {
    "vehicles": _VEHICLES,
    "depots": _DEPOTS,
    "retired-vehicles": _RETIRED,
    "other-vendors": _OTHER_VENDORS,
}
"""The query of each class of `processors.alerts.statistics`, by its name there. It is given
%(municipality_id)s, %(timezone)s, %(until)s, the municipality's last fix, and %(days)s, the window
before that."""


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that is not over."""

    alert_id: UUID
    vehicle_id: str | None
    depot_id: str | None
    raised_at: datetime
    reason: str


async def try_to_lock(connection: Connection) -> bool:
    """Take the lock of alerts until the transaction ends; return whether we have it."""
    return await try_lock(connection, Lock.ALERTS)


async def read_statistics(  # noqa: PLR0913 - the parameters of the queries
    connection: Connection,
    query: str,
    *,
    municipality_id: str,
    timezone: str,
    until: datetime,
    days: int,
) -> list[dict[str, Any]]:
    """Return the rows of a query of `STATISTICS`, as the fields of its class are named."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            STATISTICS[query],
            {
                "municipality_id": municipality_id,
                "timezone": timezone,
                "until": until,
                "days": days,
            },
        )
        return await cursor.fetchall()


async def read_open(connection: Connection, municipality_id: str) -> dict[Subject, OpenAlert]:
    """Return the open alerts of a municipality."""
    cursor = await connection.execute(
        "SELECT kind, alert_id, vehicle_id, depot_id, raised_at, reason FROM alert "
        "WHERE municipality_id = %s AND resolved_at IS NULL",
        [municipality_id],
    )
    return {(row[2] or row[3], row[0]): OpenAlert(*row[1:]) for row in await cursor.fetchall()}


async def read_resolved(connection: Connection, municipality_id: str) -> dict[Subject, datetime]:
    """Return when the newest of each subject's earlier alerts ended."""
    cursor = await connection.execute(
        "SELECT coalesce(vehicle_id, depot_id), kind, max(resolved_at) FROM alert "
        "WHERE municipality_id = %s AND resolved_at IS NOT NULL GROUP BY 1, 2",
        [municipality_id],
    )
    return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}


async def read_retired(connection: Connection, municipality_id: str) -> dict[str, date]:
    """Return the last day in service of vehicles of which it has passed."""
    cursor = await connection.execute(
        "SELECT vehicle_id, in_service_until FROM vehicle WHERE municipality_id = %s "
        "AND registered AND vehicle_id NOT IN (SELECT vehicle_id FROM vehicle_in_service)",
        [municipality_id],
    )
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def store(
    connection: Connection,
    raised: Sequence[AlertRaised],
    resolved: Sequence[AlertResolved],
    topic: str,
) -> None:
    """Write alerts and queue their events. Call it in a transaction.

    Raises `psycopg.errors.UniqueViolation` when a subject has an open alert already.
    """
    async with connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO alert (alert_id, municipality_id, kind, vehicle_id, depot_id, raised_at, "
            "reason) VALUES (%(alert_id)s, %(municipality_id)s, %(kind)s, %(vehicle_id)s, "
            "%(depot_id)s, %(raised_at)s, %(reason)s)",
            [alert.model_dump() for alert in raised],
        )
        await cursor.executemany(
            "UPDATE alert SET resolved_at = %(resolved_at)s, resolution = %(resolution)s "
            "WHERE alert_id = %(alert_id)s AND resolved_at IS NULL",
            [alert.model_dump() for alert in resolved],
        )
    events: Sequence[AlertRaised | AlertResolved] = [*raised, *resolved]
    await put_outbox(
        connection,
        [
            (event.event_id, topic, event.subject_id, event.model_dump(mode="json"))
            for event in events
        ],
    )


async def list_alerts(connection: Connection, *, everything: bool) -> list[tuple[Any, ...]]:
    """Return (id, raised, kind, vehicle or depot, reason, seen by, resolved), the newest first."""
    cursor = await connection.execute(
        "SELECT alert_id, raised_at, kind, coalesce(vehicle_id, depot_id) AS subject, reason, "
        "acknowledged_by, resolved_at FROM alert WHERE %s OR resolved_at IS NULL "
        "ORDER BY raised_at DESC, subject, kind",
        [everything],
    )
    return await cursor.fetchall()


async def acknowledge(connection: Connection, alert_id: UUID, by: str) -> bool:
    """Note that somebody has seen an alert; return whether there is such an alert, still unseen."""
    cursor = await connection.execute(
        "UPDATE alert SET acknowledged_at = now(), acknowledged_by = %s "
        "WHERE alert_id = %s AND acknowledged_at IS NULL",
        [by, alert_id],
    )
    return bool(cursor.rowcount)
