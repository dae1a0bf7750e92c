"""Studies of fleets: which vehicles a municipality should have, and what demand is to come."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

KINDS = """
ALTER TABLE study
    DROP CONSTRAINT study_kind_check,
    DROP CONSTRAINT study_status_check,
    DROP CONSTRAINT study_check,
    ALTER COLUMN objective_dkk DROP NOT NULL,
    ALTER COLUMN bound_dkk DROP NOT NULL,
    ALTER COLUMN gap DROP NOT NULL,
    ADD CONSTRAINT study_kind_check CHECK (
        kind IN ('assignment', 'carpool', 'routes', 'composition', 'forecast')),
    ADD CONSTRAINT study_status_check CHECK (
        status IN ('optimal', 'feasible', 'infeasible', 'unknown')
        OR kind = 'forecast' AND status = 'complete'),
    ADD CONSTRAINT study_document_check CHECK (
        document ->> 'type' = CASE kind WHEN 'forecast' THEN kind ELSE kind || '-plan' END),
    -- A forecast optimises nothing; a composition that cannot serve all has no point to speak of.
    ADD CONSTRAINT study_figures_check CHECK (
        num_nonnulls(objective_dkk, bound_dkk, gap) = 3
        OR num_nonnulls(objective_dkk, bound_dkk, gap) = 0
           AND (kind = 'forecast'
                OR kind = 'composition' AND status IN ('infeasible', 'unknown')));
COMMENT ON COLUMN study.objective_dkk IS
    'assignment and routes: cost, as small as possible; carpool: saving, as large as possible; '
    'composition: a year''s cost of the chosen point; forecast: none';
COMMENT ON COLUMN study.document IS
    'AssignmentPlan, CarpoolPlan, RoutesPlan, CompositionPlan or Forecast of schemas';
"""

VIEWS = """
-- Fleets between cost and CO2e, a row each; 0 is the fleet as it stands. Counts of kinds: neither
-- vehicles nor what they drove.
CREATE VIEW composition_point AS
SELECT t.municipality_id, t.study_id, t.created_at, p.number, p.number = 0 AS is_present,
       p.number > 0 AND p.number - 1 = (t.document ->> 'chosen')::int AS is_chosen,
       (p.point ->> 'cost_dkk')::double precision AS cost_dkk,
       (p.point ->> 'co2e_kg')::double precision AS co2e_kg,
       (p.point ->> 'bound_dkk')::double precision AS bound_dkk,
       (p.point ->> 'gap')::double precision AS gap,
       p.point ->> 'status' AS status,
       (SELECT string_agg(f.count || ' ' || f.kind_id, ', ' ORDER BY f.kind_id)
        FROM (SELECT c.key AS kind_id, sum(c.value::int) AS count
              FROM jsonb_array_elements(p.point -> 'depots') AS d,
                   jsonb_each_text(d -> 'counts') AS c
              GROUP BY 1 HAVING sum(c.value::int) > 0) AS f) AS fleet
FROM public.study t
CROSS JOIN LATERAL (
    SELECT 0::bigint AS number, t.document -> 'present' AS point
    WHERE jsonb_typeof(t.document -> 'present') = 'object'
    UNION ALL
    SELECT e.number, e.point
    FROM jsonb_array_elements(t.document -> 'points') WITH ORDINALITY AS e (point, number)
) AS p
WHERE t.kind = 'composition';
CREATE VIEW reader.composition_point WITH (security_barrier) AS
SELECT t.municipality_id, t.study_id, t.created_at, t.number, t.is_present, t.is_chosen,
       t.cost_dkk, t.co2e_kg, t.bound_dkk, t.gap, t.status, t.fleet
FROM public.composition_point t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);

-- Departures to be expected, by depot, class and local day.
CREATE VIEW forecast_day AS
SELECT t.municipality_id, t.study_id, t.created_at, s.series ->> 'depot_id' AS depot_id,
       s.series ->> 'trip_class' AS trip_class,
       (t.document ->> 'first_day')::date + (d.number - 1)::int AS local_day,
       (SELECT sum(h.value::double precision) FROM jsonb_array_elements_text(d.hours) AS h)
           AS departures,
       s.series ->> 'used' AS used,
       (s.series #>> '{back_test,seasonal_wape}')::double precision AS seasonal_wape,
       (s.series #>> '{back_test,naive_wape}')::double precision AS naive_wape
FROM public.study t
CROSS JOIN LATERAL jsonb_array_elements(t.document -> 'series') AS s (series)
CROSS JOIN LATERAL jsonb_array_elements(s.series -> 'hourly')
    WITH ORDINALITY AS d (hours, number)
WHERE t.kind = 'forecast';
CREATE VIEW reader.forecast_day WITH (security_barrier) AS
SELECT t.municipality_id, t.study_id, t.created_at, t.depot_id, t.trip_class, t.local_day,
       t.departures, t.used, t.seasonal_wape, t.naive_wape
FROM public.forecast_day t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Let the table have the new kinds, and readers see their points and days."""
    op.execute(KINDS)
    op.execute(VIEWS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0015 has no downgrade: restore a backup instead")
