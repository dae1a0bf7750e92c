"""The planner's schedule: cron expressions in Danish local time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from croniter import croniter

from schemas.errors import UserError

SCHEDULE_ZONE: Final = ZoneInfo("Europe/Copenhagen")


class ScheduleError(UserError):
    """A schedule that is no cron expression or never comes; the message names the setting."""

    exit_code = 1


def last_fire(schedule: str, now: datetime) -> datetime:
    """Return the latest instant, up to now, at which a Danish wall clock met the schedule.

    An hour that the clock goes through twice counts once, at its first pass; a time that the
    clock leaps over counts as the leap.
    """
    wall = now.astimezone(SCHEDULE_ZONE).replace(tzinfo=None, microsecond=0)
    fired: datetime = croniter(schedule, wall + timedelta(seconds=1)).get_prev(datetime)
    return _instant(fired)


def next_fire(schedule: str, now: datetime) -> datetime:
    """Return the first instant after now at which a Danish wall clock meets the schedule."""
    wall = now.astimezone(SCHEDULE_ZONE).replace(tzinfo=None)
    fires: datetime = croniter(schedule, wall).get_next(datetime)
    return _instant(fires)


def _instant(wall: datetime) -> datetime:
    return min(wall.replace(tzinfo=SCHEDULE_ZONE, fold=fold).astimezone(UTC) for fold in (0, 1))
