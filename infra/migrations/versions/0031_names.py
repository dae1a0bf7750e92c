"""Names with one meaning: a plan that was asked for is `on-request`; demand is what is driven."""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

NAMES = """
ALTER TABLE plan DROP CONSTRAINT plan_trigger_check;
UPDATE plan
SET trigger = 'on-request', document = document || jsonb_build_object('trigger', 'on-request')
WHERE trigger = 'on-demand';
ALTER TABLE plan ADD CONSTRAINT plan_trigger_check
    CHECK (trigger IN ('schedule', 'drift', 'fleet', 'alerts', 'on-request'));

CREATE OR REPLACE VIEW tenants.plan AS
SELECT t.plan_id, t.municipality_id, t.created_at, t.trigger,
       CASE t.trigger WHEN 'on-request' THEN 'asked for' ELSE t.trigger_reason
       END AS trigger_reason,
       t.demand_from, t.demand_to, t.round_trip_count, t.inputs_hash, t.seed, t.status,
       t.objective_dkk, t.bound_dkk, t.gap, t.cost_before_dkk,
       CASE t.trigger
           WHEN 'on-request' THEN t.document || jsonb_build_object('trigger_reason', 'asked for')
           ELSE t.document
       END AS document,
       t.state, t.decided_at, t.accepted_at, t.followed_from, t.followed_until
FROM public.plan t;

ALTER TABLE planner_lead RENAME COLUMN one TO is_only_row;
ALTER TABLE tracker_revision RENAME COLUMN one TO is_only_row;

-- A lock on the table itself since, so that those who wait have their turn.
DELETE FROM named_lock WHERE name = 'newcomers';
"""


def upgrade() -> None:
    """Change stored values and names."""
    op.execute(NAMES)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0031 has no downgrade: restore a backup instead")
