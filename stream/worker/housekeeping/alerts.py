"""Alerts: all municipalities evaluated in one transaction, by one worker at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from prometheus_client import Counter
from pydantic import TypeAdapter

from infra.database.connection.pool import Connection, Pool
from infra.database.fleet.master_data import load_fleet, newest_fixes
from infra.database.stream.progress import event_id
from infra.database.timeline import alerts as store
from infra.kafka.client import Topics
from processors.alerts.evaluation import AlertRule, decide, evaluate
from processors.alerts.rules import ALERT_RULES
from schemas.events.alerts import AlertRaised, AlertResolved
from schemas.fleet.master_data import Municipality
from stream.process.background import guarded, in_parts

RAISED: Final = Counter("fleetpulse_alerts_raised", "Alerts raised", ["kind"])
RESOLVED: Final = Counter("fleetpulse_alerts_resolved", "Alerts that are over", ["kind"])
_TASK: Final = "alerts"


async def look(pool: Pool, topics: Topics, alert_rules: Sequence[AlertRule] = ALERT_RULES) -> int:
    """Evaluate all rules in one transaction; return how many alerts were raised or resolved.

    Does nothing while another worker is at it: rows, events and lock end together. A municipality,
    or an alert, that fails is left behind, named and counted, and the others are evaluated.
    """
    changes: list[AlertRaised | AlertResolved] = []
    async with pool.connection() as connection, connection.transaction():
        if not await store.try_to_lock(connection):
            return 0
        fleet = await load_fleet(connection, strict=False)
        for municipality_id, at in (await newest_fixes(connection)).items():
            municipality = fleet.municipalities.get(municipality_id)
            if municipality is None:  # entered a moment ago, or unreadable
                continue
            with guarded(_TASK, municipality_id=municipality_id):
                async with connection.transaction():
                    decided = await _evaluate(connection, municipality, at, alert_rules)
                changes += await _store(connection, decided, topics)
    for alert in changes:
        counter = RAISED if isinstance(alert, AlertRaised) else RESOLVED
        counter.labels(alert.kind).inc()
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
                [alert for alert in part if isinstance(alert, AlertRaised)],
                [alert for alert in part if isinstance(alert, AlertResolved)],
                topics.alerts,
            )
        stored.extend(part)
        return len(part)

    await in_parts(
        _TASK,
        changes,
        store_part,
        lambda alert: {"alert": alert.kind, "subject": alert.subject_id},
    )
    return stored


async def _evaluate(
    connection: Connection,
    municipality: Municipality,
    at: datetime,
    alert_rules: Sequence[AlertRule],
) -> list[AlertRaised | AlertResolved]:
    municipality_id, rules = municipality.municipality_id, municipality.rules
    rows: dict[tuple[type[Any], int], list[Any]] = {}
    evaluations = []
    for rule in alert_rules:
        source = rule.stats, rule.window_days(rules)
        if source not in rows:
            rows[source] = await _read(connection, municipality, at, *source)
        evaluations += evaluate(rule, rows[source], rules)
    open_alerts = await store.read_open(connection, municipality_id)
    to_raise, to_resolve = decide(
        evaluations,
        {subject: alert.raised_at for subject, alert in open_alerts.items()},
        await store.read_resolved(connection, municipality_id),
        at,
        rules,
        await store.read_retired(connection, municipality_id),
        alert_rules=alert_rules,
    )
    of_depots = {rule.kind for rule in alert_rules if rule.stats.OF_DEPOTS}
    raised = []
    for evaluation in to_raise:
        subject_id, kind = evaluation.subject
        alert_id = event_id("alert", subject_id, kind, at.isoformat())
        raised.append(
            AlertRaised(
                event_id=event_id("alert-raised", alert_id),
                alert_id=alert_id,
                municipality_id=municipality_id,
                kind=kind,
                vehicle_id=None if kind in of_depots else subject_id,
                depot_id=subject_id if kind in of_depots else None,
                raised_at=at,
                reason=evaluation.reason,
            )
        )
    resolved = []
    for evaluation in to_resolve:
        alert = open_alerts[evaluation.subject]
        resolved.append(
            AlertResolved(
                event_id=event_id("alert-resolved", alert.alert_id),
                alert_id=alert.alert_id,
                municipality_id=municipality_id,
                kind=evaluation.subject[1],
                vehicle_id=alert.vehicle_id,
                depot_id=alert.depot_id,
                raised_at=alert.raised_at,
                reason=alert.reason,
                # A late fix of another vehicle may have been undone: never before it was raised.
                resolved_at=max(at, alert.raised_at),
                resolution=evaluation.reason,
            )
        )
    return [*raised, *resolved]


async def _read(
    connection: Connection, municipality: Municipality, at: datetime, stats: type[Any], days: int
) -> list[Any]:
    rows = await store.read_statistics(
        connection,
        stats.QUERY,
        municipality_id=municipality.municipality_id,
        timezone=municipality.timezone,
        until=at,
        days=days,
    )
    return TypeAdapter[list[Any]](list[stats]).validate_python(rows)  # type: ignore[valid-type]
