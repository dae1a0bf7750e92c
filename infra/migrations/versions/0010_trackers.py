"""Trackers that move from one vehicle to another: assignments, and who sent a fix."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

ASSIGNMENT = """
CREATE TABLE tracker_assignment (
    tracker_id text NOT NULL
        CHECK (tracker_id ~ '^[a-z0-9][a-z0-9-]{0,39}/[A-Za-z0-9._:-]{1,80}$'),
    vehicle_id text NOT NULL REFERENCES vehicle,
    since      timestamptz NOT NULL CHECK (isfinite(since)),
    until      timestamptz CHECK (until > since AND isfinite(until)),
    PRIMARY KEY (tracker_id, since),
    CHECK (split_part(tracker_id, '/', 1) = split_part(vehicle_id, '/', 1)),
    EXCLUDE USING gist (tracker_id WITH =, tstzrange(since, until) WITH &&)
);
COMMENT ON TABLE tracker_assignment IS 'Which vehicle a tracker, known by the id that it sends, '
    'was in, by device time. Changed by fleetpulse tracker, which moves the stored fixes along';
COMMENT ON COLUMN tracker_assignment.until IS 'null: still. Before its first assignment an id '
    'means the vehicle of the same id, between an end and the next beginning none';
CREATE INDEX tracker_assignment_by_vehicle ON tracker_assignment (vehicle_id);

CREATE TABLE tracker_revision (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint NOT NULL
);
COMMENT ON TABLE tracker_revision IS 'Grows with each change of tracker_assignment, whoever makes '
    'it: tells a batch that was shared out to vehicles by assignments of before';
INSERT INTO tracker_revision (revision) VALUES (0);

CREATE FUNCTION count_tracker_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE public.tracker_revision SET revision = revision + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER tracker_assignment_changed
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON tracker_assignment
    FOR EACH STATEMENT EXECUTE FUNCTION count_tracker_revision();

CREATE VIEW reader.tracker_assignment WITH (security_barrier) AS
SELECT v.municipality_id, t.tracker_id, t.vehicle_id, t.since, t.until
FROM public.tracker_assignment t JOIN public.vehicle v USING (vehicle_id)
WHERE v.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""

# Fixes that count again when a tracker turns out to have been elsewhere: found without reading all.
LETTERS = """
CREATE INDEX dead_letter_of_tracker ON dead_letter (vehicle_id, dead_letter_id)
    WHERE replayed_at IS NULL AND reason IN ('conflicting-fix', 'unassigned-tracker');
COMMENT ON COLUMN dead_letter.vehicle_id IS 'as it was sent: of a tracker, its own id';
COMMENT ON COLUMN dead_letter.replayed_at IS
    'sent through the stream again, or taken up by a change of tracker assignments';
"""

SENDER = """
ALTER TABLE fix ADD COLUMN tracker_id text;
COMMENT ON COLUMN fix.tracker_id IS 'who sent it, where that is not the vehicle''s own id';
"""


def upgrade() -> None:
    """Create the assignments with their revision, and let fixes say who sent them."""
    for statements in (ASSIGNMENT, LETTERS, SENDER):
        op.execute(statements)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0010 has no downgrade: restore a backup instead")
