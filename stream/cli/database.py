"""What commands share: work on a database of the settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from psycopg_pool import PoolTimeout

from infra.database.connection.pool import Connection, Pool, make_pool
from infra.settings import Settings

Result = TypeVar("Result")


def with_pool(work: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run work on a pool of its own."""

    async def main() -> Result:
        async with make_pool(Settings(), max_size=1) as pool:
            return await work(pool)

    with _tries_kept() as tries:
        try:
            return asyncio.run(main())
        except PoolTimeout as error:
            raise PoolTimeout(tries[-1] if tries else str(error)) from error


@contextmanager
def _tries_kept() -> Iterator[list[str]]:
    """Keep what the pool says of each try to connect to itself: who reads one answer wants one."""
    tries: list[str] = []

    def keep(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        tries.append(message.partition("connection failed: ")[2] or message)
        return False

    logger = logging.getLogger("psycopg.pool")
    logger.addFilter(keep)
    try:
        yield tries
    finally:
        logger.removeFilter(keep)


def with_connection(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Run work in one transaction."""

    async def main(pool: Pool) -> Result:
        async with pool.connection() as connection:
            return await work(connection)

    return with_pool(main)
