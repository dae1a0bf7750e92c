"""How much longer things take on this machine than on a quiet one: what a test waits for grows."""

from __future__ import annotations

import os


def patience() -> float:
    """Return how many times as long to wait as on quiet cores, at least 1.

    Measured by who wants a processor now: with eight at two cores, each gets a quarter of one.
    """
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
