"""Calendars as rows, and above them utilisation per vehicle and occupancy per depot."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CALENDAR = """
ALTER TABLE municipality ADD COLUMN calendar jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN municipality.calendar IS 'Overrides of schemas.fleet.calendar.Calendar';

CREATE TABLE calendar_kept (
    municipality_id text PRIMARY KEY REFERENCES municipality,
    digest          text NOT NULL CHECK (digest ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE calendar_kept IS 'Hash of the rows of local_day and available_time';

CREATE TABLE local_day (
    municipality_id text NOT NULL REFERENCES municipality,
    local_day       date NOT NULL,
    started_at      timestamptz NOT NULL,
    ended_at        timestamptz NOT NULL CHECK (ended_at > started_at),
    week            timestamptz NOT NULL,
    month           timestamptz NOT NULL,
    holiday         text,
    PRIMARY KEY (municipality_id, local_day),
    UNIQUE (municipality_id, started_at)
);
COMMENT ON TABLE local_day IS 'Days by the clock on a municipality''s wall: 23, 24 or 25 hours';
COMMENT ON COLUMN local_day.week IS 'local midnight in which the day''s week begins, on a Monday';
COMMENT ON COLUMN local_day.holiday IS 'name of a public holiday, or day off of the municipality';

CREATE TABLE available_time (
    municipality_id text NOT NULL,
    vehicle_type    text NOT NULL CHECK (vehicle_type IN
                      ('car', 'van', 'cargo_bike', 'e_bike', 'bike', 'unknown')),
    local_day       date NOT NULL,
    during          tstzmultirange NOT NULL,
    PRIMARY KEY (municipality_id, vehicle_type, local_day),
    FOREIGN KEY (municipality_id, local_day) REFERENCES local_day ON DELETE CASCADE
);
COMMENT ON TABLE available_time IS 'What of a day the calendar gives vehicles of a type to be used';
"""

# A vehicle's round trips of a day, and a depot's: a long one may have begun weeks before the day,
# so that an index by its start does not find it.
INDEXES = """
CREATE INDEX round_trip_of_vehicle ON round_trip
    USING gist (vehicle_id, tstzrange(started_at, ended_at)) WHERE NOT is_open;
CREATE INDEX round_trip_of_depot ON round_trip
    USING gist (start_depot_id, tstzrange(started_at, ended_at)) WHERE NOT is_open;
"""

OBSERVED = """
CREATE VIEW observed_span AS
SELECT v.municipality_id, min(s.first_recorded_at) AS since,
       least(now(), percentile_disc(0.9) WITHIN GROUP (ORDER BY s.last_recorded_at)) AS until
FROM vehicle_state s JOIN vehicle v USING (vehicle_id) GROUP BY v.municipality_id;
COMMENT ON VIEW observed_span IS 'From a municipality''s first fix to its event time, never later '
    'than now. A tenth of its vehicles may be ahead: one fast clock is no evidence of the others';

CREATE VIEW away_time AS
SELECT r.vehicle_id, r.start_depot_id AS depot_id, r.started_at, r.ended_at
FROM round_trip r WHERE NOT r.is_open
UNION ALL
SELECT r.vehicle_id, r.start_depot_id, r.started_at,
       CASE WHEN t.start_depot_id IS NULL THEN greatest(r.ended_at, s.last_recorded_at)
            ELSE r.ended_at END
FROM round_trip r JOIN vehicle_state s USING (vehicle_id)
LEFT JOIN trip t ON t.vehicle_id = r.vehicle_id AND t.is_open
WHERE r.is_open
UNION ALL
SELECT t.vehicle_id, t.start_depot_id, t.started_at, t.ended_at
FROM trip t LEFT JOIN round_trip r ON r.vehicle_id = t.vehicle_id AND r.is_open
WHERE t.is_open AND (t.start_depot_id IS NOT NULL OR r.vehicle_id IS NULL);
COMMENT ON VIEW away_time IS 'When a vehicle was out, and of which depot: on its round trips. One '
    'that is not back yet is out until its last fix, one that has just left is out already';
"""

# A vehicle's time is cut by its municipality's days, from its first fix until the event time. All
# that is summed up is found by vehicle and day, so that a month of a year costs a month.
_SECONDS = (
    "(SELECT coalesce(sum(extract(epoch FROM upper(x) - lower(x))), 0) FROM unnest({}) AS x) AS {}"
)
_PARTS = {
    "available_s": "w.available",
    "used_available_s": "w.available * u.used",
    "away_available_s": "w.available * a.away",
    "used_s": "u.used",
    "away_s": "a.away",
}
UTILISATION = f"""
CREATE VIEW utilisation_day AS
WITH span AS MATERIALIZED (SELECT municipality_id, until FROM observed_span)
SELECT v.municipality_id, v.vehicle_id, d.started_at AS day, d.local_day, d.week, d.month,
       d.holiday, {", ".join(_SECONDS.format(part, name) for name, part in _PARTS.items())},
       h.driving_s, h.idling_s, h.distance_m, h.trip_count, h.trip_count > 0 AS is_used
FROM vehicle v
JOIN vehicle_state s USING (vehicle_id)
JOIN span o USING (municipality_id)
JOIN local_day d ON d.municipality_id = v.municipality_id
    AND d.ended_at > s.first_recorded_at AND d.started_at < greatest(o.until, s.last_recorded_at)
-- By its key for each vehicle and day: as an ordinary join, whole years would be read.
CROSS JOIN LATERAL (
    SELECT c.during * tstzmultirange(tstzrange(
               s.first_recorded_at, greatest(o.until, s.last_recorded_at))) AS available
    FROM available_time c
    WHERE c.municipality_id = v.municipality_id AND c.vehicle_type = v.vehicle_type
      AND c.local_day = d.local_day
    OFFSET 0
) w
-- On the left of joins that cannot lose a row: a query that does not ask for them skips them.
LEFT JOIN LATERAL (
    SELECT coalesce(range_agg(tstzrange(t.started_at, t.ended_at)), '{{}}')
               * tstzmultirange(tstzrange(d.started_at, d.ended_at)) AS used
    FROM trip t
    WHERE t.vehicle_id = v.vehicle_id
      AND tstzrange(t.started_at, t.ended_at) && tstzrange(d.started_at, d.ended_at)
) u ON true
LEFT JOIN LATERAL (
    SELECT coalesce(range_agg(tstzrange(r.started_at, r.ended_at)), '{{}}')
               * tstzmultirange(tstzrange(d.started_at, d.ended_at)) AS away
    FROM away_time r
    WHERE r.vehicle_id = v.vehicle_id
      AND tstzrange(r.started_at, r.ended_at) && tstzrange(d.started_at, d.ended_at)
) a ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(n.driving_s), 0) AS driving_s, coalesce(sum(n.idling_s), 0) AS idling_s,
           coalesce(sum(n.distance_m), 0) AS distance_m,
           coalesce(sum(n.trip_count), 0) AS trip_count
    FROM usage_hour n
    WHERE n.vehicle_id = v.vehicle_id AND n.hour >= d.started_at AND n.hour < d.ended_at
) h ON true;
COMMENT ON VIEW utilisation_day IS 'What a vehicle did in a day by the clock on the wall. Used: on '
    'a trip. Away: on a round trip, visits included. Available: what the calendar gives';
