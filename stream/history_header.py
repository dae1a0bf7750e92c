"""The header that declares recorded fixes, so that their age is not taken for a wrong clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.events.history import HistoryRange
from schemas.fleet.rules import FIX_KEPT_DAYS

_LIVE: Final = timedelta(days=FIX_KEPT_DAYS - 1)
"""A day less than the gateway's worker takes: a push may have to be tried again for a while."""


def range_to_declare(
    instants: Iterable[datetime], now: datetime | None = None
) -> HistoryRange | None:
    """Return the range of history of fixes of these instants; None where all can be live.

    Instants are in UTC; `now` is when they are pushed.
    """
    every = sorted(instants)
    if not every or (now or datetime.now(UTC)) - every[0] <= _LIVE:
        return None
    return HistoryRange(every[0], every[-1])
