"""Studies of sites: which depots to keep, and which places in town would serve better."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

KIND = """
ALTER TABLE study
    DROP CONSTRAINT study_kind_check,
    ADD CONSTRAINT study_kind_check CHECK (
        kind IN ('assignment', 'carpool', 'routes', 'composition', 'forecast', 'sites'));
COMMENT ON COLUMN study.objective_dkk IS
    'assignment and routes: cost, as small as possible; carpool: saving, as large as possible; '
    'composition: a year''s cost of the chosen point; forecast: none; sites: a year''s cost';
COMMENT ON COLUMN study.document IS
    'AssignmentPlan, CarpoolPlan, RoutesPlan, CompositionPlan, Forecast or SitesPlan of schemas';
"""

VIEWS = """
-- Depots and places, and why each is open or not.
CREATE VIEW site_finding AS
SELECT t.municipality_id, t.study_id, t.created_at, s.number, s.site ->> 'site_id' AS site_id,
       s.site ->> 'kind' AS kind, s.site ->> 'depot_id' AS depot_id,
       (s.site ->> 'lat')::double precision AS lat, (s.site ->> 'lon')::double precision AS lon,
       (s.site ->> 'is_open')::boolean AS is_open, (s.site ->> 'must_stay')::boolean AS must_stay,
       (s.site ->> 'dkk_per_year')::double precision AS dkk_per_year,
       (s.site ->> 'round_trips_per_year')::double precision AS round_trips_per_year,
       (s.site ->> 'way_m')::double precision AS way_m,
       (s.site ->> 'further_m')::double precision AS further_m,
       (s.site ->> 'driving_dkk')::double precision AS driving_dkk,
       (s.site ->> 'vehicles_at_once')::int AS vehicles_at_once,
       (s.site ->> 'capacity')::int AS capacity, s.site ->> 'reason' AS reason
FROM public.study t
CROSS JOIN LATERAL jsonb_array_elements(t.document -> 'sites')
    WITH ORDINALITY AS s (site, number)
WHERE t.kind = 'sites';
-- Places are to a hundredth of a degree in the document already, since one may be somebody's home;
-- where depots are exactly is in reader.depot.
CREATE VIEW reader.site_finding WITH (security_barrier) AS
SELECT t.municipality_id, t.study_id, t.created_at, t.number, t.site_id, t.kind, t.depot_id,
       round(t.lat::numeric, 2)::double precision AS lat,
       round(t.lon::numeric, 2)::double precision AS lon,
       t.is_open, t.must_stay, t.dkk_per_year, t.round_trips_per_year, t.way_m, t.further_m,
       t.driving_dkk, t.vehicles_at_once, t.capacity, t.reason
FROM public.site_finding t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);

-- What a year costs with the depots as they are, and as proposed: three rows a study.
CREATE VIEW site_cost AS
SELECT t.municipality_id, t.study_id, t.created_at, c.number, c.key AS sites_are,
       (t.document #>> ARRAY[c.key, 'sites'])::int AS sites,
       (t.document #>> ARRAY[c.key, 'sites_dkk'])::double precision AS sites_dkk,
       (t.document #>> ARRAY[c.key, 'energy_dkk'])::double precision AS energy_dkk,
       (t.document #>> ARRAY[c.key, 'co2e_dkk'])::double precision AS co2e_dkk,
       (t.document #>> ARRAY[c.key, 'staff_dkk'])::double precision AS staff_dkk,
       (t.document #>> ARRAY[c.key, 'cost_dkk'])::double precision AS cost_dkk,
       (t.document #>> ARRAY[c.key, 'distance_m'])::double precision AS distance_m,
       (t.document #>> ARRAY[c.key, 'co2e_kg'])::double precision AS co2e_kg
FROM public.study t
CROSS JOIN (VALUES (0, 'as_driven'), (1, 'nearest'), (2, 'proposed')) AS c (number, key)
WHERE t.kind = 'sites';
CREATE VIEW reader.site_cost WITH (security_barrier) AS
SELECT t.municipality_id, t.study_id, t.created_at, t.number, t.sites_are, t.sites, t.sites_dkk,
       t.energy_dkk, t.co2e_dkk, t.staff_dkk, t.cost_dkk, t.distance_m, t.co2e_kg
FROM public.site_cost t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Let the table have the new kind, and readers see its sites and costs."""
    op.execute(KIND)
    op.execute(VIEWS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0018 has no downgrade: restore a backup instead")
