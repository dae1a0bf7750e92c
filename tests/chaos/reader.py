"""A dashboard reader who does what it can to stop the others, or to see what is theirs."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from contextlib import suppress
from typing import Final

import psycopg

from infra.database.access.readers import grant_reader
from infra.database.connection.pool import make_pool
from infra.settings import Settings

ROLE: Final = "grafana_hostile"
_PASSWORD: Final = "of-this-run-only"  # noqa: S105 - a role of a database that is gone after the run
_LIFTED: Final = (
    "SET statement_timeout = 0; SET default_transaction_read_only = off; SET work_mem = '64GB'; "
    "SET idle_in_transaction_session_timeout = 0"
)
_ANNOYING: Final = (
    "SELECT pg_advisory_lock(7300022), pg_sleep(3)",
    "SELECT pg_advisory_lock(7301120012), pg_sleep(3)",
    "SELECT count(*) FROM reader.trip; SELECT pg_sleep(60)",
    "SELECT count(*) FROM reader.usage_hour a, reader.usage_hour b, reader.usage_hour c",
    "SELECT pg_notify('channel', repeat('x', 7999)) FROM generate_series(1, 1000)",
    "EXPLAIN (ANALYZE, BUFFERS, VERBOSE) SELECT * FROM reader.trip WHERE distance_m > 1000",
    "SET enable_indexscan = off; EXPLAIN ANALYZE SELECT * FROM reader.trip, reader.usage_hour",
    "SELECT sum(hashtext(g::text)) FROM generate_series(1, 200000000) g",
    "DECLARE mine CURSOR WITH HOLD FOR SELECT generate_series(1, 30000000)",
)
"""What no right forbids: others must not notice it."""
_FORBIDDEN: Final = (
    "CREATE TEMPORARY TABLE mine AS SELECT generate_series(1, 5000000)",
    "SELECT lo_from_bytea(0, convert_to(repeat('x', 10000000), 'UTF8'))",
    "LOCK TABLE public.trip IN ACCESS EXCLUSIVE MODE",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fleetpulse_worker'",
    "SELECT * FROM public.fix LIMIT 1",
    "SELECT * FROM public.trip LIMIT 1",
    "SELECT * FROM tenants.trip LIMIT 1",
    "SELECT key_hash FROM public.api_key",
    "UPDATE public.stream_progress SET next_offset = 0",
    "UPDATE public.named_lock SET name = name",
    "SELECT * FROM public.named_lock FOR UPDATE",
    "CREATE TABLE public.mine (a int)",
    "INSERT INTO public.reader_access VALUES ('grafana_hostile', 'favrskov')",
)
"""What the database must refuse."""
_MAX_HELD: Final = 6
_HOLDING: Final = (
    "SELECT pg_advisory_xact_lock(7301120012), count(*) FROM reader.trip",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM reader.usage_hour",
)
"""What begins a transaction that then stands open."""


class HostileReader(threading.Thread):
    """Tries one thing after the other until it is told to stop."""

    def __init__(self, settings: Settings, municipality_id: str, seed: int) -> None:
        super().__init__(name="hostile-reader")
        self._settings = settings
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self._held: list[psycopg.Connection] = []
        self._present: psycopg.Connection | None = None
        self.attempts = 0
        self.failed = 0
        self.breaches: Counter[str] = Counter()
        asyncio.run(self._grant(municipality_id))

    async def _grant(self, municipality_id: str) -> None:
        async with make_pool(self._settings, max_size=1) as pool:
            await grant_reader(pool, ROLE, [municipality_id], _PASSWORD)

    def run(self) -> None:
        """Try, whatever comes of it."""
        try:
            while not self._stopping.wait(0.3):
                self.attempts += 1
                try:
                    self._try()
                except (psycopg.Error, OSError):
                    self.failed += 1
                finally:
                    self._present = None
        finally:
            self._let_go()

    def _try(self) -> None:
        what = self._rng.random()
        if what < 0.2:
            self._hold()
        elif what < 0.6:
            statement = self._rng.choice(_FORBIDDEN)
            with self._connect() as connection:
                connection.execute(_LIFTED)
                rows = connection.execute(statement.encode()).rowcount
            if rows or not statement.startswith("SELECT pg_terminate"):
                self.breaches[statement] += 1
        else:
            with self._connect() as connection:
                if self._rng.random() < 0.2:
                    connection.execute(_LIFTED)
                else:
                    connection.execute("SET statement_timeout = '5s'")
                connection.execute(self._rng.choice(_ANNOYING).encode())

    def _hold(self) -> None:
        """Open a transaction and leave it open, for as long as nobody ends it."""
        if len(self._held) >= _MAX_HELD:
            self._let_go()
        connection = self._connect()
        self._held.append(connection)
        connection.execute("SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0")
        connection.execute("BEGIN")
        connection.execute(self._rng.choice(_HOLDING).encode())

    def _let_go(self) -> None:
        while self._held:
            with suppress(psycopg.Error):
                self._held.pop().close()

    def _connect(self) -> psycopg.Connection:
        connection = self._present = psycopg.connect(
            self._settings.conninfo,
            user=ROLE,
            password=_PASSWORD,
            connect_timeout=2,
            autocommit=True,
        )
        return connection

    def stop(self) -> None:
        """End, and what it does with it."""
        self._stopping.set()
        while self.is_alive():
            if (connection := self._present) is not None:
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=2)
            self.join(1)
