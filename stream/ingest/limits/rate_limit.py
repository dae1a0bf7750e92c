"""How many events a second a key may send: a token bucket, which takes a burst and then a rate."""

from __future__ import annotations

import math
import time
from typing import Final

BURST_S: Final = 60.0
"""A key that has been silent may send what this many seconds allow, at once."""


class TokenBucket:
    """Tokens that come at a steady rate, up to a minute's; one pays for one event.

    A request is let in while there is any token, and may leave a debt: how many events it holds is
    known only when it has been read.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._tokens = per_s * BURST_S
        self._at = time.monotonic()

    def wait_s(self) -> int:
        """Return after how many whole seconds there is a token again; 0 for now."""
        now = time.monotonic()
        grown = self._tokens + (now - self._at) * self._per_s
        self._tokens, self._at = min(grown, self._per_s * BURST_S), now
        if self._tokens > 0:
            return 0
        return max(1, math.ceil(-self._tokens / self._per_s))

    def pay(self, events: int) -> None:
        """Take as many tokens as a request has events, one at least."""
        self._tokens -= max(1, events)
