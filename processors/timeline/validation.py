"""Which fixes count: faults that are told from the fix alone, and one fix for each instant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.events.dead_letters import DeadLetterReason
from schemas.events.fix import FIX_FIELDS, Fix
from schemas.events.history import HistoryRange
from schemas.fleet.rules import Rules

NO_POSITION_YET: Final = "no-position-yet"
"""In private mode before the vehicle was ever seen: its timeline has not begun."""
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""What is older is no history either: a clock that was never set starts in 1980, 1970 or year 1."""
_EARLIEST_US: Final = int(EARLIEST.timestamp()) * 1_000_000
_DAY_S: Final = 86_400

_content_of: Final = attrgetter(*(field.name for field in FIX_FIELDS))


class Receipt(NamedTuple):
    """When a fix was received, and from whom; the vendor is None of what was stored without."""

    received_at: datetime
    vendor: str | None


class Arrival(NamedTuple):
    """A fix, when it was received and from whom; its earliest receipt if it came more than once.

    The id of the fix is the one that was sent: its tracker's, which may be in another vehicle.
    """

    fix: Fix
    received_at: datetime
    vendor: str | None = None
    rank: int = 0
    """The place of the vendor among those that may report this id: the first one counts."""


def fault(
    fix: Fix, received_at: datetime, rules: Rules, history: HistoryRange | None = None
) -> tuple[DeadLetterReason, str] | None:
    """Return the reason and a sentence when a fix is wrong whatever its neighbours are.

    `history` is the range that was declared when it was pushed, if any.
    """
    if fix.lat == 0 and fix.lon == 0:
        return (
            DeadLetterReason.NULL_ISLAND,
            "position 0,0 is what a receiver without a fix reports; send none",
        )
    if fix.recorded_at < EARLIEST:
        return DeadLetterReason.TOO_OLD, (
            f"recorded_at {fix.recorded_at.isoformat()} is before {EARLIEST:%Y-%m-%d}; set the "
            "device's clock"
        )
    ahead_s = (fix.recorded_at - received_at).total_seconds()
    is_history = history is not None and history.holds(fix.recorded_at)
    if -ahead_s > rules.max_age_days * _DAY_S and not is_history:
        return DeadLetterReason.TOO_OLD, (
            f"recorded_at {fix.recorded_at.isoformat()} is {-ahead_s / _DAY_S:.0f} days before its "
            f"receipt at {received_at.isoformat()}, and outside of the declared range of history "
            f"{history or '(none)'}; the limit is {rules.max_age_days:g} days; set the device's "
            "clock, or push history with the header Fleetpulse-History"
        )
    if ahead_s > rules.max_future_s:
        return DeadLetterReason.FUTURE, (
            f"recorded_at {fix.recorded_at.isoformat()} is {ahead_s:.0f} s after its receipt at "
            f"{received_at.isoformat()}; the limit is {rules.max_future_s:.0f} s; correct the "
            "device's clock"
        )
    return None


def suspects(  # noqa: PLR0913 - the columns
    *,
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    recorded_us: NDArray[np.int64],
    received_us: NDArray[np.int64],
    max_future_s: NDArray[np.float64],
    max_age_days: NDArray[np.float64],
    history_since_us: NDArray[np.int64],
    history_until_us: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return which of many fixes `fault` has to look at: all that are at fault, and hardly others.

    Instants are microseconds since 1970; without a range of history its end is before its start.
    Floating point is not exact to the microsecond far from now, so that fixes within a second of
    a limit are looked at, too.
    """
    ahead_s = (recorded_us - received_us) / 1e6
    is_history = (recorded_us >= history_since_us) & (recorded_us <= history_until_us)
    suspect: NDArray[np.bool_] = (
        ((lat == 0) & (lon == 0))
        | (recorded_us < _EARLIEST_US)
        | (ahead_s > max_future_s - 1)
        | ((-ahead_s > max_age_days * _DAY_S - 1) & ~is_history)
    )
    return suspect


def precedence(fix: Fix) -> tuple[tuple[bool, float], ...]:
    """Return the key by which different fixes of one vehicle and instant are ordered.

    The smallest counts. The order is total over content, so that whichever of two contradicting
    fixes comes first, the same one counts (law 2). Private mode comes first, then a known value
    before an unknown one.
    """
    return (
        (not fix.private_mode, 0.0),
        *((value is None, float(value or 0)) for value in _content_of(fix)),
    )


def ranked(arrival: Arrival, vendors: Mapping[str, Sequence[str]]) -> Arrival:
    """Return an arrival with the place of its vendor among those that may report its id.

    Of a vendor that is none of them it is after all others; of what was stored without one, 0.
    """
    allowed = vendors.get(arrival.fix.vehicle_id, ())
    if arrival.vendor is None or not allowed:
        return arrival
    rank = allowed.index(arrival.vendor) if arrival.vendor in allowed else len(allowed)
    return arrival if rank == arrival.rank else arrival._replace(rank=rank)


def _order(arrival: Arrival) -> tuple[object, ...]:
    """Return the key by which the arrivals of one instant are ordered; the smallest counts.

    A total order: what counts is the same however the others come before it or after it, even
    those that had lost and are forgotten (law 2).
    """
    return (
        arrival.rank,
        *_content(arrival.fix),
        arrival.vendor is None,
        arrival.vendor or "",
        arrival.received_at,
    )


def _content(fix: Fix) -> tuple[tuple[tuple[bool, float], ...], str]:
    return precedence(fix), fix.vehicle_id


def resolve(arrivals: Iterable[Arrival]) -> tuple[dict[datetime, Arrival], list[Arrival]]:
    """Return for each instant the arrival that counts, and those that lost to another one.

    Arrivals are of one vehicle. The same content again is neither: of its vendors the first one
    counts, with its earliest receipt. Where two vendors contradict each other, the vehicle's first
    one counts.
    Where two trackers of a vehicle say the same, the smaller id counts: the other one's fix counts
    once it turns out that it was elsewhere.
    """
    counting: dict[datetime, Arrival] = {}
    lost: list[Arrival] = []
    for arrival in arrivals:
        instant = arrival.fix.recorded_at
        other = counting.get(instant)
        if other is None:
            counting[instant] = arrival
            continue
        smaller, larger = sorted((other, arrival), key=_order)  # the other one if they are equal
        counting[instant] = smaller
        if _content(smaller.fix) != _content(larger.fix):
            lost.append(larger)
    return counting, lost
