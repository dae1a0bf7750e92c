"""Fixes of a vehicle that is out of coverage now and then, and says positions that it was at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from schemas.events.fix import Fix

_START = datetime(2026, 2, 2, 5, 40, tzinfo=UTC)
_STEP_DEG = 0.00009  # 10 m


@st.composite
def outages(
    draw: st.DrawFn, vehicle_id: str = "syddjurs/car-1", *, private: bool = False
) -> list[Fix]:
    """Return fixes in order: silences, positions said again, and legs that no vehicle makes.

    With some in private mode if `private`.
    """
    fixes: list[Fix] = []
    at, place, odometer_m = _START, 0, 1000.0
    discreet = draw(st.sampled_from(((False,), (False,) * 9 + (True,)))) if private else (False,)
    for _ in range(draw(st.integers(1, 12))):
        hidden = draw(st.sampled_from(discreet))
        # A place, what is said there, and what follows it: what comes once more, or far away.
        silence_s = draw(st.sampled_from((20, 60, 179, 180, 181, 600, 1164, 3000, 3601, 20_000)))
        repeats = draw(st.sampled_from((0, 0, 1, 1, 1, 2)))
        for again in range(repeats + 1):
            fixes.append(
                Fix(
                    vehicle_id=vehicle_id,
                    recorded_at=at,
                    lat=None if hidden else 56.3 + place * _STEP_DEG,
                    lon=None if hidden else 10.4,
                    private_mode=hidden,
                    speed_mps=None if hidden else draw(st.sampled_from((None, None, 0.0, 11.0))),
                    ignition=draw(st.sampled_from((None, True, False))),
                    odometer_m=draw(st.sampled_from((None, odometer_m))),
                )
            )
            longer_s = draw(st.sampled_from((1, 2, 19, 30, 60)))
            at += timedelta(seconds=silence_s if again < repeats else longer_s)
        moves = draw(st.sampled_from((1, 4, 25, 60, -60, 400, 800, 800, -800, 3000)))
        place += moves
        odometer_m += abs(moves) * draw(st.sampled_from((9.0, 10.0)))
    return fixes
