"""How a solver searches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Search:
    """How the solver searches. `time_limit_s` is deterministic time."""

    seed: int
    time_limit_s: float
