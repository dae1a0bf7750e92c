"""How a solver searches, and how it is told to stop before it is through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from schemas.errors import InternalError


class SearchCancelledError(InternalError):
    """A search was cancelled: it has no result, whatever it had found by then."""


class Cancellation:
    """Stops a search from another thread.

    A search is reproducible (law 5) or has no result: one that was cancelled raises
    `SearchCancelledError`, also when it ends by itself at the same moment.
    """

    def __init__(self) -> None:
        self._cancelled = False
        self._stop: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Cancel; again and again until the search has ended, for a solver may just be starting."""
        self._cancelled = True
        stop = self._stop
        if stop is not None:
            stop()

    def check(self) -> None:
        """Raise `SearchCancelledError` if cancelled."""
        if self._cancelled:
            raise SearchCancelledError

    @contextmanager
    def stopping(self, stop: Callable[[], None]) -> Iterator[None]:
        """While within, have `cancel` call `stop`. Raises `SearchCancelledError` around it."""
        self.check()
        self._stop = stop
        try:
            yield
        finally:
            self._stop = None
        self.check()


ProgressCallback = Callable[[float, str], None]
"""Hears how far a search is: the share that is done, from 0 to 1, and what it is at, in words."""


def _nobody(share: float, at: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Search:
    """How the solver searches. `time_limit_s` is deterministic time."""

    seed: int
    time_limit_s: float
    cancellation: Cancellation = field(default_factory=Cancellation, compare=False, repr=False)
    """Heeded by `optimizer.placement.solve`."""
    tell: ProgressCallback = field(default=_nobody, compare=False, repr=False)
    """Told by `optimizer.plan` and what it calls; changes nothing of what is found."""
