"""What dashboards ask again and again is a relation of its own, so that a panel's SQL is short."""

from __future__ import annotations

from alembic import op

from infra.database.access import reader_relations

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

VIEWS = {
    "fleet_vehicle": """
SELECT v.municipality_id, v.vehicle_id, m.name AS municipality, m.timezone, m.rules,
       v.name AS vehicle, v.vehicle_type, coalesce(v.home_depot_id, 'none') AS depot_id,
       coalesce(d.name, '(no depot)') AS depot
FROM public.vehicle v JOIN public.municipality m USING (municipality_id)
LEFT JOIN public.depot d ON d.depot_id = v.home_depot_id
""",
    "current_plan": """
SELECT DISTINCT ON (p.municipality_id) p.municipality_id, m.name AS municipality, p.plan_id, p.state
FROM public.plan p JOIN public.municipality m USING (municipality_id)
ORDER BY p.municipality_id, p.state = 'accepted' DESC, p.state = 'proposed' DESC,
         p.created_at DESC
""",
    "newest_study": """
SELECT DISTINCT ON (s.municipality_id, s.kind) s.municipality_id, m.name AS municipality, s.kind,
       s.study_id
FROM public.study s JOIN public.municipality m USING (municipality_id)
ORDER BY s.municipality_id, s.kind, s.created_at DESC, s.study_id
""",
}
COMMENTS = """
COMMENT ON VIEW tenants.fleet_vehicle IS 'Vehicles with the names of their municipality and home '
    'depot, as variables of a dashboard choose them: depot_id is none for those without';
COMMENT ON VIEW tenants.current_plan IS
    'The plan to show of each municipality: accepted, else proposed, else the newest';
COMMENT ON VIEW tenants.newest_study IS 'The newest study of each municipality and kind';
"""


def upgrade() -> None:
    """Create the views, and let readers have them."""
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW tenants.{name} AS {query}")
        reader_relations.publish(op.get_bind(), name)
    op.execute(COMMENTS)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0030 has no downgrade: restore a backup instead")
