"""How many examples the laws are tried on: a base count, times `FLEETPULSE_LAW_FACTOR`."""

from __future__ import annotations

import os
from typing import Final

FACTOR: Final = int(os.environ.get("FLEETPULSE_LAW_FACTOR", "1"))


def examples(base: int) -> int:
    """Return how many examples to try."""
    return base * FACTOR
