"""Dead letters say their vendor, can be discarded, and are found by what operators filter by."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE dead_letter
    ADD COLUMN vendor text,
    ADD COLUMN discarded_at timestamptz,
    ADD COLUMN discarded_by text,
    ADD CHECK ((discarded_at IS NULL) = (discarded_by IS NULL)),
    ADD CHECK (replayed_at IS NULL OR discarded_at IS NULL);
COMMENT ON COLUMN dead_letter.vendor IS 'who sent it, where the message says so in its envelope';
COMMENT ON COLUMN dead_letter.municipality_id IS
    'for whom it was sent, where the message says so in its envelope';
COMMENT ON COLUMN dead_letter.discarded_at IS 'when somebody decided that it is of no use';
"""

# A message may be anything, not JSON and not UTF-8 among them: what cannot be read has no vendor.
VENDOR = """
CREATE FUNCTION vendor_of_message(message bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    document jsonb;
BEGIN
    document := convert_from(message, 'UTF8')::jsonb;
    IF jsonb_typeof(document -> 'vendor') = 'string'
        AND document ->> 'vendor' ~ '^[^[:cntrl:]]{1,60}$' THEN
        RETURN document ->> 'vendor';
    END IF;
    RETURN NULL;
EXCEPTION WHEN data_exception OR statement_too_complex THEN
    RETURN NULL;
END $$;
UPDATE dead_letter SET vendor = vendor_of_message(message_value);
DROP FUNCTION vendor_of_message(bytea);
"""

INDEXES = """
CREATE INDEX dead_letter_open ON dead_letter (reason, vendor, created_at)
    WHERE replayed_at IS NULL AND discarded_at IS NULL;
CREATE INDEX dead_letter_by_vendor ON dead_letter (vendor, created_at);
CREATE INDEX dead_letter_by_municipality ON dead_letter (municipality_id, created_at);
CREATE INDEX dead_letter_by_vehicle ON dead_letter (vehicle_id, created_at);
"""


def upgrade() -> None:
    """Add vendor and discarding, read the vendor off what is stored, and index the filters."""
    for statements in (COLUMNS, VENDOR, INDEXES):
        op.execute(statements)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0022 has no downgrade: restore a backup instead")
