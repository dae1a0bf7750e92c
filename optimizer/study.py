"""What studies of all models have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar
from zoneinfo import ZoneInfo

from optimizer.demand import TripChain
from schemas.errors import UserError
from schemas.ids import local_part, scoped
from schemas.plans.demand import PlacementInputs

Inputs = TypeVar("Inputs")

DAYS_A_YEAR: Final = 365.25
_DAYS_A_WEEK: Final = 7


class NothingToStudyError(UserError):
    """The rows hold nothing that the question is about; the message says what was looked at."""

    exit_code = 1


class UnknownDepotError(UserError):
    """A question names a depot that is not there."""


class ImpossibleOptionError(UserError):
    """A wish that no answer can meet; the message says the limit."""


@dataclass(frozen=True, slots=True)
class StudyInputs(Generic[Inputs]):
    """A model's inputs, and in words what they were made from, left out and assumed."""

    inputs: Inputs
    basis: str


def of_days(started_at: datetime, ended_at: datetime, zone: ZoneInfo) -> tuple[str, int]:
    """Return the local days from an instant to another, in words, and how many they are."""
    first, last = started_at.astimezone(zone).date(), ended_at.astimezone(zone).date()
    days = (last - first).days + 1
    return f"{first} to {last} ({days} {'day' if days == 1 else 'days'})", days


def depot_named(name: str, municipality_id: str, depot_ids: Collection[str], wanted: str) -> str:
    """Return the id of a depot that is named by it or by its own part.

    `wanted` ends "has no depot x that could …". Raises `UnknownDepotError`.
    """
    depot_id = name if "/" in name else scoped(municipality_id, name)
    if depot_id not in depot_ids:
        raise UnknownDepotError(
            f"{municipality_id} has no depot {local_part(depot_id)!r} that could {wanted}; it has "
            f"{', '.join(sorted(map(local_part, depot_ids))) or 'none'}"
        )
    return depot_id


def thinness(days: int) -> list[str]:
    """Return a sentence on days that are less than a week; none on more."""
    return [f"Thin: {days} of the days of a week have been seen."] if days < _DAYS_A_WEEK else []


def nothing_driven(rows: PlacementInputs) -> NothingToStudyError:
    """Return the error for rows without a trip chain."""
    return NothingToStudyError(
        f"no round trip of {rows.municipality_id} has ended in the last {rows.horizon_days} days "
        "that there are fixes of; push some first (fleetpulse simulate or replay), enter depots "
        "and vehicles, or look further back with --weeks"
    )


def names_of(trip_chains: Sequence[TripChain], zone: ZoneInfo) -> list[str]:
    """Name each by depot, class and local minute of leaving; what shares these is numbered."""
    seen: Counter[str] = Counter()
    names: list[str] = []
    for trip_chain in trip_chains:
        at = f"{trip_chain.started_at.astimezone(zone):%Y-%m-%d %H:%M}"
        name = f"{local_part(trip_chain.depot_id)} {trip_chain.vehicle_class} {at}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return names
