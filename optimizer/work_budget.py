"""Deterministic time: work counted instead of a clock, so that the same search ends the same."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_S_PER_CELL: Final = 2e-9
_S_PER_CALL: Final = 4e-5


class WorkBudget:
    """A budget of deterministic seconds, each about a second of one core (ours, measured)."""

    def __init__(self, limit_s: float) -> None:
        if not limit_s > 0:
            raise ValueError(f"time limit of {limit_s} s; give more than 0")
        self.limit_s = limit_s
        self.spent_s = 0.0

    def spend(self, cells: int, calls: int = 1) -> None:
        """Count passes over matrices of so many cells altogether, in so many steps."""
        self.spent_s += cells * _S_PER_CELL + calls * _S_PER_CALL

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.spent_s >= self.limit_s
