"""What the doctor finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    """It works, but something that should be there is not."""
    FAULT = "fault"
    """Something does not work, or will soon not."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    """What was looked at, in a word or two."""
    level: Severity
    text: str
    """What was seen: values and limits."""
    remedy: str = ""
    """The command, or the change of a setting, that mends it; empty where nothing is wrong."""


def ok(subject: str, text: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(subject, Severity.OK, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Return that something is missing that should be there."""
    return Finding(subject, Severity.WARNING, text, remedy)


def fault(subject: str, text: str, remedy: str) -> Finding:
    """Return that something does not work."""
    return Finding(subject, Severity.FAULT, text, remedy)
