"""Polygons of depots, homes over time, parts of round trips, time away, and km precision."""

from __future__ import annotations

from alembic import op

from infra.database.connection import timescale

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DEPOT = """
ALTER TABLE depot ADD COLUMN polygon jsonb
    CHECK (jsonb_typeof(polygon) = 'array' AND jsonb_array_length(polygon) >= 3);
COMMENT ON COLUMN depot.polygon IS
    'corners as [lat, lon]; where there is one, the radius does not count';
"""

HOMES = """
CREATE TABLE vehicle_home (
    vehicle_id text NOT NULL REFERENCES vehicle,
    depot_id   text NOT NULL REFERENCES depot,
    during     tstzrange NOT NULL CHECK (NOT isempty(during)),
    CHECK (split_part(vehicle_id, '/', 1) = split_part(depot_id, '/', 1)),
    EXCLUDE USING gist (vehicle_id WITH =, during WITH &&)
);
COMMENT ON TABLE vehicle_home IS
    'Where a vehicle was at home and when; without a lower end: ever since we know of it';

CREATE FUNCTION keep_homes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- Who changes a vehicle holds its row, so that this clock does not go back for one vehicle.
    changed_at timestamptz := clock_timestamp();
    since timestamptz;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM vehicle_home
        WHERE vehicle_id = NEW.vehicle_id AND lower(during) >= changed_at;
        UPDATE vehicle_home SET during = tstzrange(lower(during), changed_at)
        WHERE vehicle_id = NEW.vehicle_id AND during @> changed_at;
        -- Of one that was only seen in the stream nobody had said anything before.
        IF OLD.registered THEN since := changed_at; END IF;
    END IF;
    IF NEW.home_depot_id IS NOT NULL THEN
        INSERT INTO vehicle_home (vehicle_id, depot_id, during)
        VALUES (NEW.vehicle_id, NEW.home_depot_id, tstzrange(since, NULL));
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION keep_homes IS
    'Keeps vehicle_home in step with vehicle.home_depot_id, whoever changes it';
CREATE TRIGGER vehicle_entered AFTER INSERT ON vehicle
    FOR EACH ROW EXECUTE FUNCTION keep_homes();
CREATE TRIGGER vehicle_moved AFTER UPDATE OF home_depot_id ON vehicle
    FOR EACH ROW WHEN (OLD.home_depot_id IS DISTINCT FROM NEW.home_depot_id)
    EXECUTE FUNCTION keep_homes();

-- Nothing else has ever been said of vehicles that are there already.
INSERT INTO vehicle_home (vehicle_id, depot_id, during)
SELECT vehicle_id, home_depot_id, tstzrange(NULL, NULL) FROM vehicle
WHERE home_depot_id IS NOT NULL;
"""

ROUND_TRIPS = """
ALTER TABLE round_trip
    ADD COLUMN home_depot_id text REFERENCES depot,
    ADD COLUMN part integer NOT NULL DEFAULT 0 CHECK (part >= 0);
COMMENT ON COLUMN round_trip.home_depot_id IS 'of the vehicle, when it started; null: not known';
COMMENT ON COLUMN round_trip.part IS 'from 1, of one that was too long; 0: it is whole';
UPDATE round_trip r SET home_depot_id = v.home_depot_id
FROM vehicle v WHERE v.vehicle_id = r.vehicle_id AND v.home_depot_id IS NOT NULL;
"""

USAGE = """
ALTER TABLE usage_hour ADD COLUMN away_s numeric(10, 6);
ALTER TABLE usage_hour ADD CONSTRAINT usage_hour_away_s_check
    CHECK (away_s >= 0 AND away_s <= driving_s + idling_s + parked_s + offline_s);
COMMENT ON COLUMN usage_hour.away_s IS
    'as much of the four as the vehicle was away from every depot; null: written before this was '
    'calculated, see fleetpulse recompute';
"""

