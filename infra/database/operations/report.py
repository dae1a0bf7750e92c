"""What an installation has seen and proposed, summed up for a reader."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

ReportRows = list[dict[str, Any]]

_TOTALS: Final = """
SELECT (SELECT count(*) FROM fix)                                          AS fixes,
       (SELECT count(*) FROM fix WHERE quarantine IS NOT NULL)             AS quarantined,
       (SELECT count(*) FROM dead_letter)                                  AS dead_letters,
       (SELECT count(*) FROM segment)                                      AS segments,
       (SELECT count(*) FROM trip)                                         AS trips,
       (SELECT count(*) FROM round_trip WHERE NOT is_open)                 AS round_trips,
       (SELECT count(DISTINCT vehicle_id) FROM vehicle_state)              AS vehicles,
       (SELECT coalesce(sum(distance_m), 0) / 1000 FROM usage_hour)        AS km,
       (SELECT coalesce(sum(driving_s), 0) / 3600 FROM usage_hour)         AS driving_h,
       (SELECT coalesce(sum(idling_s), 0) / 3600 FROM usage_hour)          AS idling_h,
       (SELECT coalesce(sum(extract(epoch FROM ended_at - started_at)), 0) / 3600
           FROM segment WHERE state = 'parked')                            AS parked_h,
       (SELECT coalesce(sum(extract(epoch FROM ended_at - started_at)), 0) / 3600
           FROM segment WHERE state = 'offline')                           AS offline_h,
       (SELECT coalesce(sum(away_s), 0) / 3600 FROM usage_hour)            AS away_h,
       (SELECT coalesce(sum(co2e_kg), 0) FROM usage_hour)                  AS co2e_kg,
       (SELECT count(*) FROM idle_interval)                                AS idle_intervals,
       (SELECT coalesce(sum(extract(epoch FROM ended_at - started_at)), 0) / 3600
          FROM idle_interval)                                              AS idle_reported_h,
       (SELECT coalesce(sum(fuel_l), 0) FROM idle_interval)                AS idle_fuel_l,
       (SELECT coalesce(sum(co2e_kg), 0) FROM idle_interval)               AS idle_co2e_kg
"""

# A share of nothing is none; how many were out at once is counted at the depot that they left.
_DEPOTS: Final = """
WITH use AS (
    SELECT vehicle_id, sum(distance_m) / 1000 AS km,
           sum(driving_s + idling_s) / 3600 AS engine_h, sum(idling_s) / 3600 AS idling_h,
           sum(away_s) / 3600 AS away_h, sum(available_s) AS available_s,
           sum(used_available_s) AS used_available_s, sum(away_available_s) AS away_available_s,
           count(*) FILTER (WHERE is_used) AS days_used
    FROM utilisation_day GROUP BY vehicle_id
), peak AS (
    SELECT depot_id, max(peak_out) AS peak FROM depot_occupancy_day GROUP BY depot_id
)
SELECT d.municipality_id, d.depot_id, d.name, d.capacity, s.supply AS vehicles,
       coalesce(sum(use.km), 0) AS km, coalesce(sum(use.engine_h), 0) AS engine_h,
       coalesce(sum(use.idling_h), 0) AS idling_h, coalesce(sum(use.away_h), 0) AS away_h,
       coalesce(avg(use.days_used), 0) AS days_used,
       sum(use.used_available_s) / nullif(sum(use.available_s), 0) AS used_share,
       sum(use.away_available_s) / nullif(sum(use.available_s), 0) AS away_share,
       coalesce(peak.peak, 0) AS peak
FROM depot d
JOIN depot_supply s USING (depot_id)
LEFT JOIN peak USING (depot_id)
LEFT JOIN vehicle v ON v.home_depot_id = d.depot_id
LEFT JOIN use USING (vehicle_id)
GROUP BY d.municipality_id, d.depot_id, d.name, d.capacity, s.supply, peak.peak
ORDER BY d.municipality_id, d.depot_id
"""

_CLASSES: Final = """
SELECT v.municipality_id, v.vehicle_type, count(DISTINCT v.vehicle_id) AS vehicles,
       sum(u.available_s) / 3600 AS available_h,
       sum(u.used_available_s) / nullif(sum(u.available_s), 0) AS used_share,
       sum(u.away_available_s) / nullif(sum(u.available_s), 0) AS away_share,
       count(*) FILTER (WHERE u.is_used)::float8
           / nullif(count(*) FILTER (WHERE u.available_s > 0), 0) AS days_share,
       sum(u.trip_count) / nullif(count(*) FILTER (WHERE u.is_used), 0) AS trips_a_day,
       sum(u.distance_m) / 1000 AS km, sum(u.driving_s + u.idling_s) / 3600 AS engine_h
