"""A fix keeps the engine's running time, as the vehicle's own counter tells it."""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

ENGINE_HOURS = """
ALTER TABLE fix ADD COLUMN engine_hours_s double precision;
COMMENT ON COLUMN fix.engine_hours_s IS
    'running time of the engine since it was built, in seconds; null: not reported';
"""


def upgrade() -> None:
    """Add the column; of fixes stored before it stays null."""
    op.execute(ENGINE_HOURS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0028 has no downgrade: restore a backup instead")
