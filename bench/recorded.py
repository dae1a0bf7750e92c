"""Recorded vehicles against marks of their own: the taxis' meters, what the van's tracker says.

**Taxis.** A fare is a run of `occupied`, which no rule is fed. A cab stands for much of some fares
(the meter runs), and a rule that ends trips late covers that too. Beside all of the fares' time
stand therefore the part in which the cab moved, and the price: time on trip of a cab that did not
move for ten minutes. These two are read from the positions, which the rules are fed.

**Van.** Engine: from `ign-on` and `ign-off`. The fixes' ignition is of the same events, so that
this tells what a rule makes of four of them in 1,221 fixes, one coming twice and one off for a
second at 30 km/h, not whether they are right. Moving and standing: `moving_period_ms` and
`stopped_period_ms`, which no rule is fed; the tracker seems to tell them from its speed, which the
rules are fed, so that they are tried on the positions alone besides (`van_bare_`). Left out is
what began before the first fix: 3,438 s of standing, and the one `ignition_off_period_ms`.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final

from bench.intervals import between, common, differing_s, lasts_s, total_s
from bench.ours import Rule, in_order, ours
from bench.rivals import RIVALS, Found, metres
from schemas.events.fix import Fix
from tests.scenario.test_real_data import CABS, VAN, cab_fixes, van_fixes
from tests.scenario.truth_score import score_trips

TOLERANCE_S: Final = 60.0
TOLD_AFTER: Final = timedelta(seconds=60)
"""The van's tracker tells that it moves, or stands, a minute late: 60 s after the first fix with
speed, or without. The lengths of its periods are not touched by that."""

_LEG_S: Final = 180.0
_MOVED_M: Final = 50.0
_STOOD_M: Final = 25.0
_STOOD_FOR: Final = timedelta(minutes=10)

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of recorded vehicles, and how well a rule agrees with its marks."""

    name: str
    title: str
    file: Path
    names: tuple[str, ...]
    score: Callable[[Rule], Figures]


def recorded() -> Figures:
    """Return the figures of ours and of the rivals on what recordings there are."""
    figures: Figures = {}
    rules: dict[str, Rule] = {"": ours, **{f"{name}_": rule for name, rule in RIVALS.items()}}
    for recording in RECORDINGS:
        if recording.file.exists():
            for prefix, rule in rules.items():
                for name, value in recording.score(rule).items():
                    figures[f"{recording.name}_{prefix}{name}"] = value
    return figures


def fares() -> dict[str, list[Found]]:
    """Return each taxi's fares of two minutes or more."""
    document: defaultdict[str, list[Found]] = defaultdict(list)
    with gzip.open(CABS, "rt", encoding="utf-8") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: (row["vehicle"], row["recorded_at"]))
    for (vehicle, occupied), run in groupby(rows, lambda row: (row["vehicle"], row["occupied"])):
        times = [datetime.fromisoformat(row["recorded_at"]) for row in run]
        if occupied == "1" and times[-1] - times[0] >= timedelta(minutes=2):
            document[f"recorded/{vehicle}"].append(Found(times[0], times[-1]))
    return document


def moving(fixes: Sequence[Fix]) -> Iterator[Found]:
    """Yield legs of three minutes at most and 50 m at least: on them the vehicle moved."""
    for before, now in pairwise(fixes):
        leg = Found(before.recorded_at, now.recorded_at)
        if lasts_s(leg) <= _LEG_S and metres(before, now) > _MOVED_M:
            yield leg


def standing(fixes: Sequence[Fix]) -> Iterator[Found]:
    """Yield ten minutes or more, with a fix every three, within 25 m of where they began."""
    first = last = fixes[0]
    for before, now in pairwise(fixes):
        apart_s = (now.recorded_at - before.recorded_at).total_seconds()
        if apart_s > _LEG_S or metres(first, now) > _STOOD_M:
            if last.recorded_at - first.recorded_at >= _STOOD_FOR:
                yield Found(first.recorded_at, last.recorded_at)
            first = now
        last = now
    if last.recorded_at - first.recorded_at >= _STOOD_FOR:
        yield Found(first.recorded_at, last.recorded_at)


