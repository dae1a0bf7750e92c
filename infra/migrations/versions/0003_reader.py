"""What a Grafana reader may see: security-barrier views filtered by the database role (law 4)."""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ACCESS = """
CREATE TABLE reader_access (
    role_name       name NOT NULL,
    municipality_id text NOT NULL REFERENCES municipality,
    PRIMARY KEY (role_name, municipality_id)
);
COMMENT ON TABLE reader_access IS
    'Which database role sees which municipality. current_user decides; no setting can forge it';
CREATE SCHEMA reader;
COMMENT ON SCHEMA reader IS 'The only schema that dashboards query';
REVOKE ALL ON SCHEMA public FROM PUBLIC;
"""

# A view runs with its owner's rights on the tables, while current_user stays the reader's.
MINE = """
CREATE VIEW reader.{name} WITH (security_barrier) AS
SELECT t.* FROM public.{name} t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""
OF_MY_VEHICLES = """
CREATE VIEW reader.{name} WITH (security_barrier) AS
SELECT v.municipality_id, {columns} FROM public.{name} t JOIN public.vehicle v USING (vehicle_id)
WHERE v.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""
OF_MY_PLANS = """
CREATE VIEW reader.plan_move WITH (security_barrier) AS
SELECT p.municipality_id, t.* FROM public.plan_move t JOIN public.plan p USING (plan_id)
WHERE p.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""

# About a kilometre: where a vehicle stood away from its depot may be somebody's home.
PLACE_DECIMALS = 2

WITH_MUNICIPALITY = ("municipality", "depot", "vehicle", "plan")
WITH_VEHICLE = (
    "segment",
    "trip",
    "idle_interval",
    "round_trip",
    "usage_hour",
    "usage_day",
    "usage_week",
    "usage_month",
)


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
    """Create the readers' schema; `fix` stays out of it: raw positions are not for dashboards."""
    op.execute(ACCESS)
    for name in WITH_MUNICIPALITY:
        op.execute(MINE.format(name=name))
    for name in WITH_VEHICLE:
        op.execute(OF_MY_VEHICLES.format(name=name, columns=_coarse(name)))
    op.execute(OF_MY_PLANS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0003 has no downgrade: restore a backup instead")