# OS2fleetoptimiser's precision (get_location_precision): km of complete round trips by all km that
# were strung to round trips, by home and time of start. There, a round trip that comes back over
# other homes within its longest time is complete: here it is several one-way ones in a row.
KM_PRECISION = """
CREATE VIEW {name} {options} AS
SELECT v.municipality_id, r.vehicle_id, r.home_depot_id,
       date_trunc('month', r.started_at, m.timezone) AS month,
       count(*) AS round_trips,
       sum(r.distance_m) AS distance_m,
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'complete' OR way.back), 0)
           AS complete_m,
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'one-way' AND NOT way.back), 0)
           AS one_way_m,
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'over-long'), 0) AS over_long_m,
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'open'), 0) AS open_m,
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'complete' OR way.back), 0)
           / nullif(sum(r.distance_m), 0) AS km_precision
FROM public.round_trip r
JOIN public.vehicle v ON v.vehicle_id = r.vehicle_id
JOIN public.municipality m ON m.municipality_id = v.municipality_id
CROSS JOIN LATERAL (
    SELECT make_interval(secs => coalesce((m.rules ->> 'round_trip_max_s')::float8, 36000))
        AS longest) AS rule
CROSS JOIN LATERAL (
    SELECT r.kind = 'one-way' AND EXISTS (
        SELECT 1 FROM public.round_trip f
        JOIN public.round_trip l ON l.vehicle_id = f.vehicle_id
        WHERE f.vehicle_id = r.vehicle_id AND f.kind = 'one-way' AND l.kind = 'one-way'
          AND l.end_depot_id = f.start_depot_id
          AND f.started_at BETWEEN r.ended_at - rule.longest AND r.started_at
          AND l.started_at BETWEEN r.started_at AND r.started_at + rule.longest
          AND l.started_at > f.started_at AND l.ended_at <= f.started_at + rule.longest
          AND NOT EXISTS (
              SELECT 1 FROM (
                  SELECT b.started_at, b.start_depot_id,
                         lag(b.end_depot_id) OVER (ORDER BY b.started_at) AS came_to
                  FROM public.round_trip b
                  WHERE b.vehicle_id = f.vehicle_id
                    AND b.started_at BETWEEN f.started_at AND l.started_at) AS step
              WHERE step.started_at > f.started_at
                AND step.start_depot_id IS DISTINCT FROM step.came_to)
    ) AS back) AS way
{mine}
GROUP BY 1, 2, 3, 4;
"""

MY_MUNICIPALITIES = """(
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user)"""

# Columns that are there keep their place: a view that is replaced keeps the rights on it.
READER = f"""
CREATE OR REPLACE VIEW reader.depot WITH (security_barrier) AS
SELECT t.depot_id, t.municipality_id, t.name, t.lat, t.lon, t.radius_m, t.capacity,
       t.charger_count, t.polygon
FROM public.depot t
WHERE t.municipality_id IN {MY_MUNICIPALITIES};

CREATE OR REPLACE VIEW reader.round_trip WITH (security_barrier) AS
SELECT v.municipality_id, t.vehicle_id, t.started_at, t.ended_at, t.kind, t.start_depot_id,
       t.end_depot_id, t.distance_m, t.trip_count, t.is_open, t.home_depot_id, t.part,
       t.start_depot_id = t.home_depot_id AS from_home
FROM public.round_trip t JOIN public.vehicle v USING (vehicle_id)
WHERE v.municipality_id IN {MY_MUNICIPALITIES};

CREATE VIEW reader.vehicle_home WITH (security_barrier) AS
SELECT v.municipality_id, t.vehicle_id, t.depot_id, lower(t.during) AS since,
       upper(t.during) AS until
FROM public.vehicle_home t JOIN public.vehicle v USING (vehicle_id)
WHERE v.municipality_id IN {MY_MUNICIPALITIES};
"""

USAGE_VIEW = """
CREATE OR REPLACE VIEW reader.{name} WITH (security_barrier) AS
SELECT v.municipality_id, t.vehicle_id, t.{time}, t.driving_s, t.idling_s, t.parked_s,
       t.offline_s, t.distance_m, t.trip_count, t.fuel_l, t.energy_kwh, t.co2e_kg, t.away_s
FROM public.{name} t JOIN public.vehicle v USING (vehicle_id)
WHERE v.municipality_id IN {mine};
"""


def upgrade() -> None:
    """Add the columns and the history, and let readers see them."""
    for statements in (DEPOT, HOMES, ROUND_TRIPS, USAGE):
        op.execute(statements)
    timescale.choose(op.get_bind()).more_in_rollups(("away_s",))
    op.execute(READER)
    for name, time in (
        ("usage_hour", "hour"),
        ("usage_day", "day"),
        ("usage_week", "week"),
        ("usage_month", "month"),
    ):
        op.execute(USAGE_VIEW.format(name=name, time=time, mine=MY_MUNICIPALITIES))
    op.execute(KM_PRECISION.format(name="km_precision", options="", mine=""))
    op.execute(
        KM_PRECISION.format(
            name="reader.km_precision",
            options="WITH (security_barrier)",
            mine=f"WHERE v.municipality_id IN {MY_MUNICIPALITIES}",
        )
    )


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0006 has no downgrade: restore a backup instead")
