"""What readers see comes by functions of their own rows, not by views of everybody's (law 4)."""

from __future__ import annotations

from alembic import op

from infra.database.access import reader_relations
from infra.database.connection import timescale

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE SCHEMA tenants;
COMMENT ON SCHEMA tenants IS
    'What dashboards show, of all municipalities: no reader may use it. See '
    'infra.database.access.reader_relations';
CREATE INDEX plan_outcome_by_municipality ON plan_outcome (municipality_id);
"""

# As they were shown before, column by column; with the instant by which a range is chosen.
OF_MUNICIPALITIES = {
    "municipality": None,
    "vehicle": None,
    "vehicle_in_service": None,
    "alert": None,
    "local_day": None,
    "available_time": None,
    "depot": None,
    "depot_supply": None,
    "depot_occupancy": "day",
    "depot_occupancy_day": "day",
    "utilisation_day": "day",
    "utilisation_week": "week",
    "utilisation_month": "month",
    "plan_backtest": None,
    "plan_lending": None,
    "plan_outcome": None,
    "study": None,
    "composition_point": None,
    "forecast_day": None,
    "site_finding": None,
    "site_cost": None,
}
OF_VEHICLES = {
    "segment": "started_at",
    "trip": "started_at",
    "idle_interval": "started_at",
    "round_trip": "started_at",
    "usage_hour": "hour",
    "usage_day": "day",
    "usage_week": "week",
    "usage_month": "month",
}
# About a kilometre, as in revision 0003: somebody's home may be there. Where depots are is no
# secret.
COARSE = "round(t.{name} * 100) / 100 AS {name}"

# A vehicle's id begins with its municipality's, by a constraint.
MUNICIPALITY = "split_part(t.vehicle_id, '/', 1) AS municipality_id"

OTHERS = f"""
CREATE VIEW tenants.vehicle_home AS
SELECT {MUNICIPALITY}, t.vehicle_id, t.depot_id, lower(t.during) AS since, upper(t.during) AS until
FROM public.vehicle_home t;

CREATE VIEW tenants.tracker_assignment AS
SELECT {MUNICIPALITY}, t.tracker_id, t.vehicle_id, t.since, t.until
FROM public.tracker_assignment t;

-- Without the names of who decided and who asked, as readers of studies do not see who asked.
CREATE VIEW tenants.plan AS
SELECT t.plan_id, t.municipality_id, t.created_at, t.trigger,
       CASE t.trigger WHEN 'on-demand' THEN 'asked for' ELSE t.trigger_reason
       END AS trigger_reason,
       t.demand_from, t.demand_to, t.round_trip_count, t.inputs_hash, t.seed, t.status,
       t.objective_dkk, t.bound_dkk, t.gap, t.cost_before_dkk,
       CASE t.trigger
           WHEN 'on-demand' THEN t.document || jsonb_build_object('trigger_reason', 'asked for')
           ELSE t.document
       END AS document,
       t.state, t.decided_at, t.accepted_at, t.followed_from, t.followed_until
FROM public.plan t;

CREATE VIEW tenants.plan_move AS
SELECT p.municipality_id, t.* FROM public.plan_move t JOIN public.plan p USING (plan_id);
"""

# As in 0016 but for the trips: a vehicle's do not overlap, so that those of a day are the last one
# that has begun before it and what follows. A function computes all columns, asked for or not.
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
    WHERE t.vehicle_id = v.vehicle_id AND t.started_at < d.ended_at
      AND t.started_at >= coalesce((
          SELECT max(p.started_at) FROM trip p
          WHERE p.vehicle_id = v.vehicle_id AND p.started_at <= d.started_at), d.started_at)
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

# A rollup is summed up from its parts that lie within the range: bounds on the bucket itself are
# an expression of a zone, which neither an index nor a chunk knows.
LONGEST = {"day": "2 days", "week": "9 days", "month": "33 days"}
ROLLUP = """
SELECT split_part(b.vehicle_id, '/', 1), b.vehicle_id,
       b.bucket AT TIME ZONE '{zone}', {measures}
