"""Which consumer group the workers are in, and of which Kafka cluster the offsets are."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

CONSUMER_GROUP = """
CREATE TABLE consumer_group (
    topic      text PRIMARY KEY,
    generation integer NOT NULL DEFAULT 0 CHECK (generation >= 0),
    cluster_id text,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN consumer_group.generation IS
    'Part of the group id of all workers. Raised when the group is stuck: progress is ours, so '
    'that a new group costs nothing';
COMMENT ON COLUMN consumer_group.cluster_id IS
    'Kafka cluster that the offsets in stream_progress are of; NULL: of the next one that answers';
"""


def upgrade() -> None:
    """Create the table; workers fill it."""
    op.execute(CONSUMER_GROUP)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0024 has no downgrade: restore a backup instead")
