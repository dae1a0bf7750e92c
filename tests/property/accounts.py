"""Law 1 as the database sees it: what does not add up, asked in SQL."""

from __future__ import annotations

from typing import Final

from infra.database.connection.pool import Pool
from processors.usage.hours import MAX_HOURLY_SILENCE
from tests.stream_harness import fetch

_TILES: Final = """
    SELECT vehicle_id, started_at, before FROM (
        SELECT vehicle_id, started_at,
            lag(ended_at) OVER (PARTITION BY vehicle_id ORDER BY started_at) AS before
        FROM segment) s
    WHERE before IS NOT NULL AND before <> started_at
    UNION ALL SELECT vehicle_id, started_at, ended_at FROM segment WHERE ended_at <= started_at"""

_UNTOLD: Final = f"""
    SELECT g.vehicle_id, g.state::text AS state, h.hour FROM segment g
    CROSS JOIN LATERAL generate_series(
        date_trunc('hour', g.started_at + INTERVAL '1 hour' - INTERVAL '1 microsecond'),
        g.ended_at - INTERVAL '1 hour', '1 hour') AS h (hour)
    LEFT JOIN usage_hour u ON u.vehicle_id = g.vehicle_id AND u.hour = h.hour
    WHERE g.ended_at - g.started_at > INTERVAL '{MAX_HOURLY_SILENCE.days} days'
        AND g.state IN ('parked', 'offline') AND u.hour IS NULL"""
"""Hours without a row, wholly within a long segment: that alone says what they were."""

_LOST: Final = f"""
    SELECT untold.vehicle_id, untold.hour FROM ({_UNTOLD}) untold
    CROSS JOIN LATERAL (
        SELECT max(recorded_at) FILTER (WHERE recorded_at <= hour) AS before,
            min(recorded_at) FILTER (WHERE recorded_at >= hour + INTERVAL '1 hour') AS after,
            count(*) FILTER (WHERE recorded_at > hour
                AND recorded_at < hour + INTERVAL '1 hour') AS within
        FROM fix WHERE fix.vehicle_id = untold.vehicle_id AND quarantine IS NULL) around
    WHERE within > 0 OR after - before <= INTERVAL '{MAX_HOURLY_SILENCE.days} days'"""

_SUMS: Final = f"""
    SELECT vehicle_id, state, segments.s, hours.s FROM (
        SELECT vehicle_id, state, sum(extract(epoch FROM ended_at - started_at)) AS s
        FROM segment GROUP BY 1, 2) segments
    FULL JOIN (
        SELECT vehicle_id, state, sum(s) AS s FROM (
            SELECT vehicle_id, state, s FROM usage_hour, LATERAL (VALUES
                ('driving', driving_s), ('idling', idling_s), ('parked', parked_s),
                ('offline', offline_s)) AS v (state, s)
            UNION ALL SELECT vehicle_id, state, 3600 FROM ({_UNTOLD}) untold) told
        GROUP BY 1, 2) hours
    USING (vehicle_id, state)
    WHERE coalesce(segments.s, 0) <> coalesce(hours.s, 0)"""

_FULL_HOURS: Final = """
    SELECT vehicle_id, hour FROM usage_hour
    WHERE driving_s + idling_s + parked_s + offline_s > 3600
        OR least(driving_s, idling_s, parked_s, offline_s) < 0"""

_SPANS: Final = """
    SELECT vehicle_id, counted.first, counted.last, tiled.first, tiled.last FROM (
        SELECT vehicle_id, min(recorded_at) AS first, max(recorded_at) AS last
        FROM fix WHERE quarantine IS NULL GROUP BY 1 HAVING count(*) > 1) counted
    FULL JOIN (
        SELECT vehicle_id, min(started_at) AS first, max(ended_at) AS last
        FROM segment GROUP BY 1) tiled
    USING (vehicle_id)
    WHERE (counted.first, counted.last) IS DISTINCT FROM (tiled.first, tiled.last)"""

_STATES: Final = """
    SELECT vehicle_id, seen.first, seen.last, state.first_recorded_at, state.last_recorded_at
    FROM (
        SELECT vehicle_id, min(recorded_at) AS first, max(recorded_at) AS last
        FROM fix GROUP BY 1) seen
    FULL JOIN vehicle_state state USING (vehicle_id)
    WHERE (seen.first, seen.last)
        IS DISTINCT FROM (state.first_recorded_at, state.last_recorded_at)"""

_TRIPS: Final = """
    SELECT trip.vehicle_id, trip.started_at, trip.driving_s, trip.idling_s,
        within.driving_s, within.idling_s, within.offline_s
    FROM trip JOIN LATERAL (
        SELECT sum(s) FILTER (WHERE state = 'driving'), sum(s) FILTER (WHERE state = 'idling'),
            sum(s) FILTER (WHERE state = 'offline')
        FROM (
            SELECT state, extract(epoch FROM least(segment.ended_at, trip.ended_at)
                - greatest(segment.started_at, trip.started_at)) AS s
            FROM segment WHERE segment.vehicle_id = trip.vehicle_id
                AND segment.started_at < trip.ended_at AND segment.ended_at > trip.started_at) cut
    ) AS within (driving_s, idling_s, offline_s) ON true
    WHERE (trip.driving_s, trip.idling_s, 0)
        <> (coalesce(within.driving_s, 0), coalesce(within.idling_s, 0),
            coalesce(within.offline_s, 0))"""

FAULTS: Final = {
    "segments leave a gap or overlap": _TILES,
    "hours do not add up to segments": _SUMS,
    "an hour that is part of no long silence has no row": _LOST,
    "an hour has more than 3600 s, or less than none": _FULL_HOURS,
    "segments do not reach from the first to the last fix that counts": _SPANS,
    "a state does not reach from the first to the last fix": _STATES,
    "a trip does not consist of the segments in its time": _TRIPS,
}


async def accounted_for(pool: Pool) -> None:
    """Raise `AssertionError`, with rows, where a second is accounted for twice or not at all."""
    for fault, query in FAULTS.items():
        rows = await fetch(pool, query)
        assert not rows, f"{fault}: {rows}"
