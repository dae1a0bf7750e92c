"""Municipalities that may need a plan: by round trips, a changed fleet or alerts.

A sign only says that it is worth to measure. Signs of a municipality that cools down wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

from infra.database.connection.pool import Connection
from infra.database.plans.replan_signals import (
    OpenAlertCount,
    read_fleet_digests,
    read_open_alert_counts,
)
from stream.planner.round_trip_consumer import RoundTripSignals

_POLL_INTERVAL_S: Final = 5.0
"""How often fleets and alerts are looked at."""
_POLL_S: Final = 60.0
"""Longest wait until a municipality is measured without having been told of anything."""
_MIN_REST_S: Final = 1.0
_MEASURE_DUTY: Final = 20
"""Measuring takes at most one of so many seconds."""


class ReplanSignals:
    """The municipalities to measure, and what alerts press on them."""

    def __init__(
        self, connection: Connection, news: RoundTripSignals, alert_threshold: int
    ) -> None:
        self._connection = connection
        self._news = news
        self._alert_threshold = alert_threshold
        self._clock = asyncio.get_running_loop().time
        self._unmeasured: set[str] = set()
        self._measured_fleet: dict[str, str] = {}
        self._pressures: Mapping[str, OpenAlertCount] = {}
        self._poll_at = 0.0
        self._look_at = 0.0
        self._rests_until: dict[str, float] = {}

    async def look(self, municipality_ids: Collection[str]) -> None:
        """Take the news, and now and then look at fleets and alerts of all municipalities."""
        if self._news.all_of_them or self._clock() >= self._poll_at:
            self._news.all_of_them = False
            self._poll_at = self._clock() + _POLL_S
            self._unmeasured |= set(municipality_ids)
        self._unmeasured |= self._news.municipalities & set(municipality_ids)
        self._news.municipalities.clear()
        if self._clock() < self._look_at:
            return
        self._look_at = self._clock() + _POLL_INTERVAL_S
        fleets = await read_fleet_digests(self._connection)
        self._unmeasured |= {
            municipality_id
            for municipality_id in municipality_ids
            if fleets.get(municipality_id) != self._measured_fleet.get(municipality_id)
        }
        self._pressures = await read_open_alert_counts(self._connection)
        self._unmeasured |= {
            municipality_id
            for municipality_id, pressure in self._pressures.items()
            if pressure.count >= self._alert_threshold
        }

    def pressure(self, municipality_id: str) -> OpenAlertCount:
        """Return the alerts that press on a municipality."""
        return self._pressures.get(municipality_id, OpenAlertCount())

    def worth_measuring(self, municipality_id: str) -> bool:
        """Return whether there is a sign, and measuring has not just been done."""
        return municipality_id in self._unmeasured and self._clock() >= self._rests_until.get(
            municipality_id, 0.0
        )

    def again(self, municipality_id: str) -> None:
        """Have a municipality measured again."""
        self._unmeasured.add(municipality_id)

    def taken(self, municipality_id: str, fleet_digest: str) -> None:
        """Note that inputs are measured whose master data has this hash."""
        self._unmeasured.discard(municipality_id)
        self._measured_fleet[municipality_id] = fleet_digest

    def measured(self, municipality_id: str, took_s: float) -> None:
        """Have a municipality rest after measuring, the longer the longer it took."""
        rest_s = max(_MIN_REST_S, took_s * _MEASURE_DUTY)
        self._rests_until[municipality_id] = self._clock() + rest_s

    def planned(self) -> None:
        """Look at alerts at once: those of before a new plan do not press any more."""
        self._look_at = 0.0
