"""More reasons to plan, what was decided about a plan, and what became of it week by week."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TRIGGERS = """
ALTER TABLE plan DROP CONSTRAINT plan_trigger_check;
ALTER TABLE plan ADD CONSTRAINT plan_trigger_check
    CHECK (trigger IN ('schedule', 'drift', 'fleet', 'alerts', 'on-demand'));

ALTER TABLE alert ADD COLUMN noted_at timestamptz NOT NULL DEFAULT clock_timestamp();
UPDATE alert SET noted_at = raised_at;
COMMENT ON COLUMN alert.noted_at IS
    'by the clock on the wall, as plans are dated: tells whether it came after a plan';
CREATE INDEX alert_open ON alert (municipality_id, noted_at) WHERE resolved_at IS NULL;

CREATE OR REPLACE VIEW reader.alert WITH (security_barrier) AS
SELECT t.* FROM public.alert t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);

CREATE INDEX plan_request_answered ON plan_request (municipality_id, done_at)
    WHERE plan_id IS NOT NULL;
"""

DECISIONS = """
ALTER TABLE plan
    ADD COLUMN state text NOT NULL DEFAULT 'proposed'
        CHECK (state IN ('proposed', 'accepted', 'rejected', 'superseded')),
    ADD COLUMN decided_at timestamptz,
    ADD COLUMN decided_by text,
    ADD COLUMN accepted_at timestamptz,
    ADD COLUMN accepted_by text,
    ADD COLUMN followed_from timestamptz,
    ADD COLUMN followed_until timestamptz,
    ADD CONSTRAINT plan_decided_by_somebody CHECK ((decided_at IS NULL) = (decided_by IS NULL)),
    ADD CONSTRAINT plan_accepted_by_somebody CHECK (
        (accepted_at IS NULL) = (accepted_by IS NULL)
        AND (accepted_at IS NULL) = (followed_from IS NULL)),
    ADD CONSTRAINT plan_decided CHECK (
        CASE state WHEN 'proposed' THEN decided_at IS NULL
                   WHEN 'superseded' THEN true ELSE decided_at IS NOT NULL END),
    ADD CONSTRAINT plan_followed CHECK (
        (state <> 'accepted' OR followed_from IS NOT NULL)
        AND (followed_until IS NULL OR followed_until >= followed_from));
UPDATE plan p SET state = 'superseded' WHERE EXISTS (
    SELECT 1 FROM plan newer
    WHERE newer.municipality_id = p.municipality_id AND newer.created_at > p.created_at);
COMMENT ON COLUMN plan.state IS 'superseded: a newer plan was proposed before anybody decided, or '
    'another one was accepted after this one';
COMMENT ON COLUMN plan.decided_at IS 'when it was accepted or rejected, the last time';
COMMENT ON COLUMN plan.accepted_at IS 'kept when it is rejected or superseded afterwards';
COMMENT ON COLUMN plan.followed_from IS 'since when it was to be carried out; set by accepting it';
COMMENT ON COLUMN plan.followed_until IS 'until another one was; null: still';
CREATE UNIQUE INDEX plan_one_accepted ON plan (municipality_id) WHERE state = 'accepted';
CREATE INDEX plan_followed_up ON plan (municipality_id) WHERE followed_from IS NOT NULL;
"""

OUTCOMES = """
ALTER TABLE plan ADD CONSTRAINT plan_of_municipality UNIQUE (plan_id, municipality_id);
CREATE TABLE plan_outcome (
    plan_id              uuid NOT NULL,
    municipality_id      text NOT NULL,
    week                 date NOT NULL CHECK (extract(isodow FROM week) = 1),
    promised_dkk         numeric(14, 2) NOT NULL,
    realised_dkk         numeric(14, 2) NOT NULL,
    demand_changed_dkk   numeric(14, 2) NOT NULL,
    not_carried_out_dkk  numeric(14, 2) NOT NULL,
    model_wrong_dkk      numeric(14, 2) NOT NULL,
    unserved_promised    double precision NOT NULL CHECK (unserved_promised >= 0),
    unserved_modelled    integer NOT NULL CHECK (unserved_modelled >= 0),
    unserved_realised    integer NOT NULL CHECK (unserved_realised >= 0),
    moves                integer NOT NULL,
    moves_carried_out    integer NOT NULL CHECK (moves_carried_out BETWEEN 0 AND moves),
    explanation          text NOT NULL,
    computed_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (plan_id, week),
    FOREIGN KEY (plan_id, municipality_id) REFERENCES plan (plan_id, municipality_id),
    CONSTRAINT plan_outcome_adds_up CHECK (promised_dkk - realised_dkk
        = demand_changed_dkk + not_carried_out_dkk + model_wrong_dkk)
);
COMMENT ON TABLE plan_outcome IS 'schemas.plans.outcome.PlanOutcome: an accepted plan''s whole '
    'local weeks, by their Monday; savings are DKK a week against nothing having moved';

CREATE VIEW plan_lending AS
SELECT p.municipality_id, p.plan_id, p.created_at, one.place::integer AS place,
       one.lending ->> 'vehicle_class' AS vehicle_class,
       one.lending ->> 'borrower_depot_id' AS borrower_depot_id,
       one.lending ->> 'lender_depot_id' AS lender_depot_id,
       (one.lending ->> 'way_min')::double precision AS way_min,
       (one.lending ->> 'vehicles')::integer AS vehicles,
       (one.lending ->> 'round_trips')::integer AS round_trips,
       (one.lending ->> 'saves_dkk')::double precision AS saves_dkk,
       one.lending ->> 'reason' AS reason
FROM plan p
CROSS JOIN LATERAL jsonb_array_elements(p.document -> 'lendings')
    WITH ORDINALITY AS one (lending, place);
COMMENT ON VIEW plan_lending IS 'Which depot should fetch vehicles of which neighbour, from the '
    'plan''s document (schemas.plans.plan.PlanLending)';

-- Without the names of who decided and who asked, as readers of studies do not see who asked.
CREATE OR REPLACE VIEW reader.plan WITH (security_barrier) AS
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
FROM public.plan t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
CREATE VIEW reader.plan_lending WITH (security_barrier) AS
SELECT t.* FROM public.plan_lending t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
CREATE VIEW reader.plan_outcome WITH (security_barrier) AS
SELECT t.* FROM public.plan_outcome t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Allow the new triggers, date the alerts, and keep decisions and outcomes."""
    for statements in (TRIGGERS, DECISIONS, OUTCOMES):
        op.execute(statements)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0012 has no downgrade: restore a backup instead")
