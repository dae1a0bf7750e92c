"""What a trip's distance was counted by, trips without ignition, and fixes in private mode."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = """
ALTER TABLE fix ALTER COLUMN lat DROP NOT NULL;
ALTER TABLE fix ALTER COLUMN lon DROP NOT NULL;
COMMENT ON COLUMN fix.lat IS 'null in private mode: then the position was never stored';

ALTER TABLE segment ADD COLUMN private boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN segment.private IS 'offline only: the driver had the tracker in private mode';

ALTER TABLE trip
    ADD COLUMN distance_source text NOT NULL DEFAULT 'gps'
        CHECK (distance_source IN ('gps', 'odometer', 'mixed')),
    ADD COLUMN gps_m double precision CHECK (gps_m >= 0),
    ADD COLUMN odometer_m double precision,
    ADD COLUMN motion_only boolean;
COMMENT ON COLUMN trip.distance_m IS 'what counts: the odometer where it agrees with the positions';
COMMENT ON COLUMN trip.distance_source IS 'what distance_m was counted by';
COMMENT ON COLUMN trip.gps_m IS 'what the positions say; null: computed before this was kept';
COMMENT ON COLUMN trip.odometer_m IS
    'what the odometer says, below 0 where it jumped back; null where it said nothing';
COMMENT ON COLUMN trip.motion_only IS
    'no ignition was reported: idling and driving cannot be told apart; null: not known';
"""

# About a kilometre, as in revision 0003: somebody's home may be there.
PLACE_DECIMALS = 2

OF_MY_VEHICLES = """
CREATE OR REPLACE VIEW reader.{name} WITH (security_barrier) AS
SELECT v.municipality_id, {columns} FROM public.{name} t JOIN public.vehicle v USING (vehicle_id)
WHERE v.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def _coarse(table: str) -> str:
    """Return the table's columns for a view; places are rounded."""
    names = op.get_bind().execute(
        text(
            "SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) "
            "AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ),
        {"table": f"public.{table}"},
    )
    return ", ".join(
        f"round(t.{name}::numeric, {PLACE_DECIMALS})::double precision AS {name}"
        if name.endswith(("lat", "lon"))
        else f"t.{name}"
        for name in names.scalars()
    )


def upgrade() -> None:
    """Add the columns, and show them to readers."""
    op.execute(TABLES)
    for name in ("segment", "trip"):
        op.execute(OF_MY_VEHICLES.format(name=name, columns=_coarse(name)))


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0005 has no downgrade: restore a backup instead")
