"""Decisions about plans: accepted or rejected, followed up, and their results week by week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from infra.database.connection.pool import Connection
from infra.database.plans.recorded_demand import require_municipality
from schemas.errors import UserError
from schemas.fleet.master_data import Home
from schemas.plans.outcome import PlanOutcome, PlanState
from schemas.plans.plan import SolverStatus

_ORE_PER_DKK: Final = 100
_MAX_AHEAD: Final = timedelta(days=31)
"""So far ahead it can be accepted that a plan is carried out."""


class DecisionError(UserError):
    """A plan cannot be decided upon like this; it says why and what to do."""


@dataclass(frozen=True, slots=True)
class FollowedPlan:
    """A plan that is or was accepted, since when until when, and the weeks that are calculated."""

    plan_id: UUID
    municipality_id: str
    document: Mapping[str, Any]
    timezone: str
    since: datetime
    until: datetime | None
    calculated: frozenset[date]


async def accept(
    connection: Connection,
    municipality_id: str,
    plan_id: UUID | None,
    by: str,
    since: datetime | None = None,
) -> UUID:
    """Accept a plan, to be carried out since an instant, or now.

    Without an id, the newest that is proposed and places something, else the newest.

    What was accepted before is superseded, and so are earlier proposals. A proposal that a newer
    one has followed may still be accepted: deciding takes longer than a night. Return the plan's
    id. Call it in a transaction. Raises `DecisionError`, also for an instant before the end of the
    demand that the plan was made from, or more than 31 days ahead.
    """
    plan_id, state, status = await _chosen(connection, municipality_id, plan_id, acceptable=True)
    if not status.places:
        raise DecisionError(
            f"plan {plan_id} is {status}: it places nothing; remedy: mend what its explanation "
            "names, and ask for another"
        )
    cursor = await connection.execute(
        "SELECT decided_by, decided_at, document -> 'stood_at' IS NULL, demand_to, "
        "clock_timestamp() FROM plan WHERE plan_id = %s",
        [plan_id],
    )
    row = await cursor.fetchone()
    if row is None or row[0] is not None:
        by_whom = "" if row is None else f" by {row[0]} at {row[1]:%Y-%m-%d %H:%M %Z}"
        raise DecisionError(f"plan {plan_id} is {state}{by_whom}; accept one that is not decided")
    if row[2]:
        raise DecisionError(
            f"plan {plan_id} is from before plans said where vehicles stood, and cannot be "
            "followed up; remedy: ask for a new one"
        )
    now = row[4]  # one instant: where one plan's weeks end, the next one's begin
    if since is not None:
        _check_since(since, demand_to=row[3], now=now)
    # All that were ever accepted: one that is over already may have been followed beyond that.
    await connection.execute(
        "UPDATE plan SET state = CASE state WHEN 'accepted' THEN 'superseded' ELSE state END, "
        "followed_until = greatest(followed_from, least(followed_until, %s)) "
        "WHERE municipality_id = %s AND followed_from IS NOT NULL",
        [since or now, municipality_id],
    )
    await connection.execute(
        "UPDATE plan SET state = 'superseded' WHERE municipality_id = %s AND state = 'proposed' "
        "AND created_at < (SELECT created_at FROM plan WHERE plan_id = %s)",
        [municipality_id, plan_id],
    )
    await connection.execute(
        "UPDATE plan SET state = 'accepted', decided_by = %(by)s, decided_at = %(now)s, "
        "accepted_by = %(by)s, accepted_at = %(now)s, "
        "followed_from = %(since)s, followed_until = NULL WHERE plan_id = %(plan_id)s",
        {"by": by, "since": since or now, "now": now, "plan_id": plan_id},
    )
    return plan_id


def _check_since(since: datetime, *, demand_to: datetime, now: datetime) -> None:
    if since < demand_to:
        raise DecisionError(
            f"since {since.isoformat()} is before {demand_to.isoformat()}, the end of the round "
            "trips that the plan was made from: it would be judged by the weeks that it was fitted "
            "to; remedy: give an instant from then on, or none for now"
        )
    if since > now + _MAX_AHEAD:
        raise DecisionError(
            f"since {since.isoformat()} is more than {_MAX_AHEAD.days} days ahead, and another "
            "plan will have been proposed by then; remedy: give an instant up to "
            f"{(now + _MAX_AHEAD).isoformat(timespec='minutes')}, or accept later"
        )


async def reject(
    connection: Connection, municipality_id: str, plan_id: UUID | None, by: str
) -> UUID:
    """Reject a plan, the newest without an id, accepted or not; return its id.

    One that was accepted is followed up until now, and keeps who accepted it and when. Call it in
    a transaction. Raises `DecisionError`.
    """
    plan_id, state, _ = await _chosen(connection, municipality_id, plan_id)
    if state == PlanState.REJECTED:
        raise DecisionError(f"plan {plan_id} is rejected already")
    await connection.execute(
        "UPDATE plan SET state = 'rejected', decided_by = %s, decided_at = clock_timestamp(), "
        "followed_until = CASE WHEN followed_from IS NOT NULL THEN coalesce(followed_until, "
        "greatest(followed_from, clock_timestamp())) END WHERE plan_id = %s",
        [by, plan_id],
    )
    return plan_id


async def _chosen(
    connection: Connection,
    municipality_id: str,
    plan_id: UUID | None,
    *,
    acceptable: bool = False,
) -> tuple[UUID, PlanState, SolverStatus]:
    """Return and lock a plan; who decides upon one of the same municipality waits.

    Raises `DecisionError` where there is none, and `UnknownMunicipalityError`.
    """
    await connection.execute(
        "SELECT 1 FROM municipality WHERE municipality_id = %s FOR NO KEY UPDATE",
        [municipality_id],
    )
    cursor = await connection.execute(
        "SELECT plan_id, state, status FROM plan WHERE municipality_id = %s "
        "AND (%s::uuid IS NULL OR plan_id = %s) "
        "ORDER BY (%s AND state = 'proposed' AND status = ANY (%s)) DESC, created_at DESC "
        "LIMIT 1 FOR UPDATE",
        [municipality_id, plan_id, plan_id, acceptable, [s for s in SolverStatus if s.places]],
    )
    row = await cursor.fetchone()
    if row is None:
        await require_municipality(connection, municipality_id)
        which = "has no plan" if plan_id is None else f"has no plan {plan_id}"
        raise DecisionError(
            f"municipality {municipality_id!r} {which}; see: fleetpulse plan list {municipality_id}"
        )
    return row[0], PlanState(row[1]), SolverStatus(row[2])


async def read_followed(connection: Connection) -> list[FollowedPlan]:
    """Return the plans that are or were accepted."""
    cursor = await connection.execute(
        "SELECT p.plan_id, p.municipality_id, p.document, m.timezone, p.followed_from, "
        "p.followed_until, "
        "coalesce((SELECT array_agg(o.week) FROM plan_outcome o WHERE o.plan_id = p.plan_id), "
        "'{}') FROM plan p JOIN municipality m USING (municipality_id) "
        "WHERE p.followed_from IS NOT NULL ORDER BY p.municipality_id, p.followed_from"
    )
    return [
        FollowedPlan(row[0], row[1], row[2], row[3], row[4], row[5], frozenset(row[6]))
        for row in await cursor.fetchall()
    ]


async def read_homes(
    connection: Connection, municipality_id: str, since: datetime, until: datetime
) -> Mapping[str, Sequence[Home]]:
    """Return where each vehicle was at home between two instants, by its id, in order of time."""
    cursor = await connection.execute(
        "SELECT h.vehicle_id, h.depot_id, lower(h.during), upper(h.during) FROM vehicle_home h "
        "JOIN vehicle v USING (vehicle_id) WHERE v.municipality_id = %s "
        "AND h.during && tstzrange(%s, %s) ORDER BY h.vehicle_id, h.during",
        [municipality_id, since, until],
    )
    homes: defaultdict[str, list[Home]] = defaultdict(list)
    for vehicle_id, depot_id, home_since, home_until in await cursor.fetchall():
        homes[vehicle_id].append(Home(depot_id, home_since, home_until))
    return homes


async def has_reported(
    connection: Connection, municipality_id: str, since: datetime, until: datetime
) -> bool:
    """Return whether a municipality's vehicles sent anything between two instants.

    Round trips tell it as well: they are kept for longer than the fixes that they were made of.
    """
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT 1 FROM vehicle v WHERE v.municipality_id = %(municipality_id)s AND "
        "(EXISTS (SELECT 1 FROM fix f WHERE f.vehicle_id = v.vehicle_id "
        "AND f.recorded_at >= %(since)s AND f.recorded_at < %(until)s) "
        "OR EXISTS (SELECT 1 FROM round_trip r WHERE r.vehicle_id = v.vehicle_id "
        "AND r.started_at >= %(since)s AND r.started_at < %(until)s)))",
        {"municipality_id": municipality_id, "since": since, "until": until},
    )
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


_OUTCOME: Final = """
INSERT INTO plan_outcome AS o (plan_id, municipality_id, week, promised_dkk, realised_dkk,
    demand_changed_dkk, not_carried_out_dkk, model_wrong_dkk, unserved_promised, unserved_modelled,
    unserved_realised, moves, moves_carried_out, explanation)
