"""The last day of a vehicle in service, and what no longer counts it from then on."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

LAST_DAY = """
ALTER TABLE vehicle ADD COLUMN in_service_until date
    CHECK (in_service_until BETWEEN '2000-01-01' AND '2099-12-31');
COMMENT ON COLUMN vehicle.in_service_until IS
    'the last local day on which it is of the fleet; null: no end';
CREATE INDEX vehicle_home_depot ON vehicle_home (depot_id);

CREATE VIEW vehicle_in_service AS
SELECT v.municipality_id, v.vehicle_id
FROM vehicle v JOIN municipality m USING (municipality_id)
WHERE v.in_service_until IS NULL OR v.in_service_until >= (now() AT TIME ZONE m.timezone)::date;
COMMENT ON VIEW vehicle_in_service IS 'Vehicles whose last day in service has not passed by the '
    'clock on the municipality''s wall; the one place that says so of today';
"""

ALERT = """
ALTER TABLE alert DROP CONSTRAINT alert_kind_check;
ALTER TABLE alert ADD CONSTRAINT alert_kind_check CHECK (
    (vehicle_id IS NOT NULL AND kind IN
        ('underused', 'excess-idling', 'silent', 'odometer-mismatch', 'heard-after-retirement'))
    OR (depot_id IS NOT NULL AND kind = 'depot-short'));
"""

# Supply: of today in depot_supply, of each day in depot_occupancy_day. There a vehicle counts where
# it was at home at the middle of the day, and not on days after its last one.
SUPPLY = """
CREATE OR REPLACE VIEW depot_supply AS
SELECT d.municipality_id, d.depot_id, count(s.vehicle_id) AS supply
FROM depot d LEFT JOIN vehicle v ON v.home_depot_id = d.depot_id AND v.registered
LEFT JOIN vehicle_in_service s ON s.vehicle_id = v.vehicle_id
GROUP BY d.municipality_id, d.depot_id;

CREATE OR REPLACE VIEW depot_occupancy_day AS
SELECT c.municipality_id, c.depot_id, c.day, c.peak_out, c.peak_at, c.mean_out, s.supply
FROM (
    SELECT o.municipality_id, o.depot_id, o.day, max(o.out_count) AS peak_out,
           (array_agg(o.at ORDER BY o.out_count DESC, o.at))[1] AS peak_at,
           sum(o.out_count * extract(epoch FROM o.until - o.at))
               / nullif(sum(extract(epoch FROM o.until - o.at)), 0) AS mean_out
    FROM depot_occupancy o GROUP BY o.municipality_id, o.depot_id, o.day
) c
JOIN local_day d ON d.municipality_id = c.municipality_id AND d.started_at = c.day
CROSS JOIN LATERAL (
    SELECT count(*) AS supply FROM vehicle_home h JOIN vehicle v USING (vehicle_id)
    WHERE h.depot_id = c.depot_id AND v.registered
      AND h.during @> d.started_at + (d.ended_at - d.started_at) / 2
      AND (v.in_service_until IS NULL OR v.in_service_until >= d.local_day)
) s;
COMMENT ON COLUMN depot_occupancy_day.supply IS
    'vehicles that were at home there at the middle of the day, and in service';
"""

# As in 0007 but for two lines: after its last day a vehicle has no time available, and days only
# as long as something is heard of it.
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
CREATE OR REPLACE VIEW utilisation_day AS
WITH span AS MATERIALIZED (SELECT municipality_id, until FROM observed_span)
SELECT v.municipality_id, v.vehicle_id, d.started_at AS day, d.local_day, d.week, d.month,
       d.holiday, {", ".join(_SECONDS.format(part, name) for name, part in _PARTS.items())},
       h.driving_s, h.idling_s, h.distance_m, h.trip_count, h.trip_count > 0 AS is_used
FROM vehicle v
JOIN vehicle_state s USING (vehicle_id)
JOIN span o USING (municipality_id)
JOIN local_day d ON d.municipality_id = v.municipality_id
    AND d.ended_at > s.first_recorded_at AND d.started_at < greatest(o.until, s.last_recorded_at)
    AND (d.local_day <= coalesce(v.in_service_until, 'infinity')
         OR d.started_at <= s.last_recorded_at)
-- By its key for each vehicle and day: as an ordinary join, whole years would be read.
CROSS JOIN LATERAL (
    SELECT CASE WHEN v.in_service_until < d.local_day THEN '{{}}'
                ELSE c.during * tstzmultirange(tstzrange(
                    s.first_recorded_at, greatest(o.until, s.last_recorded_at)))
           END AS available
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
"""

READER = """
CREATE OR REPLACE VIEW reader.vehicle WITH (security_barrier) AS
SELECT t.* FROM public.vehicle t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
CREATE VIEW reader.vehicle_in_service WITH (security_barrier) AS
SELECT t.* FROM public.vehicle_in_service t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Add the day, have views count by it, and let readers see it."""
    for statements in (LAST_DAY, ALERT, SUPPLY, UTILISATION, READER):
        op.execute(statements)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0016 has no downgrade: restore a backup instead")
