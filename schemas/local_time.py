"""Time zones of municipalities, and instants as their people read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

DENMARK: Final = "Europe/Copenhagen"


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"no time zone {name!r}; give an IANA name such as Europe/Copenhagen"
        ) from error
    return name


Timezone = Annotated[str, AfterValidator(_known_zone)]
"""IANA name of a time zone."""


def local_minute(at: datetime, timezone: str) -> str:
    """Return an instant to the minute with its zone, such as `2026-03-02 08:45 CET`."""
    return f"{at.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M %Z}"
