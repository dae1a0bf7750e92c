"""Calendars kept as rows: written when they are entered, when a year turns, when old data come.

What is written depends on the calendar, the time zone and the years that a municipality's fixes
lie in, and on nothing else; so whoever looks next finds nothing to do.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from infra.database.connection.pool import Pool
from infra.database.fleet import calendars as store
from infra.database.fleet.master_data import load_municipalities, load_readable_municipalities
from processors.usage.calendar import calendar_days, days_off, whole_years
from schemas.fleet.calendar import Calendar
from schemas.fleet.master_data import Municipality
from schemas.plans.demand import PlacementInputs
from stream.process.background import guarded


def holidays_around(calendar: Calendar, rows: PlacementInputs) -> tuple[date, ...]:
    """Return public holidays and days off of the years of round trips, and of the year after."""
    years = {round_trip.ended_at.year for round_trip in rows.round_trips}
    if not years:
        return ()
    return tuple(sorted(days_off(calendar, range(min(years), max(years) + 2))))


@dataclass(slots=True)
class CalendarKeeper:
    """Keeps the rows of all municipalities; knows what it has seen to be there already.

    The first look of a process computes every calendar anew and compares, so that rows also
    follow a change of this code, of time zones or of holidays; the later ones cost next to nothing.
    """

    _seen: dict[str, tuple[Municipality, date, date, str | None]] = field(default_factory=dict)

    async def look(self, pool: Pool) -> int:
        """Write what has to be, in one transaction; return for how many municipalities.

        Does nothing while another is at it.
        """
        async with pool.connection() as connection, connection.transaction():
            if not await store.try_to_lock_calendars(connection):
                return 0
            # Whoever looks after master data says which municipalities cannot be read.
            municipalities, _ = await load_readable_municipalities(connection)
            spans = await store.read_spans(connection)
            digests = await store.read_digests(connection)
            written = 0
            for municipality_id in spans.keys() & municipalities.keys():
                with guarded("calendars", municipality_id=municipality_id):
                    async with connection.transaction():
                        written += await self._keep(
                            connection,
                            municipalities[municipality_id],
                            spans[municipality_id],
                            digests.get(municipality_id),
                        )
            return written

    async def keep(self, connection: AsyncConnection[TupleRow]) -> int:
        """Write what has to be, in the caller's transaction.

        Waits while another is at it, who cannot see yet what the caller has entered.
        """
        await store.lock_calendars(connection)
        municipalities = await load_municipalities(connection)
        digests = await store.read_digests(connection)
        return sum(
            [
                await self._keep(
                    connection, municipalities[municipality_id], span, digests.get(municipality_id)
                )
                for municipality_id, span in (await store.read_spans(connection)).items()
            ]
        )

    async def _keep(
        self,
        connection: AsyncConnection[TupleRow],
        municipality: Municipality,
        span: tuple[datetime, datetime],
        kept: str | None,
    ) -> int:
        """Write one municipality's rows if they have to be; return how often: 0 or 1."""
        municipality_id = municipality.municipality_id
        first, last = whole_years(*span, ZoneInfo(municipality.timezone))
        if self._seen.get(municipality_id) == (municipality, first, last, kept):
            return 0
        days, digest = await asyncio.to_thread(_rows, municipality, first, last)
        if kept != digest:
            await store.replace_calendar(connection, municipality_id, days, digest)
        self._seen[municipality_id] = (municipality, first, last, digest)
        return int(kept != digest)


def _rows(municipality: Municipality, first: date, last: date) -> tuple[list[store.DayRow], str]:
    """Return a municipality's days as rows, and their hash."""
    rows = [
        store.DayRow(
            day.local_day,
            day.started_at,
            day.ended_at,
            day.week,
            day.month,
            day.holiday,
            {vehicle_type.value: parts for vehicle_type, parts in day.available.items()},
        )
        for day in calendar_days(
            municipality.calendar, ZoneInfo(municipality.timezone), first, last
        )
    ]
    return rows, hashlib.sha256("\n".join(map(repr, rows)).encode()).hexdigest()
