"""The range of time that a vendor declares when it pushes history instead of live fixes."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final, NamedTuple, Self

from schemas.errors import UserError

HEADER: Final = "Fleetpulse-History"
"""Of a request to `POST /v1/events`: its value is a range."""


class HistoryRangeError(UserError):
    """A text that is no range of history; the message says the form."""

    exit_code = 1


class HistoryRange(NamedTuple):
    """From when to when fixes are history, both ends included, in UTC."""

    since: datetime
    until: datetime

    def holds(self, at: datetime) -> bool:
        """Return whether an instant lies in the range."""
        return self.since <= at <= self.until

    def __str__(self) -> str:
        """Return the range as an ISO 8601 interval."""
        return f"{self.since.isoformat()}/{self.until.isoformat()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range that an ISO 8601 interval says; a date alone is midnight UTC.

        Raises `HistoryRangeError` for anything else, with the value and the remedy.
        """
        since, _, until = text.strip().partition("/")
        try:
            given = cls(_instant(since), _instant(until))
        except (ValueError, OverflowError) as error:
            raise HistoryRangeError(
                f"{text[:100]!r} is no range of history: {error}; write two instants, such as "
                "2024-01-01T00:00:00Z/2024-06-30T00:00:00Z or 2024-01-01/2024-06-30"
            ) from None
        if given.since > given.until:
            raise HistoryRangeError(
                f"{text[:100]!r} is no range of history: it ends before it begins; write the "
                "earlier instant first"
            )
        return given


def _instant(text: str) -> datetime:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError(f"{text} has no offset from UTC") from None
        return at.astimezone(UTC)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
