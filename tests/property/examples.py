"""How many examples the laws are tried on: a base count, times `FLEETPULSE_LAW_FACTOR`.

`make test` tries a quarter of it, so that it stays a command to run often; `make laws` tries many
times as much, and CI runs both.
"""

from __future__ import annotations

import os
from typing import Final

FACTOR: Final = float(os.environ.get("FLEETPULSE_LAW_FACTOR", "0.25"))


def examples(base: int) -> int:
    """Return how many examples to try, at least one."""
    return max(1, round(base * FACTOR))
