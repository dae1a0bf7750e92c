"""One planner process: it listens, waits for leadership and uses it.

Any number may run; the one whose database connection holds the leader's lock plans, and stores
over that same connection: who loses it cannot store.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog
from prometheus_client import Gauge

from infra.database.connection.pool import Connection
from infra.database.plans.plan_queue import connect, try_to_lead
from infra.settings import Settings
from stream.planner.installation_metrics import exporting
from stream.planner.leader import TICK_S, Leader
from stream.planner.round_trip_consumer import RoundTripSignals, backoff_s, listen
from stream.planner.schedule import ScheduleError, next_fire
from stream.process.background import count_fault
from stream.process.outages import is_away

LEADER: Final = Gauge("fleetpulse_planner_leader", "1 while this planner leads, else 0")
_log: Final = structlog.get_logger(__name__)


async def run_planner(settings: Settings, stop: asyncio.Event) -> None:
    """Plan until told to stop.

    A database or broker that is away is waited for. A solve that is underway when told to stop
    is cancelled, and nothing of it is stored. A fault of ours is logged and counted, and what
    failed is begun again. Raises `ScheduleError` for a schedule that is no cron expression or that
    never comes.
    """
    schedule = settings.planner.schedule
    try:
        next_fire(schedule, datetime.now(UTC))
    except ValueError as error:
        raise ScheduleError(
            f"FLEETPULSE_PLANNER_SCHEDULE={schedule!r} never comes: {error}; "
            "use five fields such as '0 3 * * *', or six with seconds last"
        ) from error
    news = RoundTripSignals()
    working = [
        asyncio.create_task(listen(settings, news), name="planner-listens"),
        asyncio.create_task(_lead(settings, news), name="planner-leads"),
    ]
    stopping = asyncio.create_task(stop.wait(), name="planner-stops")
    try:
        done, _ = await asyncio.wait([*working, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*working, stopping):
            task.cancel()
        await asyncio.gather(*working, stopping, return_exceptions=True)


async def _lead(settings: Settings, news: RoundTripSignals) -> None:
    """Wait for leadership and use it; keep trying, whatever is raised."""
    failures = 0
    while True:
        try:
            async with await connect(settings) as connection:
                if failures:
                    _log.info("database answers again", failures=failures)
                failures = 0
                await _wait_to_lead(connection)
                LEADER.set(1)
                _log.info("leading")
                news.of(None)
                async with exporting(settings):
                    await Leader(settings, connection, news).run()
        except Exception as error:  # noqa: BLE001 - counted if it is no outage, and tried again
            LEADER.set(0)
            wait_s = backoff_s(failures)
            failures += 1
            if not is_away(error):
                count_fault("planner-leads", error, retry_in_s=wait_s)
            elif failures == 1:
                _log.warning("database away or refusing", error=repr(error))
            await asyncio.sleep(wait_s)
        finally:
            LEADER.set(0)


async def _wait_to_lead(connection: Connection) -> None:
    while True:
        if await try_to_lead(connection):
            return
        await asyncio.sleep(TICK_S)