FROM (
    SELECT p.vehicle_id, date_trunc('{bucket}', p.local_day::timestamp) AS bucket, {sums}
    FROM public.usage_part p
    WHERE p.vehicle_id = ANY (own_vehicles)
      AND p.since >= $1 - interval '1 day' AND p.since <= $2 + interval '{longest}'
    GROUP BY 1, 2 OFFSET 0
) AS b
WHERE b.bucket AT TIME ZONE '{zone}' BETWEEN $1 AND $2
"""

# As public.km_precision of revision 0006, of a reader's vehicles and within the range.
KM_PRECISION = """
SELECT m.municipality_id, r.vehicle_id, r.home_depot_id,
       date_trunc('month', r.started_at, m.timezone) AS month,
       count(*) AS round_trips,
       sum(r.distance_m) AS distance_m,
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'complete' OR way.back), 0),
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'one-way' AND NOT way.back), 0),
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'over-long'), 0),
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'open'), 0),
       coalesce(sum(r.distance_m) FILTER (WHERE r.kind = 'complete' OR way.back), 0)
           / nullif(sum(r.distance_m), 0)
FROM public.round_trip r
JOIN public.municipality m ON m.municipality_id = split_part(r.vehicle_id, '/', 1)
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
WHERE r.vehicle_id = ANY (own_vehicles)
  AND r.started_at >= $1 AND r.started_at <= $2 + interval '33 days'
GROUP BY 1, 2, 3, 4
HAVING date_trunc('month', r.started_at, m.timezone) BETWEEN $1 AND $2
"""


def _show(name: str, *, coarse: bool) -> None:
    """Create the view of everybody's rows, with the columns that readers have had."""
    connection = op.get_bind()
    wanted = {
        "municipality_id": MUNICIPALITY if name in OF_VEHICLES else "t.municipality_id",
        "from_home": "t.start_depot_id = t.home_depot_id AS from_home",
    }
    shown = ", ".join(
        COARSE.format(name=column)
        if coarse and column.endswith(("lat", "lon"))
        else wanted.get(column, f"t.{column}")
        for column in reader_relations.columns(connection, f"reader.{name}")
    )
    op.execute(f"CREATE VIEW tenants.{name} AS SELECT {shown} FROM public.{name} t")


def _publish_rollup(bucket: str) -> None:
    name, connection = f"usage_{bucket}", op.get_bind()
    measures = reader_relations.columns(connection, f"tenants.{name}")[3:]
    query = ROLLUP.format(
        zone=timescale.CALENDAR_TIMEZONE,
        bucket=bucket,
        longest=LONGEST[bucket],
        measures=", ".join(f"b.{measure}" for measure in measures),
        sums=", ".join(f"sum(p.{measure}) AS {measure}" for measure in measures),
    )
    reader_relations.publish(connection, name, key="vehicle_id", time=bucket, query=query)


def upgrade() -> None:
    """Put a function in the place of each view that readers have."""
    op.execute(SCHEMA)
    op.execute(UTILISATION)
    connection = op.get_bind()
    timescale.choose(connection).usage_parts(("away_s",))
    for name, time in OF_MUNICIPALITIES.items():
        _show(name, coarse=name == "site_finding")
        reader_relations.publish(connection, name, time=time)
    for name, time in OF_VEHICLES.items():
        _show(name, coarse=True)
        reader_relations.publish(connection, name, key="vehicle_id", time=time)
    for bucket in ("day", "week", "month"):
        _publish_rollup(bucket)
    op.execute(OTHERS)
    for name in ("vehicle_home", "tracker_assignment"):
        reader_relations.publish(connection, name, key="vehicle_id")
    for name in ("plan", "plan_move"):
        reader_relations.publish(connection, name)
    shown = ", ".join(
        f"t.{column}" for column in reader_relations.columns(connection, "reader.km_precision")
    )
    op.execute(f"CREATE VIEW tenants.km_precision AS SELECT {shown} FROM public.km_precision t")
    reader_relations.publish(
        connection, "km_precision", key="vehicle_id", time="month", query=KM_PRECISION
    )


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0025 has no downgrade: restore a backup instead")
