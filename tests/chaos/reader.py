"""A dashboard reader who does what it can to stop the others."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Final

import psycopg

from infra.database.pool import make_pool
from infra.database.readers import grant_reader
from infra.settings import Settings

ROLE: Final = "grafana_hostile"
_PASSWORD: Final = "of-this-run-only"  # noqa: S105 - a role of a database that is gone after the run
_ATTEMPTS: Final = (
    "SELECT pg_advisory_lock(7300022), pg_sleep(3)",
    "SELECT pg_advisory_lock(7301120012), pg_sleep(3)",
    "BEGIN; SET LOCAL statement_timeout = 0; SELECT count(*) FROM reader.trip; SELECT pg_sleep(4)",
    "SET work_mem = '4GB'; SELECT count(*) FROM reader.usage_hour a, reader.usage_hour b",
    "CREATE TEMPORARY TABLE mine AS SELECT generate_series(1, 5000000)",
    "SELECT lo_from_bytea(0, convert_to(repeat('x', 10000000), 'UTF8'))",
    "LOCK TABLE reader.trip IN ACCESS EXCLUSIVE MODE",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "SELECT pg_notify('channel', repeat('x', 7999)) FROM generate_series(1, 1000)",
    "SELECT * FROM public.fix",
)


class HostileReader(threading.Thread):
    """Tries one thing after the other until it is told to stop."""

    def __init__(self, settings: Settings, municipality_id: str, seed: int) -> None:
        super().__init__(name="hostile-reader")
        self._settings = settings
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self.attempts = 0
        asyncio.run(self._grant(municipality_id))

    async def _grant(self, municipality_id: str) -> None:
        async with make_pool(self._settings, max_size=1) as pool:
            await grant_reader(pool, ROLE, [municipality_id], _PASSWORD)

    def run(self) -> None:
        """Try, whatever comes of it."""
        while not self._stopping.wait(0.5):
            self.attempts += 1
            try:
                with psycopg.connect(
                    self._settings.conninfo,
                    user=ROLE,
                    password=_PASSWORD,
                    connect_timeout=2,
                    autocommit=True,
                    options="-c statement_timeout=8s",
                ) as connection:
                    connection.execute(self._rng.choice(_ATTEMPTS))
            except (psycopg.Error, OSError):
                continue

    def stop(self) -> None:
        """End, within the time of one attempt."""
        self._stopping.set()
        self.join()
