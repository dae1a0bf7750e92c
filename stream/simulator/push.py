"""A simulated fleet, entered in the database and pushed through the gateway as vendors do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.database.connection.pool import make_pool
from infra.database.fleet import master_data_import
from infra.settings import Settings
from stream.calendars import CalendarKeeper
from stream.history_header import range_to_declare
from stream.ingest_client import GIVE_UP_AFTER_S, PushResult, VendorClient, paced
from stream.simulator.simulation import SimulatedFleet

_PORTION: Final = 10_000


async def enter(fleet: SimulatedFleet, console: Console) -> None:
    """Enter the fleet's master data in the database of the settings."""
    async with make_pool(Settings(), max_size=1) as pool, pool.connection() as connection:
        await master_data_import.import_master_data(connection, fleet.master_data)
        await CalendarKeeper().keep(connection)
    console.print(
        f"entered {len(fleet.municipalities)} municipalities, {len(fleet.depots)} depots, "
        f"{len(fleet.vehicles)} vehicles"
    )


async def send(
    fleet: SimulatedFleet, url: str, keys: Mapping[str, str], console: Console, *, speed: float
) -> dict[str, dict[str, Any]]:
    """Drive through all days, push what there is a key for, and return the truth by date."""
    truths: dict[str, dict[str, Any]] = {}
    total = PushResult()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fixes]:,} fixes"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("days", total=fleet.config.days, fixes=0)

        def events() -> Iterator[tuple[str, dict[str, Any]]]:
            for day in fleet.days():
                truths[day.date.isoformat()] = day.truth.as_json()
                if keys:
                    yield from day.fixes
                progress.advance(task)

        async with AsyncExitStack() as exits:
            clients = {
                municipality: await exits.enter_async_context(
                    VendorClient(url, keys[municipality], give_up_after_s=GIVE_UP_AFTER_S)
                )
                for municipality in fleet.config.municipalities
                if municipality in keys
            }
            async for portion in paced(events(), _recorded_at, speed=speed, size=_PORTION):
                await _push(portion, clients, total)
                progress.update(task, fixes=total.accepted)
    if keys:
        console.print(f"accepted {total.accepted:,}, rejected {total.rejected:,}")
    for reason in total.reasons:
        console.print(f"  {reason}", highlight=False)
    return truths


async def _push(
    portion: Sequence[tuple[str, dict[str, Any]]],
    clients: Mapping[str, VendorClient],
    total: PushResult,
) -> None:
    history = range_to_declare(map(_recorded_at, portion))
    results = await asyncio.gather(
        *(
            client.push(
                [event for owner_id, event in portion if owner_id == municipality_id],
                history=history,
            )
            for municipality_id, client in clients.items()
        )
    )
    for result in results:
        total.add(result)


def _recorded_at(item: tuple[str, dict[str, Any]]) -> datetime:
    return datetime.fromisoformat(item[1]["recorded_at"])
