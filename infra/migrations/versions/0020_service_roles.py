"""Which database role serves which of our processes, so that `migrate` keeps its rights."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

SERVICE_ROLE = """
CREATE TABLE service_role (
    role_name name PRIMARY KEY,
    service   text NOT NULL CHECK (service IN ('ingest', 'worker', 'planner', 'commands'))
);
COMMENT ON TABLE service_role IS
    'Database roles of our own processes; infra/database/access/service_roles.py says what each '
    'may do';
"""


def upgrade() -> None:
    """Create the table; `fleetpulse service-role grant` fills it."""
    op.execute(SERVICE_ROLE)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0020 has no downgrade: restore a backup instead")
