"""What commands share: work on a database of the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from infra.database.pool import Connection, Pool, make_pool
from infra.settings import Settings

Result = TypeVar("Result")


def with_pool(work: Callable[[Pool], Awaitable[Result]]) -> Result:
    """Run work on a pool of its own."""

    async def main() -> Result:
        async with make_pool(Settings(), max_size=1) as pool:
            return await work(pool)

    return asyncio.run(main())


def with_connection(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Run work in one transaction."""

    async def main(pool: Pool) -> Result:
        async with pool.connection() as connection:
            return await work(connection)

    return with_pool(main)
