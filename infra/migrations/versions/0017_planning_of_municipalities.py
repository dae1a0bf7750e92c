"""Each municipality says what its plans are made for; what it leaves out is as settings say."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

PLANNING = """
ALTER TABLE municipality
    ADD COLUMN planning jsonb NOT NULL DEFAULT '{}',
    ADD CONSTRAINT municipality_planning_names CHECK (
        jsonb_typeof(planning) = 'object'
        AND planning - ARRAY['served_share', 'lending_within_min', 'fetching', 'forecast'] = '{}'),
    -- Null is no share to be served; leaving it out is the planner's.
    ADD CONSTRAINT municipality_planning_share CHECK (
        CASE coalesce(jsonb_typeof(planning -> 'served_share'), 'null')
            WHEN 'null' THEN true
            WHEN 'number' THEN (planning ->> 'served_share')::numeric BETWEEN 0 AND 1
            ELSE false END),
    ADD CONSTRAINT municipality_planning_lending CHECK (
        CASE WHEN NOT planning ? 'lending_within_min' THEN true
            WHEN jsonb_typeof(planning -> 'lending_within_min') = 'number'
                THEN (planning ->> 'lending_within_min')::numeric BETWEEN 0 AND 240
            ELSE false END),
    ADD CONSTRAINT municipality_planning_fetching CHECK (
        NOT planning ? 'fetching' OR planning -> 'fetching' IN ('"on-foot"', '"by-bicycle"')),
    ADD CONSTRAINT municipality_planning_forecast CHECK (
        NOT planning ? 'forecast' OR jsonb_typeof(planning -> 'forecast') = 'boolean');
COMMENT ON COLUMN municipality.planning IS 'Overrides of schemas.fleet.policy.PlacementPolicy';
"""


def upgrade() -> None:
    """Let municipalities have a policy of their own."""
    op.execute(PLANNING)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0017 has no downgrade: restore a backup instead")