FROM vehicle v JOIN utilisation_day u USING (vehicle_id)
GROUP BY v.municipality_id, v.vehicle_type ORDER BY v.municipality_id, v.vehicle_type
"""

_VEHICLES: Final = """
SELECT v.municipality_id, v.vehicle_id, v.vehicle_type, v.home_depot_id,
       coalesce(sum(u.distance_m), 0) / 1000 AS km,
       coalesce(sum(u.driving_s + u.idling_s), 0) / 3600 AS engine_h,
       count(*) FILTER (WHERE u.is_used) AS days_used,
       coalesce(sum(u.available_s), 0) / 3600 AS available_h,
       coalesce(sum(u.used_available_s), 0) / 3600 AS used_available_h
FROM vehicle v LEFT JOIN utilisation_day u USING (vehicle_id)
GROUP BY v.vehicle_id ORDER BY v.vehicle_id
"""

_ALERTS: Final = """
SELECT coalesce(vehicle_id, depot_id) AS whose, kind, raised_at, reason
FROM alert WHERE resolved_at IS NULL ORDER BY whose, kind
"""

_PRECISION: Final = """
SELECT coalesce(sum(distance_m), 0) / 1000 AS km,
       coalesce(sum(complete_m), 0) / 1000 AS complete_km,
       coalesce(sum(one_way_m), 0) / 1000 AS one_way_km,
       coalesce(sum(over_long_m), 0) / 1000 AS over_long_km,
       coalesce(sum(open_m), 0) / 1000 AS open_km,
       coalesce(sum(complete_m) / nullif(sum(distance_m), 0), 0) AS km_precision
FROM km_precision
"""

_WINDOW: Final = """
SELECT min(first_recorded_at) AS since, max(last_recorded_at) AS until FROM vehicle_state
"""

_PLANS: Final = "SELECT document FROM plan ORDER BY created_at, municipality_id"


async def _rows(connection: AsyncConnection[TupleRow], query: str) -> ReportRows:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query)
        return await cursor.fetchall()


async def totals(connection: AsyncConnection[TupleRow]) -> dict[str, Any]:
    """Return counts, kilometres, hours, litres and kg CO2e of everything."""
    return (await _rows(connection, _TOTALS))[0]


async def window(connection: AsyncConnection[TupleRow]) -> dict[str, Any]:
    """Return the instants of the first and the last fix; None where there is none."""
    return (await _rows(connection, _WINDOW))[0]


async def precision(connection: AsyncConnection[TupleRow]) -> dict[str, Any]:
    """Return the km of round trips by kind, and km precision: the share that is in complete ones.

    As OS2fleetoptimiser defines it (`fleetmanager/location/util.py`, `get_location_precision`): how
    much of what was driven can be told as leaving a depot and being back there. See ADR 10.
    """
    return (await _rows(connection, _PRECISION))[0]


async def depots(connection: AsyncConnection[TupleRow]) -> ReportRows:
    """Return what each depot's vehicles did, and how many were out at once at most."""
    return await _rows(connection, _DEPOTS)


async def classes(connection: AsyncConnection[TupleRow]) -> ReportRows:
    """Return how each class of a municipality's vehicles uses the time that its calendar gives."""
    return await _rows(connection, _CLASSES)


async def vehicles(connection: AsyncConnection[TupleRow]) -> ReportRows:
    """Return what each vehicle did, also of those that never moved."""
    return await _rows(connection, _VEHICLES)


async def open_alerts(connection: AsyncConnection[TupleRow]) -> ReportRows:
    """Return the alerts that are open: vehicle or depot, kind, when and why."""
    return await _rows(connection, _ALERTS)


async def plans(connection: AsyncConnection[TupleRow]) -> list[dict[str, Any]]:
    """Return the documents of all plans, the oldest first."""
    return [row["document"] for row in await _rows(connection, _PLANS)]
