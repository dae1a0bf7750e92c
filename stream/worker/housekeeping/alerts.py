"""Alerts: every municipality's vehicles judged in one transaction, by one worker at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from prometheus_client import Counter

from infra.database.connection.pool import Connection, Pool
from infra.database.fleet.master_data import load_fleet, newest_fixes
from infra.database.stream.progress import event_id
from infra.database.timeline import alerts as store
from infra.kafka.client import Topics
from processors.alerts.evaluation import (
    DepotObservation,
    Observation,
    OtherVendorObservation,
    RetiredObservation,
    decide,
    judge,
    judge_depots,
    judge_other_vendors,
    judge_retired,
)
from schemas.events.alerts import AlertKind, AlertRaised, AlertResolved
from schemas.fleet.master_data import Municipality
from stream.process.background import guarded, in_parts

RAISED: Final = Counter("fleetpulse_alerts_raised", "Alerts raised", ["kind"])
RESOLVED: Final = Counter("fleetpulse_alerts_resolved", "Alerts that are over", ["kind"])
_TASK: Final = "alerts"


async def look(pool: Pool, topics: Topics) -> int:
    """Judge all municipalities in one transaction; return how many alerts were raised or resolved.

    Does nothing while another watcher is at it: rows, events and lock end together. A municipality,
    or an alert, that fails is left behind, named and counted, and the others are judged.
    """
    changes: list[AlertRaised | AlertResolved] = []
    async with pool.connection() as connection, connection.transaction():
        if not await store.try_to_watch(connection):
            return 0
        fleet = await load_fleet(connection, strict=False)
        for municipality_id, at in (await newest_fixes(connection)).items():
            municipality = fleet.municipalities.get(municipality_id)
            if municipality is None:  # entered a moment ago, or unreadable
                continue
            with guarded(_TASK, municipality_id=municipality_id):
                async with connection.transaction():
                    judged = await _judge(connection, municipality, at)
                changes += await _store(connection, judged, topics)
    for one in changes:
        counter = RAISED if isinstance(one, AlertRaised) else RESOLVED
        counter.labels(one.kind.value).inc()
    return len(changes)


async def _store(
    connection: Connection, changes: Sequence[AlertRaised | AlertResolved], topics: Topics
) -> list[AlertRaised | AlertResolved]:
    """Write the alerts that can be written, and return them."""
    stored: list[AlertRaised | AlertResolved] = []

    async def store_part(part: Sequence[AlertRaised | AlertResolved]) -> int:
        async with connection.transaction():
            await store.store(
                connection,
                [one for one in part if isinstance(one, AlertRaised)],
                [one for one in part if isinstance(one, AlertResolved)],
                topics.alerts,
            )
        stored.extend(part)
        return len(part)

    await in_parts(
        _TASK, changes, store_part, lambda one: {"alert": one.kind.value, "whose": one.subject_id}
    )
    return stored


async def _judge(
    connection: Connection, municipality: Municipality, at: datetime
) -> list[AlertRaised | AlertResolved]:
    whose, rules = municipality.municipality_id, municipality.rules
    observed = await store.observe(
        connection, whose, municipality.timezone, at, rules.alert_window_days
    )
    depots = await store.observe_depots(connection, whose, at, rules.alert_window_days)
    gone = await store.observe_retired(connection, whose, municipality.timezone, at)
    retired = [RetiredObservation(**row) for row in gone]
    judgements = [
        *judge([Observation(**row) for row in observed], rules),
        *judge_depots([DepotObservation(**row) for row in depots], rules),
        *judge_retired(retired, rules),
        *judge_other_vendors(
            [
                OtherVendorObservation(row["vehicle_id"], tuple(row["vendors"]), row["fixes"])
                for row in await store.observe_other_vendors(connection, whose)
            ]
        ),
    ]
    open_alerts = await store.read_open(connection, whose)
    to_raise, to_resolve = decide(
        judgements,
        {subject: raised_at for subject, (_, raised_at, _) in open_alerts.items()},
        await store.read_resolved(connection, whose),
        at,
        rules,
        {one.vehicle_id: one.in_service_until for one in retired},
    )
    raised = []
    for one in to_raise:
        subject_id, kind = one.subject
        alert_id = event_id("alert", subject_id, kind, at.isoformat())
        raised.append(
            AlertRaised(
                event_id=event_id("alert-raised", alert_id),
                alert_id=alert_id,
                municipality_id=whose,
                kind=kind,
                **_whose(subject_id, kind),
                raised_at=at,
                reason=one.reason,
            )
        )
    resolved = []
    for one in to_resolve:
        subject_id, kind = one.subject
        alert_id, raised_at, reason = open_alerts[one.subject]
        resolved.append(
            AlertResolved(
                event_id=event_id("alert-resolved", alert_id),
                alert_id=alert_id,
                municipality_id=whose,
                kind=kind,
                **_whose(subject_id, kind),
                raised_at=raised_at,
                reason=reason,
                # A late fix of another vehicle may have been undone: never before it was raised.
                resolved_at=max(at, raised_at),
                resolution=one.reason,
            )
        )
    return [*raised, *resolved]


def _whose(subject_id: str, kind: AlertKind) -> dict[str, str | None]:
    if kind is AlertKind.DEPOT_SHORT:
        return {"vehicle_id": None, "depot_id": subject_id}
    return {"vehicle_id": subject_id, "depot_id": None}