"""
SUMS = """
CREATE VIEW utilisation_{bucket} AS
SELECT municipality_id, vehicle_id, {bucket},
       sum(available_s) AS available_s, sum(used_available_s) AS used_available_s,
       sum(away_available_s) AS away_available_s, sum(used_s) AS used_s, sum(away_s) AS away_s,
       sum(driving_s) AS driving_s, sum(idling_s) AS idling_s, sum(distance_m) AS distance_m,
       sum(trip_count) AS trip_count, count(*) FILTER (WHERE is_used) AS days_used,
       count(*) FILTER (WHERE available_s > 0) AS days_available
FROM utilisation_day GROUP BY municipality_id, vehicle_id, {bucket};
"""

# Each day of a depot is counted for itself, from how many were out at its midnight: a month of a
# year costs a month. Who comes back as another leaves was not out at once with it.
OCCUPANCY = """
CREATE VIEW depot_supply AS
SELECT d.municipality_id, d.depot_id, count(v.vehicle_id) AS supply
FROM depot d LEFT JOIN vehicle v ON v.home_depot_id = d.depot_id AND v.registered
GROUP BY d.municipality_id, d.depot_id;
COMMENT ON VIEW depot_supply IS 'Vehicles that are at home at a depot; the one place that says so';

CREATE VIEW depot_occupancy AS
SELECT p.municipality_id, p.depot_id, d.started_at AS day, c.at, c.until, c.out_count
FROM depot p
JOIN observed_span o USING (municipality_id)
JOIN local_day d ON d.municipality_id = p.municipality_id
    AND d.ended_at > o.since AND d.started_at < o.until
