"""Judge folders of cases: what somebody reported, as events, beside what should come of it.

`python -m bench.cases FOLDER...` folds each case, prints a line OK or WRONG with its figures, and
ends with 1 where one is wrong; `--json` prints one flat object. A folder is a case, or holds cases.
A case is a file of events of the native format (`*.jsonl`, in order of receipt) or of a replay
(`*.csv`, in Danish local time), and `expected.json`: `depot`, whether there is one at its place,
and the least and the most of each figure.

Each event is judged at its receipt, as the door and the worker do: at `received_at` of the event
where it has one, else some seconds after it was recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic import TypeAdapter, ValidationError

from processors.timeline.validation import fault
from processors.timeline.vehicle_fold import Changes, advance
from schemas.events.fix import Fix, NativeFix, UtcDatetime
from schemas.fleet.master_data import Depot
from schemas.fleet.rules import Rules
from stream.replay.mapping import ReplayError, load_mapping
from stream.replay.reader import read_events

_MUNICIPALITY: Final = "m"
_DEPOT: Final = Depot(
    depot_id="m/base", municipality_id="m", name="Base", lat=56.3226, lon=10.4461, capacity=5
)
_ON_ITS_WAY: Final = timedelta(seconds=5)
_TIME_ZONE: Final = "Europe/Copenhagen"
_RECEIPT: Final = TypeAdapter(UtcDatetime)


class Received(NamedTuple):
    """A fix and when it was received."""

    fix: Fix
    at: datetime


class Verdict(NamedTuple):
    """A case's figures, and those that are not within what is expected."""

    figures: Mapping[str, float]
    wrong: Sequence[str]


def cases_in(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the folders of cases: those given, or what lies in them."""
    for folder in folders:
        if (folder / "expected.json").exists():
            yield folder
            continue
        inside = sorted(path.parent for path in folder.glob("*/expected.json"))
        if not inside:
            raise SystemExit(f"{folder} holds no case: a case is a folder with expected.json")
        yield from inside


def read_case(folder: Path) -> tuple[list[Received], str]:
    """Return the fixes that the door takes of a case, in order, and why its file is refused."""
    (path,) = (path for path in folder.iterdir() if path.suffix in {".jsonl", ".csv"})
    if path.suffix == ".csv":
        try:
            mapping = load_mapping(None, {"timezone": _TIME_ZONE})
            events: list[dict[str, Any]] = list(read_events([path], mapping))
        except ReplayError as refused:
            return [], str(refused)
    else:
        events = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    return [received for event in events if (received := _received(event)) is not None], ""


def _received(event: dict[str, Any]) -> Received | None:
    """Return what the worker gets of an event; None for one that the door refuses."""
    receipt = event.pop("received_at", None)
    try:
        native = NativeFix.model_validate(event)
    except ValidationError:
        return None
    content = native.model_dump(exclude={"type"})
    fix = Fix.model_validate({**content, "vehicle_id": f"{_MUNICIPALITY}/{native.vehicle_id}"})
    at = fix.recorded_at + _ON_ITS_WAY if receipt is None else _RECEIPT.validate_python(receipt)
    return Received(fix, at)


def judge(folder: Path) -> Verdict:
    """Fold a case and compare its figures with what is expected."""
    expected = json.loads((folder / "expected.json").read_text())
    depots = [_DEPOT] if expected.pop("depot") else []
    received, problem = read_case(folder)
    figures: dict[str, float] = {"events": len(received)}
    rules = Rules()
    first: dict[datetime, Fix] = {}
    for fix, at in received:
        if fault(fix, at, rules) is None:
            first.setdefault(fix.recorded_at, fix)
    if first:
        _, changes = advance(None, [first[at] for at in sorted(first)], depots, rules)
        figures |= figures_of(changes)
    wrong = [
        f"{name} {figures.get(name, 'none'):g} not within {least:g} and {most:g}"
        if name in figures
        else f"{name} is missing"
        for name, (least, most) in expected.items()
        if name not in figures or not least <= figures[name] <= most
    ]
    return Verdict(figures, [*wrong, *([problem] if problem else [])])


def figures_of(changes: Changes) -> dict[str, float]:
    """Return the figures of a vehicle's timeline: kilometres, whole seconds and counts."""
    hours, trips = changes.hours.rows, changes.trips.rows
    seconds = {
        f"{state}_s": round(
            sum((getattr(hour, state) for hour in hours), timedelta()).total_seconds()
        )
        for state in ("driving", "idling", "parked", "offline")
    }
    return {
        "trips": len(trips),
        "km": round(sum(hour.distance_m for hour in hours) / 1000, 2),
        **seconds,
        "hours": len(hours),
        "refused": len(changes.refused),
        "odometer_abs_m_most": max(
            (abs(trip.mileage.odometer_m) for trip in trips if trip.mileage.odometer_m is not None),
            default=0.0,
        ),
    }


def main(words: Sequence[str]) -> int:
    """Run as the command line says; return 1 where a case is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.cases", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true", help="one flat object")
    arguments = parser.parse_args(words)
    verdicts = {folder.name: judge(folder) for folder in cases_in(arguments.folders)}
    wrong = sum(1 for verdict in verdicts.values() if verdict.wrong)
    if arguments.json:
        figures = {
            f"{name}_{figure}": value
            for name, verdict in verdicts.items()
            for figure, value in verdict.figures.items()
        }
        print(json.dumps({"cases": len(verdicts), "cases_wrong": wrong, **figures}))
        return 1 if wrong else 0
    for name, verdict in verdicts.items():
        figures_shown = " ".join(f"{figure}={value:g}" for figure, value in verdict.figures.items())
        print("WRONG" if verdict.wrong else "OK   ", name, figures_shown)
        for line in verdict.wrong:
            print(f"      {line}")
    print(f"{len(verdicts) - wrong} of {len(verdicts)} cases are right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
