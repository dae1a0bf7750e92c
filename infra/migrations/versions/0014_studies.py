"""Studies: what the models of assignment, carpooling and routes answered when asked."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

STUDY = """
CREATE TABLE study (
    study_id        uuid PRIMARY KEY,
    municipality_id text NOT NULL REFERENCES municipality,
    kind            text NOT NULL CHECK (kind IN ('assignment', 'carpool', 'routes')),
    created_at      timestamptz NOT NULL,
    requested_by    text NOT NULL,
    inputs_hash     text NOT NULL CHECK (inputs_hash ~ '^[0-9a-f]{64}$'),
    seed            bigint NOT NULL,
    time_limit_s    double precision NOT NULL CHECK (time_limit_s > 0),
    status          text NOT NULL CHECK (status IN
                      ('optimal', 'feasible', 'infeasible', 'unknown')),
    objective_dkk   double precision NOT NULL,
    bound_dkk       double precision NOT NULL,
    gap             double precision NOT NULL CHECK (gap >= 0),
    basis           text NOT NULL,
    explanation     text NOT NULL,
    document        jsonb NOT NULL CHECK (document ->> 'type' = kind || '-plan')
);
COMMENT ON COLUMN study.objective_dkk IS
    'assignment and routes: cost, as small as possible; carpool: saving, as large as possible';
COMMENT ON COLUMN study.basis IS 'in words: what it was made from, left out and assumed';
COMMENT ON COLUMN study.document IS
    'schemas.plans.assignment.AssignmentPlan, schemas.plans.carpool.CarpoolPlan or '
    'schemas.plans.routes.RoutesPlan';
CREATE INDEX study_by_municipality ON study (municipality_id, created_at DESC);

-- Without the document, which says who was out with whom and who is visited when, and without the
-- name of who asked: basis and explanation count, and name no person, vehicle or place but depots.
CREATE VIEW reader.study WITH (security_barrier) AS
SELECT t.municipality_id, t.study_id, t.kind, t.created_at, t.inputs_hash, t.seed, t.time_limit_s,
       t.status, t.objective_dkk, t.bound_dkk, t.gap, t.basis, t.explanation
FROM public.study t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Create the table, and the readers' view."""
    op.execute(STUDY)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0014 has no downgrade: restore a backup instead")
