"""When the state of a vehicle is kept, so that a late fix is folded again from there.

By device time, and by count where fixes are dense: a tracker that reports each second sends as many
in six hours as another one in two weeks. Nothing is counted, though. A late fix would shift every
count after it, and no later state would be kept at the same fix as before, where folding again may
end. So a pair of consecutive fixes decides alone: whether a multiple of a period lies between them,
which is so long as some hundreds of such pairs.
"""

from __future__ import annotations

from datetime import timedelta
from math import frexp, ldexp
from typing import Final

import numpy as np
from numpy.typing import NDArray

EVERY: Final = timedelta(hours=6)
"""Of device time, however few fixes there are."""
LEGS: Final = 512
"""A dense stream keeps a state each so many fixes, or up to twice as many."""
_EVERY_S: Final = EVERY.total_seconds()


def is_due(before_s: float, at_s: float) -> bool:
    """Return whether a state is kept after a fix, given the one before it that counts.

    Instants are seconds since 1970, to the microsecond.
    """
    if at_s // _EVERY_S != before_s // _EVERY_S:
        return True
    _, exponent = frexp(at_s - before_s)
    period_s = ldexp(LEGS, exponent)
    return period_s < _EVERY_S and at_s // period_s != before_s // period_s


def are_due(recorded_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return the same for many fixes, each after the one before it; the first one has none.

    Instants are microseconds since 1970.
    """
    at_s = recorded_us / 1e6
    before_s = np.concatenate((at_s[:1], at_s[:-1]))
    _, exponent = np.frexp(at_s - before_s)
    period_s = np.ldexp(float(LEGS), exponent)
    due: NDArray[np.bool_] = (at_s // _EVERY_S != before_s // _EVERY_S) | (
        (period_s < _EVERY_S) & (at_s // period_s != before_s // period_s)
    )
    return due
