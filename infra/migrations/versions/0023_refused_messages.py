"""A message that Kafka refuses is set apart, with why, and tried again later by itself."""

from __future__ import annotations

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

REFUSED = """
ALTER TABLE outbox
    ADD COLUMN attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    ADD COLUMN refusal  text,
    ADD COLUMN retry_at timestamptz,
    ADD CONSTRAINT outbox_refusal CHECK ((refusal IS NULL) = (retry_at IS NULL));
COMMENT ON COLUMN outbox.attempts IS 'how often the message was sent by itself and refused';
COMMENT ON COLUMN outbox.refusal IS 'why it could not be published with the others';
COMMENT ON COLUMN outbox.retry_at IS
    'when it is sent again, by itself; null while it waits with the others';
DROP INDEX outbox_unpublished;
CREATE INDEX outbox_unpublished ON outbox (position)
    WHERE published_at IS NULL AND retry_at IS NULL;
CREATE INDEX outbox_set_apart ON outbox (retry_at)
    WHERE published_at IS NULL AND retry_at IS NOT NULL;
"""


def upgrade() -> None:
    """Add what tells a refused message from one that waits."""
    op.execute(REFUSED)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0023 has no downgrade: restore a backup instead")
