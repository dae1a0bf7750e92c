"""Keys that may push history, and no hours of a long silence."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

KEYS = """
ALTER TABLE api_key ADD COLUMN may_push_history boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN api_key.may_push_history IS
    'whether a request may declare a range of history, older than raw fixes are kept';
"""

# As processors.usage.hours has it now. Each offline segment lies between two fixes, but for private
# mode; of a parked one only the fixes would tell, and its hours stay true.
HOURS = """
DELETE FROM usage_hour u USING segment g
WHERE g.state = 'offline' AND NOT g.private AND g.ended_at - g.started_at > INTERVAL '31 days'
    AND u.vehicle_id = g.vehicle_id
    AND u.hour >= g.started_at AND u.hour <= g.ended_at - INTERVAL '1 hour';
COMMENT ON TABLE usage_hour IS 'What a vehicle did in an hour. An hour without a row lies within a '
    'silence of more than 31 days: its segment says what it was';
"""


def upgrade() -> None:
    """Let keys say whether they may push history; none that is there may. Drop silent hours."""
    for statements in (KEYS, HOURS):
        op.execute(statements)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0021 has no downgrade: restore a backup instead")
