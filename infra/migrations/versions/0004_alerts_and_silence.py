"""Alerts, at most one open of a kind and subject; and when a state was written, by our clock."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ALERT = """
CREATE TABLE alert (
    alert_id        uuid PRIMARY KEY,
    municipality_id text NOT NULL REFERENCES municipality,
    kind            text NOT NULL CHECK (kind IN ('underused', 'excess-idling', 'silent')),
    vehicle_id      text NOT NULL REFERENCES vehicle,
    raised_at       timestamptz NOT NULL,
    reason          text NOT NULL,
    resolved_at     timestamptz CHECK (resolved_at >= raised_at),
    resolution      text,
    acknowledged_at timestamptz,
    acknowledged_by text,
    CHECK ((resolved_at IS NULL) = (resolution IS NULL)),
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
);
COMMENT ON TABLE alert IS 'What operations should look at; its events leave by the outbox';
COMMENT ON COLUMN alert.raised_at IS 'event time: the newest fix of the municipality then';
CREATE UNIQUE INDEX alert_one_open ON alert (vehicle_id, kind) WHERE resolved_at IS NULL;
CREATE INDEX alert_by_municipality ON alert (municipality_id, raised_at DESC);
CREATE INDEX alert_by_vehicle ON alert (vehicle_id, kind, resolved_at);

CREATE VIEW reader.alert WITH (security_barrier) AS
SELECT t.* FROM public.alert t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""

WRITTEN = """
ALTER TABLE vehicle_state ADD COLUMN written_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN vehicle_state.written_at IS 'by the clock on the wall: what is being caught up '
    'with is not silent';
"""


def upgrade() -> None:
    """Create the table, its index of open ones and the readers' view; date the states."""
    op.execute(ALERT)
    op.execute(WRITTEN)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0004 has no downgrade: restore a backup instead")