def on_taxis(rule: Rule) -> Figures:
    """Score a rule on the taxis. Shares of time; a fare is met if it is mostly on a trip."""
    reports = cab_fixes()
    met: list[bool] = []
    whole_s: defaultdict[str, float] = defaultdict(float)
    on_trip_s: defaultdict[str, float] = defaultdict(float)
    for vehicle_id, its_fares in fares().items():
        fixes = in_order(reports[vehicle_id])
        trips = rule(fixes).trips
        met += [total_s(common([fare], trips)) >= lasts_s(fare) / 2 for fare in its_fares]
        marks: dict[str, list[Found]] = {
            "fare": its_fares,
            "moving_fare": common(its_fares, moving(fixes)),
            "standing": list(standing(fixes)),
        }
        for name, marked in marks.items():
            whole_s[name] += total_s(marked)
            on_trip_s[name] += total_s(common(marked, trips))
    return {
        "fares_on_trip": sum(met) / len(met),
        **{f"{name}_time_on_trip": on_trip_s[name] / whole_s[name] for name in whole_s},
    }


@dataclass(frozen=True, slots=True)
class Told:
    """What the van's tracker tells of itself."""

    engine_on: list[Found]
    moving: list[Found]
    standing: list[Found]
    until: datetime


def told() -> Told:
    """Read the van's marks: events in the order of their own time, of two alike the first."""
    with gzip.open(VAN, "rt", encoding="utf-8") as lines:
        events = sorted((json.loads(line) for line in lines), key=lambda event: event["ts"])
    begins, until = _at(events[0]), _at(events[-1])
    engine_on: list[Found] = []
    switched_on: datetime | None = None
    periods: dict[str, list[Found]] = {"moving_period_ms": [], "stopped_period_ms": []}
    under_way: datetime | None = None
    for event in events:
        at = _at(event)
        if event["type"] == "ign-on" and switched_on is None:
            switched_on = at
        elif event["type"] == "ign-off" and switched_on is not None:
            engine_on.append(Found(switched_on, at))
            switched_on = None
        if event["type"] in ("started-moving", "stopped-moving"):
            under_way = at - TOLD_AFTER if event["type"] == "started-moving" else None
        for name, founds in periods.items():
            if event[name] is not None:
                period = timedelta(milliseconds=event[name])
                if (since := at - TOLD_AFTER - period) >= begins:
                    founds.append(Found(since, since + period))
    if switched_on is not None:
        engine_on.append(Found(switched_on, until))
    if under_way is not None:
        periods["moving_period_ms"].append(Found(under_way, until))
    return Told(engine_on, periods["moving_period_ms"], periods["stopped_period_ms"], until)


def on_van(rule: Rule) -> Figures:
    """Score a rule on the van, as it was recorded."""
    marks = told()
    (reports,) = van_fixes().values()
    verdict = rule(in_order(reports))
    engine_s = total_s(marks.engine_on)
    return {
        "engine_error": differing_s([*verdict.driving, *verdict.idling], marks.engine_on)
        / engine_s,
        "trip_time_engine_off": 1
        - total_s(common(verdict.trips, marks.engine_on)) / total_s(verdict.trips),
        **_on_movement(verdict.trips, marks),
    }


def on_bare_van(rule: Rule) -> Figures:
    """Score a rule on the van's positions alone."""
    (reports,) = van_fixes().values()
    bare = [fix.model_copy(update={"speed_mps": None, "ignition": None}) for fix in reports]
    return _on_movement(rule(in_order(bare)).trips, told())


def _on_movement(trips: Sequence[Found], marks: Told) -> Figures:
    """Score trips on the tracker's periods: both ends, then seconds told wrong per second told."""
    score = score_trips(trips, marks.moving, tolerance_s=TOLERANCE_S)
    span = Found(marks.moving[0].started_at, marks.until)
    wrong_s = differing_s(common(trips, [span]), marks.moving)
    return {
        "trip_precision": score.precision,
        "trip_recall": score.recall,
        "moving_error": wrong_s / total_s(marks.moving),
        "standing_error": differing_s(between(trips, span), marks.standing)
        / total_s(marks.standing),
    }


def _at(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["ts"])


_MOVEMENT: Final = ("trip_precision", "trip_recall", "moving_error", "standing_error")
RECORDINGS: Final = (
    Recording(
        "cabs",
        "on recorded taxis (fixes a minute apart, neither speed nor ignition)",
        CABS,
        (
            "fares_on_trip",
            "fare_time_on_trip",
            "moving_fare_time_on_trip",
            "standing_time_on_trip",
        ),
        on_taxis,
    ),
    Recording(
        "van",
        "on a recorded van (fixes 3 s to 30 s apart, ignition as events)",
        VAN,
        ("engine_error", "trip_time_engine_off", *_MOVEMENT),
        on_van,
    ),
    Recording("van_bare", "on the van's positions alone", VAN, _MOVEMENT, on_bare_van),
)
