"""Where observed round trips are cut in time: what a plan is fitted on, and what it is tried on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from schemas.errors import UserError
from schemas.plans.demand import ObservedRoundTrip, PlacementInputs

_WEEK_DAYS: Final = 7
_WEEKEND_DAYS: Final = 2
_PARTS: Final = 3
"""One of so many parts is replayed."""

MIN_FITTED_DAYS: Final = 5
"""A working week: from less, nobody would plan (ours)."""

MIN_ROUND_TRIPS: Final = 20
"""Of each part: with fewer, one of them is more than 5 % of what is served (ours)."""


class TooLittleDataError(UserError):
    """There is no honest way to cut; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs up to an instant, and the round trips from then on for whole weeks."""

    fitted: PlacementInputs
    replayed: tuple[ObservedRoundTrip, ...]
    cut_at: datetime
    replayed_to: datetime
    fitted_days: int
    weeks_replayed: int

    @property
    def days_replayed(self) -> int:
        """Local days that are replayed."""
        return self.weeks_replayed * _WEEK_DAYS


def split(inputs: PlacementInputs) -> Split:
    """Cut between local days: a third of the whole weeks, at least one, is kept for the replay.

    Weeks are counted back from the last day that a round trip started on. Of 12 weeks that is 8
    and 4, of 8 it is 6 and 2, of 2 it is 1 and 1. One without its weekend is a week: many fleets
    stand then, and twelve weeks of theirs are seen from a Monday to a Friday.
    Raises `TooLittleDataError` for less than `MIN_FITTED_DAYS` and a week, and for fewer than
    `MIN_ROUND_TRIPS` in one of the parts.
    """
    if not inputs.round_trips:
        raise TooLittleDataError("No round trip was observed.")
    zone = ZoneInfo(inputs.timezone)
    on = [round_trip.started_at.astimezone(zone).date() for round_trip in inputs.round_trips]
    first, end = min(on), max(on) + timedelta(days=1)
    days = (end - first).days
    weeks = max(1, (days + _WEEKEND_DAYS) // _WEEK_DAYS // _PARTS)
    fitted_days = days - weeks * _WEEK_DAYS
    if fitted_days < MIN_FITTED_DAYS:
        raise TooLittleDataError(
            f"{days} days were observed; {MIN_FITTED_DAYS} to fit a plan and {_WEEK_DAYS} to "
            "replay it are needed."
        )
    cut_at = _midnight(end - timedelta(days=weeks * _WEEK_DAYS), zone)
    earlier = tuple(
        round_trip for round_trip in inputs.round_trips if round_trip.started_at < cut_at
    )
    later = tuple(
        round_trip for round_trip in inputs.round_trips if round_trip.started_at >= cut_at
    )
    if min(len(earlier), len(later)) < MIN_ROUND_TRIPS:
        raise TooLittleDataError(
            f"{len(earlier)} round trips in {fitted_days} days to fit a plan and {len(later)} in "
            f"{weeks * _WEEK_DAYS} days to replay it; {MIN_ROUND_TRIPS} are needed in each."
        )
    return Split(
        fitted=inputs.model_copy(update={"round_trips": earlier}),
        replayed=later,
        cut_at=cut_at,
        replayed_to=_midnight(end, zone),
        fitted_days=fitted_days,
        weeks_replayed=weeks,
    )


def _midnight(on: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(on, time(), zone).astimezone(UTC)
