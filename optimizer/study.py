"""What questions of all models have in common when they are put to recorded rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

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
