"""Ignition noise: on/off shorter than 30 s apart is ignored (Geotab's rule)."""

from __future__ import annotations

from collections.abc import Sequence

from processors.timeline.legs import Leg


def debounce(
    legs: Sequence[Leg], *, before: bool | None, noise_s: float
) -> tuple[Sequence[Leg], int]:
    """Return the legs with settled ignition, and how many of them are settled for good.

    A run of legs with another ignition than what came before it takes effect, from its start,
    once it lasts `noise_s` seconds; a shorter one is noise and takes the ignition before it. The
    last run may still grow, so that while it is short its legs are not settled for good. What
    came before the first leg is `before`; from None (never reported) any report takes effect at
    once.
    """
    for leg in legs:
        if leg.engine is not before:
            break
    else:
        return legs, len(legs)  # nothing switches: by far the most usual
    settled: list[Leg] = []
    current = before
    index = 0
    for_good = len(legs)
    while index < len(legs):
        engine = legs[index].engine
        end = index + 1
        while end < len(legs) and legs[end].engine == engine:
            end += 1
        run = legs[index:end]
        if engine == current:
            settled += run
        elif current is None or _lasts(run) >= noise_s:
            current = engine
            settled += run
        else:
            settled += [leg._replace(engine=current) for leg in run]
            if end == len(legs):
                for_good = index
        index = end
    return settled, for_good


def _lasts(run: Sequence[Leg]) -> float:
    return (run[-1].ended_at - run[0].started_at).total_seconds()
