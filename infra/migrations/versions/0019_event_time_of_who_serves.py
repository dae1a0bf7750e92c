"""A municipality's event time is that of the vehicles in service."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# As in 0007 but for who counts: retired vehicles stay in the table for good, and where they are
# nine in ten, as when a fleet is replaced, time would stand still at their last fixes.
OBSERVED = """
CREATE OR REPLACE VIEW observed_span AS
SELECT v.municipality_id, min(s.first_recorded_at) AS since,
       least(now(), coalesce(
           percentile_disc(0.9) WITHIN GROUP (ORDER BY s.last_recorded_at)
               FILTER (WHERE i.vehicle_id IS NOT NULL),
           percentile_disc(0.9) WITHIN GROUP (ORDER BY s.last_recorded_at))) AS until
FROM vehicle_state s JOIN vehicle v USING (vehicle_id)
LEFT JOIN vehicle_in_service i USING (vehicle_id)
GROUP BY v.municipality_id;
COMMENT ON VIEW observed_span IS 'From a municipality''s first fix to its event time, never later '
    'than now. A tenth of its vehicles in service may be ahead: one fast clock is no evidence of '
    'the others. Without any in service, of all';
"""


def upgrade() -> None:
    """Have the view leave out who is retired."""
    op.execute(OBSERVED)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0019 has no downgrade: restore a backup instead")
