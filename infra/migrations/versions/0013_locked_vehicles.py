"""Vehicles that a lease or an agreement locks to their depot."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

LOCK = """
ALTER TABLE vehicle ADD COLUMN locked_until date;
ALTER TABLE vehicle ADD CONSTRAINT lock_has_a_depot
    CHECK (locked_until IS NULL OR home_depot_id IS NOT NULL);
COMMENT ON COLUMN vehicle.locked_until IS
    'the last day on which it stays at its home depot, by lease or agreement';

CREATE OR REPLACE VIEW reader.vehicle WITH (security_barrier) AS
SELECT t.* FROM public.vehicle t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Add the lock, and let readers see it."""
    op.execute(LOCK)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0013 has no downgrade: restore a backup instead")
