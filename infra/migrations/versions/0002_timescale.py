"""Hypertables, policies and calendar rollups: TimescaleDB's, or plain views of the same name."""

from __future__ import annotations

from alembic import op

from infra.database.connection import timescale

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FIX_KEPT_DAYS = 90  # raw positions are personal data: docs/domain.md, privacy
FIX_COLUMNSTORE_AFTER_DAYS = 14  # late uploads of tracker buffers come within days


def upgrade() -> None:
    """Turn `fix` and `usage_hour` into hypertables where the extension is there; add rollups."""
    database = timescale.choose(op.get_bind())
    database.hypertable("fix", "recorded_at", chunk="7 days")
    database.columnstore(
        "fix",
        segment_by="vehicle_id",
        order_by="recorded_at DESC",
        after=f"{FIX_COLUMNSTORE_AFTER_DAYS} days",
    )
    database.retention("fix", keep=f"{FIX_KEPT_DAYS} days")
    database.hypertable("usage_hour", "hour", chunk="28 days")
    database.usage_rollups()


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0002 has no downgrade: restore a backup instead")
