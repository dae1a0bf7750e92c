"""Locks of ours as rows that no reader may touch."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

LOCKS = """
CREATE TABLE named_lock (
    name text PRIMARY KEY
);
COMMENT ON TABLE named_lock IS 'Rows to lock: an advisory lock could be taken by any role';
INSERT INTO named_lock (name) VALUES ('calendars'), ('newcomers'), ('alerts');

CREATE TABLE planner_lead (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    pid           integer,
    session_start timestamptz
);
COMMENT ON TABLE planner_lead IS
    'The session of the planner that leads; whoever finds it gone may put its own there';
INSERT INTO planner_lead DEFAULT VALUES;
"""


def upgrade() -> None:
    """Create the locks."""
    op.execute(LOCKS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0026 has no downgrade: restore a backup instead")
