"""Alerts of odometers, and of depots that have too few vehicles."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ALERT = """
ALTER TABLE alert ALTER COLUMN vehicle_id DROP NOT NULL;
ALTER TABLE alert ADD COLUMN depot_id text REFERENCES depot;
ALTER TABLE alert ADD CONSTRAINT alert_of_one CHECK (num_nonnulls(vehicle_id, depot_id) = 1);
ALTER TABLE alert DROP CONSTRAINT alert_kind_check;
ALTER TABLE alert ADD CONSTRAINT alert_kind_check CHECK (
    (vehicle_id IS NOT NULL AND
        kind IN ('underused', 'excess-idling', 'silent', 'odometer-mismatch'))
    OR (depot_id IS NOT NULL AND kind = 'depot-short'));
COMMENT ON COLUMN alert.depot_id IS 'of whom it is, if not of a vehicle';
CREATE UNIQUE INDEX alert_one_open_of_depot ON alert (depot_id, kind) WHERE resolved_at IS NULL;

CREATE OR REPLACE VIEW reader.alert WITH (security_barrier) AS
SELECT t.* FROM public.alert t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Let an alert be of a depot."""
    op.execute(ALERT)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0009 has no downgrade: restore a backup instead")
