"""A fix keeps its vendor, and a vehicle or tracker has the vendors that may report it."""

from __future__ import annotations

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

VENDORS = """
ALTER TABLE fix ADD COLUMN vendor text;
COMMENT ON COLUMN fix.vendor IS 'whose key it came with; null: stored before this was kept';

CREATE TABLE vehicle_vendor (
    vehicle_id text NOT NULL CHECK (vehicle_id LIKE '%/%'),
    vendor     text NOT NULL CHECK (length(vendor) BETWEEN 1 AND 60),
    position   integer NOT NULL,
    allowed_by text,
    since      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (vehicle_id, vendor),
    UNIQUE (vehicle_id, position)
);
COMMENT ON TABLE vehicle_vendor IS
    'Who may report a vehicle or tracker: the first that did, and those allowed since';
COMMENT ON COLUMN vehicle_vendor.vehicle_id IS 'as it is sent: of a tracker, its own id';
COMMENT ON COLUMN vehicle_vendor.position IS
    'where two vendors contradict each other at one instant, the smallest counts';
COMMENT ON COLUMN vehicle_vendor.allowed_by IS 'null: it was the first to report the id';
"""

ALERT = """
ALTER TABLE alert DROP CONSTRAINT alert_kind_check;
ALTER TABLE alert ADD CONSTRAINT alert_kind_check CHECK (
    (vehicle_id IS NOT NULL AND kind IN ('underused', 'excess-idling', 'silent',
        'odometer-mismatch', 'heard-after-retirement', 'other-vendor'))
    OR (depot_id IS NOT NULL AND kind = 'depot-short'));
"""


def upgrade() -> None:
    """Keep vendors with fixes, and who may report what; the next that reports an id is first."""
    op.execute(VENDORS)
    op.execute(ALERT)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0027 has no downgrade: restore a backup instead")
