"""Alerts: what operations should look at, raised once, and over when it is well over.

`evaluate()` says of each vehicle or depot and rule whether a statistic is beyond its limit, well
within, or in the margin between the two. `decide()` turns that into alerts to raise and to resolve:
in the margin an open alert stays open and none is raised (hysteresis), and after its end the same
alert rests for a while (cool-down). The rules are a table: `processors.alerts.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final

from schemas.events.alerts import AlertKind
from schemas.fleet.rules import Rules

Subject = tuple[str, AlertKind]
"""A vehicle or depot and what is wrong with it: at most one alert of a subject is open."""
_NOBODY: Final[Mapping[str, date]] = MappingProxyType({})


def _all_rows(rows: Sequence[Any], _rules: Rules) -> Sequence[Any]:
    return rows


def _no_margin(_rules: Rules) -> float:
    return 0.0


def _window_days(rules: Rules) -> int:
    return rules.alert_window_days


def _no_longer_evaluated(last_day: date | None) -> str:
    if last_day is not None:
        return f"retired: in service until {last_day}"
    return "too little is known to judge it any longer"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """One kind of alert: which figure of whom is held against which limit, and in which words.

    `stats` is the class of rows that it is evaluated on (`processors.alerts.statistics`), `sample`
    what a statistic is taken of: the rows themselves, or what they are next to each other.
    `statistic` is None where too little is known. It is beyond a `limit` that it is above (below,
    with `below_limit`), and within it from `margin` on, a share of the limit. `reason` says why an
    alert is raised, `resolution` why it is over, the same unless given; `unevaluated` why it is
    over when no row is there to evaluate any more, from the last day in service where that is past.
    """

    kind: AlertKind
    stats: type[Any]
    statistic: Callable[[Any, Rules], float | None]
    limit: Callable[[Rules], float]
    reason: Callable[[Any, float, Rules], str]
    resolution: Callable[[Any, float, Rules], str] | None = None
    margin: Callable[[Rules], float] = _no_margin
    window_days: Callable[[Rules], int] = _window_days
    sample: Callable[[Sequence[Any], Rules], Sequence[Any]] = _all_rows
    below_limit: bool = False
    unevaluated: Callable[[date | None], str] = _no_longer_evaluated


class LimitState(Enum):
    """Where a statistic is with regard to its limit."""

    BEYOND = auto()
    IN_MARGIN = auto()
    WITHIN = auto()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One vehicle or depot, one kind: where it is, and the numbers that say so."""

    subject: Subject
    state: LimitState
    reason: str


def evaluate(rule: AlertRule, rows: Sequence[Any], rules: Rules) -> list[Evaluation]:
    """Return what holds by one rule of one municipality's vehicles or depots.

    Those of which too little is known have no evaluation.
    """
    limit, margin = rule.limit(rules), rule.margin(rules)
    evaluations = []
    for row in rule.sample(rows, rules):
        value = rule.statistic(row, rules)
        if value is None:
            continue
        if rule.below_limit:
            state = _limit_state(-value, -limit, -limit * (1 + margin))
        else:
            state = _limit_state(value, limit, limit * (1 - margin))
        words = rule.reason
        if state is LimitState.WITHIN and rule.resolution is not None:
            words = rule.resolution
        subject = (row.subject_id, rule.kind)
        evaluations.append(Evaluation(subject, state, words(row, value, rules)))
    return evaluations


def _limit_state(value: float, limit: float, over_below: float) -> LimitState:
    if value > limit:
        return LimitState.BEYOND
    return LimitState.WITHIN if value <= over_below else LimitState.IN_MARGIN


def decide(  # noqa: PLR0913, PLR0917 - what holds now, what held before, and when
    evaluations: Iterable[Evaluation],
    open_since: Mapping[Subject, datetime],
    resolved_at: Mapping[Subject, datetime],
    at: datetime,
    rules: Rules,
    retired: Mapping[str, date] = _NOBODY,
    *,
    alert_rules: Sequence[AlertRule],
) -> tuple[list[Evaluation], list[Evaluation]]:
    """Return which alerts to raise and which open ones to resolve at an instant of event time.

    `open_since` are the open alerts, `resolved_at` the newest end of each subject's earlier ones,
    `retired` the last day in service of vehicles that are out of it.
    """
    rest = timedelta(days=rules.alert_cooldown_days)
    unevaluated = {rule.kind: rule.unevaluated for rule in alert_rules}
    by_subject = {evaluation.subject: evaluation for evaluation in evaluations}
    to_raise: list[Evaluation] = []
    to_resolve = [
        Evaluation(
            subject,
            LimitState.WITHIN,
            unevaluated.get(subject[1], _no_longer_evaluated)(retired.get(subject[0])),
        )
        for subject in sorted(open_since.keys() - by_subject.keys())
    ]
    for subject, evaluation in by_subject.items():
        ended = resolved_at.get(subject)
        if subject in open_since:
            if evaluation.state is LimitState.WITHIN:
                to_resolve.append(evaluation)
        # What has ended at this very instant would be the same alert again.
        elif evaluation.state is LimitState.BEYOND and (
            ended is None or (at > ended and at - ended >= rest)
        ):
            to_raise.append(evaluation)
    return to_raise, to_resolve
