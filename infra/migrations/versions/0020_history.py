"""Keys that may push history, and no hours of a long silence."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

KEYS = """
ALTER TABLE api_key ADD COLUMN may_push_history boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN api_key.may_push_history IS
    'whether a request may declare a range of history, older than raw fixes are kept';
"""


def upgrade() -> None:
    """Let keys say whether they may push history; none that is there may."""
    op.execute(KEYS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0020 has no downgrade: restore a backup instead")
