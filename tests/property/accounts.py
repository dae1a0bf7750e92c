"""Law 1 as the database sees it: what does not add up, asked in SQL."""

from __future__ import annotations

from typing import Final

from infra.database.pool import Pool
from tests.stream_harness import fetch

_TILES: Final = """
    SELECT vehicle_id, started_at, before FROM (
        SELECT vehicle_id, started_at,
            lag(ended_at) OVER (PARTITION BY vehicle_id ORDER BY started_at) AS before
        FROM segment) s
    WHERE before IS NOT NULL AND before <> started_at
    UNION ALL SELECT vehicle_id, started_at, ended_at FROM segment WHERE ended_at <= started_at"""

_SUMS: Final = """
    SELECT vehicle_id, state, segments.s, hours.s FROM (
        SELECT vehicle_id, state, sum(extract(epoch FROM ended_at - started_at)) AS s
        FROM segment GROUP BY 1, 2) segments
    FULL JOIN (
        SELECT vehicle_id, state, sum(s) AS s FROM usage_hour, LATERAL (VALUES
            ('driving', driving_s), ('idling', idling_s), ('parked', parked_s),
            ('offline', offline_s)) AS v (state, s) GROUP BY 1, 2) hours
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
