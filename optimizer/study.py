"""What questions of all models have in common when they are put to recorded rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from optimizer.demand import Outing
from schemas.demand import PlacementInputs
from schemas.ids import local_part

Inputs = TypeVar("Inputs")


class NothingToStudyError(ValueError):
    """The rows hold nothing that the question is about; the message says what was looked at."""


@dataclass(frozen=True, slots=True)
class Posed(Generic[Inputs]):
    """A model's inputs, and in words what they were made from, left out and assumed."""

    inputs: Inputs
    basis: str


def of_days(started_at: datetime, ended_at: datetime, zone: ZoneInfo) -> tuple[str, int]:
    """Return the local days from an instant to another, in words, and how many they are."""
    first, last = started_at.astimezone(zone).date(), ended_at.astimezone(zone).date()
    days = (last - first).days + 1
    return f"{first} to {last} ({days} {'day' if days == 1 else 'days'})", days


def nothing_driven(rows: PlacementInputs) -> NothingToStudyError:
    """Return the error for rows without an outing."""
    return NothingToStudyError(
        f"no round trip of {rows.municipality_id} has ended in the last {rows.horizon_days} days "
        "that there are fixes of; push some first (fleetpulse simulate or replay), enter depots "
        "and vehicles, or look further back with --weeks"
    )


def names_of(outings: Sequence[Outing], zone: ZoneInfo) -> list[str]:
    """Name each by depot, class and local minute of leaving; what shares these is numbered."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for one in outings:
        at = f"{one.started_at.astimezone(zone):%Y-%m-%d %H:%M}"
        name = f"{local_part(one.depot_id)} {one.vehicle_class} {at}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return names
