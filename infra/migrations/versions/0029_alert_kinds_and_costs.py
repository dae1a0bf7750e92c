"""Kinds of alerts and names of costs are tables in the code, no lists in the database.

Two kinds have plainer names, and each municipality may have costs of its own.
"""

from __future__ import annotations

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

KINDS = r"""
ALTER TABLE alert DROP CONSTRAINT alert_kind_check;
ALTER TABLE alert ADD CONSTRAINT alert_kind_form CHECK (
    kind ~ '^[a-z]+(-[a-z]+)*$' AND length(kind) <= 60);
COMMENT ON COLUMN alert.kind IS 'of the table in processors.alerts.rules, which alone lists them';
"""

# Also in events that wait for Kafka: who reads them sees each alert under one name.
_RENAMED = {
    "silent": "not-reporting",
    "heard-after-retirement": "reporting-after-retirement",
}
NAMES = """
UPDATE alert SET kind = '{new}' WHERE kind = '{old}';
UPDATE outbox SET payload = jsonb_set(payload, '{{kind}}', to_jsonb('{new}'::text))
WHERE published_at IS NULL AND payload ->> 'kind' = '{old}'
  AND payload ->> 'type' IN ('alert-raised', 'alert-resolved');
"""

# Names and limits are those of the model, which reads and writes the column and alone lists them.
COSTS = """
ALTER TABLE municipality
    ADD COLUMN costs jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT municipality_costs_amounts CHECK (
        jsonb_typeof(costs) = 'object'
        AND NOT jsonb_path_exists(costs, '$.* ? (@.type() != "number" || @ < 0)'));
COMMENT ON COLUMN municipality.costs IS 'Overrides of schemas.fleet.costs.Costs';
"""


def upgrade() -> None:
    """Hold kinds to their form, rename the stored ones, and let municipalities have costs."""
    op.execute(KINDS)
    for old, new in _RENAMED.items():
        op.execute(NAMES.format(old=old, new=new))
    op.execute(COSTS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0029 has no downgrade: restore a backup instead")