VALUES (%(plan_id)s, %(municipality_id)s, %(week)s, %(promised_dkk)s, %(realised_dkk)s,
    %(demand_changed_dkk)s,
    %(not_carried_out_dkk)s, %(model_wrong_dkk)s, %(unserved_promised)s, %(unserved_modelled)s,
    %(unserved_realised)s, %(moves)s, %(moves_carried_out)s, %(explanation)s)
ON CONFLICT (plan_id, week) DO UPDATE SET promised_dkk = EXCLUDED.promised_dkk,
    realised_dkk = EXCLUDED.realised_dkk, demand_changed_dkk = EXCLUDED.demand_changed_dkk,
    not_carried_out_dkk = EXCLUDED.not_carried_out_dkk, model_wrong_dkk = EXCLUDED.model_wrong_dkk,
    unserved_promised = EXCLUDED.unserved_promised,
    unserved_modelled = EXCLUDED.unserved_modelled,
    unserved_realised = EXCLUDED.unserved_realised, moves = EXCLUDED.moves,
    moves_carried_out = EXCLUDED.moves_carried_out, explanation = EXCLUDED.explanation,
    computed_at = EXCLUDED.computed_at
WHERE (o.realised_dkk, o.demand_changed_dkk, o.not_carried_out_dkk, o.unserved_modelled,
       o.unserved_realised, o.moves_carried_out, o.explanation)
    IS DISTINCT FROM (EXCLUDED.realised_dkk, EXCLUDED.demand_changed_dkk,
                      EXCLUDED.not_carried_out_dkk, EXCLUDED.unserved_modelled,
                      EXCLUDED.unserved_realised, EXCLUDED.moves_carried_out, EXCLUDED.explanation)
"""


async def store_outcome(connection: Connection, outcome: PlanOutcome) -> bool:
    """Write what became of a plan in a week; return whether that is new or has changed."""
    row = outcome.model_dump()
    given = {
        name.removesuffix("_ore") + "_dkk" if name.endswith("_ore") else name: (
            Decimal(value) / _ORE_PER_DKK if name.endswith("_ore") else value
        )
        for name, value in row.items()
    }
    cursor = await connection.execute(_OUTCOME, given)
    return bool(cursor.rowcount)


async def forget_outcomes(connection: Connection, plan_id: UUID, weeks: Collection[date]) -> None:
    """Delete weeks that a plan turns out not to have been followed in."""
    await connection.execute(
        "DELETE FROM plan_outcome WHERE plan_id = %s AND week = ANY (%s)", [plan_id, list(weeks)]
    )
