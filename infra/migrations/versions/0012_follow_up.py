"""More reasons to plan: the fleet's changes, and alerts, dated by our clock."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0010"
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


def upgrade() -> None:
    """Allow the new triggers and date the alerts."""
    for statements in (TRIGGERS,):
        op.execute(statements)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0012 has no downgrade: restore a backup instead")
