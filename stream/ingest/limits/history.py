"""The header by which a vendor declares that it pushes history, and who may."""

from __future__ import annotations

from typing import Any, Final

from infra.database.fleet.api_keys import KeyHolder
from schemas.events.history import HEADER, HistoryRange, HistoryRangeError
from stream.ingest.http.refusals import RefusedError

PARAMETER: Final[dict[str, Any]] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Declares that events of this range of time are history: an ISO 8601 interval, "
    "both ends included; a date alone is midnight UTC. An event that was recorded longer before "
    "its receipt than raw positions are kept, and outside of the declared range, becomes a dead "
    "letter `too-old`. The key must allow it: `fleetpulse key create ... --history`.",
    "example": "2024-01-01T00:00:00Z/2024-06-30T00:00:00Z",
}


def declared_history(value: str | None, sender: KeyHolder) -> HistoryRange | None:
    """Return the range that a request declares by the value of its header, None without one.

    Raises `RefusedError`: 422 for a value that is no range, 403 where the key does not allow it.
    """
    if value is None:
        return None
    try:
        history = HistoryRange.parse(value)
    except HistoryRangeError as error:
        raise RefusedError(422, "history", f"{HEADER}: {error}") from error
    if not sender.may_push_history:
        raise RefusedError(
            403,
            "history",
            f"{HEADER}: {history} is declared, but this key of {sender.vendor} for "
            f"{sender.municipality_id} pushes live events only; leave the header out, or ask for a "
            "key that was made with `fleetpulse key create ... --history`",
        )
    return history
