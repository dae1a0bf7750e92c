"""Months of three municipalities' fleets, entered in bulk, for the bench of readers."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg.rows import TupleRow

MUNICIPALITIES: Final = ("aarhus", "favrskov", "syddjurs")
ROUND_TRIPS: Final = 3  # a vehicle and day, of two trips each
DEPOTS: Final = 4

_FLEET: Final = """
INSERT INTO municipality (municipality_id, name) VALUES (%(id)s, %(id)s);
INSERT INTO depot (depot_id, municipality_id, name, lat, lon, capacity)
SELECT %(id)s || '/d' || n, %(id)s, 'Depot ' || n, 56.3, 10.5, 50
FROM generate_series(1, %(depots)s) AS n;
INSERT INTO vehicle (vehicle_id, municipality_id, name, vehicle_type, home_depot_id)
SELECT %(id)s || '/car-' || n, %(id)s, 'Car ' || n, CASE n %% 3 WHEN 0 THEN 'van' ELSE 'car' END,
       %(id)s || '/d' || (1 + n %% %(depots)s)
FROM generate_series(1, %(vehicles)s) AS n;
INSERT INTO vehicle_state (vehicle_id, version, first_recorded_at, last_recorded_at, state)
SELECT vehicle_id, 1, %(start)s, %(start)s::timestamptz + make_interval(days => %(days)s), '{}'
FROM vehicle WHERE municipality_id = %(id)s;
INSERT INTO local_day
SELECT %(id)s, on_day, on_day::timestamp AT TIME ZONE 'Europe/Copenhagen',
       (on_day + 1)::timestamp AT TIME ZONE 'Europe/Copenhagen',
       date_trunc('week', on_day::timestamp) AT TIME ZONE 'Europe/Copenhagen',
       date_trunc('month', on_day::timestamp) AT TIME ZONE 'Europe/Copenhagen'
FROM (SELECT %(start)s::date + n AS on_day FROM generate_series(-1, %(days)s + 1) AS n) AS days;
INSERT INTO available_time
SELECT %(id)s, kind, local_day, tstzmultirange(tstzrange(
    started_at + interval '7 hours', started_at + interval '16 hours'))
FROM local_day, unnest(ARRAY['car', 'van']) AS kind WHERE municipality_id = %(id)s;
"""

# A round trip every three hours from six: out for 25 minutes, idle for 5, back in 25.
_DRIVEN: Final = """
CREATE TEMPORARY TABLE driven ON COMMIT DROP AS
SELECT v.vehicle_id, v.home_depot_id,
       %(start)s::timestamptz + make_interval(
           days => day, hours => 6 + 3 * n, mins => hashtext(v.vehicle_id) %% 30 + 30) AS at
FROM vehicle v, generate_series(0, %(days)s - 1) AS day, generate_series(0, %(each)s - 1) AS n
WHERE v.municipality_id = %(id)s;
INSERT INTO round_trip (vehicle_id, started_at, ended_at, kind, start_depot_id, end_depot_id,
                        distance_m, trip_count, is_open, home_depot_id)
SELECT vehicle_id, at, at + interval '55 min', 'complete', home_depot_id, home_depot_id, 24000, 2,
       false, home_depot_id
FROM driven;
INSERT INTO trip (vehicle_id, started_at, ended_at, distance_m, driving_s, idling_s, start_lat,
                  start_lon, end_lat, end_lon, is_open)
SELECT vehicle_id, at + make_interval(mins => 30 * leg), at + make_interval(mins => 25 + 30 * leg),
       12000, 1500, 0, 56.3, 10.5, 56.3, 10.5, false
FROM driven, generate_series(0, 1) AS leg;
INSERT INTO idle_interval (vehicle_id, started_at, ended_at, lat, lon, fuel_l, co2e_kg, is_open)
SELECT vehicle_id, at + interval '25 min', at + interval '30 min', 56.3, 10.5, 0.05, 0.13, false
FROM driven;
INSERT INTO usage_hour (vehicle_id, hour, driving_s, idling_s, parked_s, offline_s, distance_m,
                        trip_count, fuel_l, energy_kwh, co2e_kg, away_s)
SELECT v.vehicle_id, hour, CASE WHEN busy THEN 1500 ELSE 0 END, CASE WHEN busy THEN 300 ELSE 0 END,
       CASE WHEN busy THEN 1800 ELSE 3600 END, 0, CASE WHEN busy THEN 24000 ELSE 0 END,
       CASE WHEN busy THEN 2 ELSE 0 END, 0.1, 0, 0.2, CASE WHEN busy THEN 1800 ELSE 0 END
FROM vehicle v, generate_series(%(start)s::timestamptz,
    %(start)s::timestamptz + make_interval(days => %(days)s, hours => -1), '1 hour') AS hour,
    LATERAL (SELECT extract(hour FROM hour) IN (6, 9, 12)) AS use (busy)
WHERE v.municipality_id = %(id)s;
"""


def fill(
    connection: psycopg.Connection[TupleRow],
    municipality: str,
    *,
    start: str,
    days: int,
    vehicles: int,
) -> None:
    """Enter a municipality whose vehicles drive alike each day, from a UTC day on."""
    values = {
        "id": municipality,
        "start": f"{start} 00:00:00+00",
        "days": days,
        "vehicles": vehicles,
        "depots": DEPOTS,
        "each": ROUND_TRIPS,
    }
    with connection.transaction():
        for statement in (_FLEET + _DRIVEN).split(";\n"):
            if statement.strip():
                connection.execute(statement.encode(), values)
