"""What we make of a vehicle's fixes, in the words of the rivals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.rivals import Found, Verdict
from processors.timeline.segments import SegmentState
from processors.timeline.validation import Arrival, resolve
from processors.timeline.vehicle_fold import advance
from schemas.events.fix import Fix
from schemas.fleet.rules import Rules
from tests.stream_harness import RECEIVED_AT

Rule = Callable[[Sequence[Fix]], Verdict]


def in_order(arriving: Iterable[Fix]) -> list[Fix]:
    """Return what the stream folds, of fixes in any order: one an instant, by device time."""
    counting, _ = resolve(Arrival(fix, RECEIVED_AT) for fix in arriving)
    return [counting[at].fix for at in sorted(counting)]


def ours(fixes: Sequence[Fix]) -> Verdict:
    """Fold the fixes as the worker does."""
    _, changes = advance(None, fixes, (), Rules())
    segments = changes.segments.rows

    def of(state: SegmentState) -> list[Found]:
        return [
            Found(segment.started_at, segment.ended_at)
            for segment in segments
            if segment.state is state
        ]

    return Verdict(
        [Found(row.started_at, row.ended_at, row.distance_m) for row in changes.trips.rows],
        of(SegmentState.IDLING),
        of(SegmentState.DRIVING),
    )