CROSS JOIN LATERAL (
    SELECT b.at, (sum(b.change) OVER (ORDER BY b.at))::integer AS out_count,
           lead(b.at, 1, greatest(b.at, least(d.ended_at, o.until))) OVER (ORDER BY b.at) AS until
    FROM (
        SELECT e.at, sum(e.change) AS change
        FROM (
            SELECT d.started_at, 0
            UNION ALL
            SELECT v.at, v.change
            FROM away_time a
            CROSS JOIN LATERAL (
                VALUES (greatest(a.started_at, d.started_at), 1), (a.ended_at, -1)
            ) AS v (at, change)
            WHERE a.depot_id = p.depot_id AND v.at < d.ended_at
              AND tstzrange(a.started_at, a.ended_at) && tstzrange(d.started_at, d.ended_at)
        ) AS e (at, change)
        GROUP BY e.at
    ) b
) c;
COMMENT ON VIEW depot_occupancy IS
    'How many vehicles that left a depot were out at once: the count holds from at until until';

CREATE VIEW depot_occupancy_day AS
SELECT c.municipality_id, c.depot_id, c.day, max(c.out_count) AS peak_out,
       (array_agg(c.at ORDER BY c.out_count DESC, c.at))[1] AS peak_at,
       sum(c.out_count * extract(epoch FROM c.until - c.at))
           / nullif(sum(extract(epoch FROM c.until - c.at)), 0) AS mean_out,
       s.supply
FROM depot_occupancy c JOIN depot_supply s USING (municipality_id, depot_id)
GROUP BY c.municipality_id, c.depot_id, c.day, s.supply;
COMMENT ON COLUMN depot_occupancy_day.peak_at IS 'when the peak was first reached that day';
"""

# As an array, known before the query runs, the filter reaches below sums and windows: a join would
# sum up everybody's rows first.
MINE = """
CREATE VIEW reader.{name} WITH (security_barrier) AS
SELECT t.* FROM public.{name} t
WHERE t.municipality_id = ANY (ARRAY(
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user));
"""
FOR_READERS = (
    "local_day",
    "available_time",
    "utilisation_day",
    "utilisation_week",
    "utilisation_month",
    "depot_supply",
    "depot_occupancy",
    "depot_occupancy_day",
)


def upgrade() -> None:
    """Create tables, functions and views; calendars are filled in by workers and `fleet enter`."""
    for statements in (CALENDAR, INDEXES, OBSERVED, UTILISATION):
        op.execute(statements)
    for bucket in ("week", "month"):
        op.execute(SUMS.format(bucket=bucket))
    op.execute(OCCUPANCY)
    for name in FOR_READERS:
        op.execute(MINE.format(name=name))


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0007 has no downgrade: restore a backup instead")
