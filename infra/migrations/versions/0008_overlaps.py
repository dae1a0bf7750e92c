"""Overlapping segments and trips are refused by neighbours in the key, not by a GiST index.

An exclusion constraint over (text, range) cost 50 to 90 microseconds a row, more than all else that
a worker does to the database. The rows of a vehicle that is checked do not overlap yet, so that a
new one can only overlap the one before or the one after it: two looks into the primary key.

A trigger does not see what a transaction beside it has not yet committed. Who writes these tables
holds the lock on the vehicle's row of `vehicle_state`
(`infra.database.timeline.vehicle_states.lock_states`).
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

REFUSE_OVERLAPS = """
ALTER TABLE {table} DROP CONSTRAINT {table}_vehicle_id_tstzrange_excl;

CREATE FUNCTION {table}_refuse_overlaps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    SELECT a.vehicle_id, a.started_at, a.ended_at INTO one
    FROM added a
    WHERE (SELECT p.ended_at FROM public.{table} p
           WHERE p.vehicle_id = a.vehicle_id AND p.started_at < a.started_at
           ORDER BY p.started_at DESC LIMIT 1) > a.started_at
       OR (SELECT n.started_at FROM public.{table} n
           WHERE n.vehicle_id = a.vehicle_id AND n.started_at > a.started_at
           ORDER BY n.started_at LIMIT 1) < a.ended_at
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '{table} of % from % to % overlaps another one',
            one.vehicle_id, one.started_at, one.ended_at
            USING ERRCODE = 'exclusion_violation', TABLE = '{table}',
                  CONSTRAINT = '{table}_no_overlap',
                  HINT = 'Delete or end the other one first.';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER {table}_no_overlap AFTER INSERT ON {table}
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse_overlaps();
CREATE TRIGGER {table}_no_overlap_update AFTER UPDATE ON {table}
    REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse_overlaps();
"""


def upgrade() -> None:
    """Put a trigger in the place of each exclusion constraint."""
    for table in ("segment", "trip"):
        op.execute(REFUSE_OVERLAPS.format(table=table))


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0008 has no downgrade: restore a backup instead")
