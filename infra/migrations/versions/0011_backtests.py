"""Back-tests of plans, a row for each placement that was replayed."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# The document is the plan as it was published: nothing is stored twice.
BACKTEST = """
CREATE VIEW plan_backtest AS
SELECT p.municipality_id, p.plan_id, p.created_at,
       (t.test ->> 'fitted_from')::timestamptz AS fitted_from,
       (t.test ->> 'fitted_to')::timestamptz AS fitted_to,
       (t.test ->> 'replayed_to')::timestamptz AS replayed_to,
       (t.test ->> 'weeks_fitted')::double precision AS weeks_fitted,
       (t.test ->> 'weeks_replayed')::integer AS weeks_replayed,
       c.place::integer AS place,
       c.one ->> 'name' AS contender,
       (c.one ->> 'moves')::integer AS moves,
       (c.one ->> 'round_trips')::integer AS round_trips,
       (c.one ->> 'served_round_trips')::integer AS served_round_trips,
       (c.one ->> 'served_share')::double precision AS served_share,
       (c.one ->> 'unserved_dkk')::double precision AS unserved_dkk,
       (c.one ->> 'energy_dkk')::double precision AS energy_dkk,
       (c.one ->> 'fetching_dkk')::double precision AS fetching_dkk,
       (c.one ->> 'co2e_dkk')::double precision AS co2e_dkk,
       (c.one ->> 'relocation_dkk')::double precision AS relocation_dkk,
       (c.one ->> 'charger_dkk')::double precision AS charger_dkk,
       (c.one ->> 'cost_dkk')::double precision AS cost_dkk,
       (c.one ->> 'co2e_kg')::double precision AS co2e_kg
FROM plan p
CROSS JOIN LATERAL (SELECT p.document -> 'backtest' AS test) AS t
CROSS JOIN LATERAL jsonb_array_elements(t.test -> 'contenders') WITH ORDINALITY AS c (one, place);
COMMENT ON VIEW plan_backtest IS 'What each placement did in the weeks that a plan was not fitted '
    'to, from the plan''s document (schemas.plans.backtest); no rows where there was no back-test';
COMMENT ON COLUMN plan_backtest.contender IS 'as it was, greedy, plan';
COMMENT ON COLUMN plan_backtest.cost_dkk IS 'of the replayed weeks: the six costs before it';

CREATE VIEW reader.plan_backtest WITH (security_barrier) AS
SELECT t.* FROM public.plan_backtest t
WHERE t.municipality_id IN (
    SELECT a.municipality_id FROM public.reader_access a WHERE a.role_name = current_user);
"""


def upgrade() -> None:
    """Create the view, and the readers' one."""
    op.execute(BACKTEST)


def downgrade() -> None:
    """Refuse: see revision 0001."""
    raise NotImplementedError("revision 0011 has no downgrade: restore a backup instead")
