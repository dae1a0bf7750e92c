"""The demo from start to end: a whole installation, what it plays, and its addresses."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import typer
from rich.console import Console

from infra.database.access.readers import grant_reader
from infra.database.connection.pool import Pool, make_pool
from infra.settings import as_environment
from stream.demo import latency, report
from stream.demo.follow_up import show_followed
from stream.demo.play import Play, Played, config
from stream.demo.stack import Stack
from stream.demo.studies import study
from stream.demo.supervisor import Supervisor
from stream.process import lifecycle

_READER: Final = "fleetpulse_reader"


@dataclass(frozen=True, slots=True)
class DemoFleet:
    """The simulated fleet that the demo plays with."""

    days: int
    vehicles: int
    seed: int
    last_day: date


def _hurry(fleet: DemoFleet | None) -> dict[str, str]:
    """Return settings for weeks that pass in seconds: planner and watcher look often."""
    hurry = {
        "FLEETPULSE_PLANNER_COOLDOWN_S": "10",
        "FLEETPULSE_PLANNER_TIME_LIMIT_S": "10",
        "FLEETPULSE_HOUSEKEEPING_INTERVAL_S": "2",
    }
    if fleet is not None:
        # The first plan waits for some days of demand: each vehicle makes about one round trip.
        hurry["FLEETPULSE_PLANNER_MIN_ROUND_TRIPS"] = str(max(50, fleet.vehicles * fleet.days // 3))
    return hurry


def run_demo(fleet: DemoFleet) -> None:
    """Run the whole loop once on embedded servers, show what came of it, and leave nothing.

    Raises `typer.Exit` with a code when it fails or is stopped.
    """
    console = Console()
    with _stack(console, fleet) as stack:

        async def main(stop: asyncio.Event) -> None:
            async with _pool(stack) as pool:
                playing = Supervisor(stack, console, restart=False).guard(
                    _play(stack, pool, console, fleet)
                )
                await _unless_stopped(playing, stop)

        lifecycle.run(main)
    console.print(
        "\n[bold]Next[/] `fleetpulse up` keeps all this running, with a door for your own vendor "
        "and for Grafana; `fleetpulse replay --help` pushes real GPS data; README.md: how to run "
        "it for real."
    )


def run_up(fleet: DemoFleet | None) -> None:
    """Keep an installation running until Ctrl-C; without a fleet, it starts empty."""
    console = Console()
    with _stack(console, fleet) as stack:

        async def main(stop: asyncio.Event) -> None:
            async with _pool(stack) as pool:
                work = _play_and_stay(stack, pool, console, fleet, stop)
                await Supervisor(stack, console, restart=True).guard(work)

        lifecycle.run(main)
    console.print("stopped; nothing is left")


async def _play_and_stay(
    stack: Stack, pool: Pool, console: Console, fleet: DemoFleet | None, stop: asyncio.Event
) -> None:
    """Play with the fleet, if there is one; then say where the doors are until asked to stop."""
    if fleet is not None:
        await _unless_stopped(_play(stack, pool, console, fleet), stop)
    if not stop.is_set():
        await _show_doors(stack, pool, console)
        await stop.wait()


@contextlib.contextmanager
def _stack(console: Console, fleet: DemoFleet | None) -> Iterator[Stack]:
    with (
        console.status("starting broker, database, ingest, worker and planner"),
        contextlib.ExitStack() as exits,
    ):
        stack = exits.enter_context(Stack(workers=1, partitions=4, extra=_hurry(fleet)))
        kept = exits.pop_all()
    with kept:
        yield stack


@contextlib.asynccontextmanager
async def _pool(stack: Stack) -> AsyncIterator[Pool]:
    async with make_pool(stack.settings, max_size=4) as pool:
        yield pool


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
    """Do the work; when asked to stop, leave it where it is."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        raise typer.Exit(130)
    await working


async def _play(stack: Stack, pool: Pool, console: Console, fleet: DemoFleet) -> None:
    wanted = config(
        seed=fleet.seed, days=fleet.days, vehicles=fleet.vehicles, last_day=fleet.last_day
    )
    played = await Play(stack, pool, console).run(wanted)
    report.show(await report.find(pool), console)
    await show_followed(stack.settings, console)
    await study(pool, stack.settings, wanted.municipalities[0], console)
    _show_speed(played, console)


def _show_speed(played: Played, console: Console) -> None:
    p50 = latency.quantile(played.live, 0.50, since=played.live_since)
    p99 = latency.quantile(played.live, 0.99, since=played.live_since)
    rate = (played.accepted - played.live_count) / played.push_s
    console.print(
        f"[bold]Pushed[/] {played.accepted:,} fixes by HTTP, history at {rate:,.0f} a second"
    )
    if p50 is not None and p99 is not None:
        console.print(
            f"[bold]From push to row[/], {played.live_count:,} fixes at a steady pace: "
            f"p50 at most {p50 * 1000:,.0f} ms, p99 at most {p99 * 1000:,.0f} ms"
        )


async def _show_doors(stack: Stack, pool: Pool, console: Console) -> None:
    """Say where everything is; the reader's password is made anew each time."""
    password = secrets.token_urlsafe(16)
    async with pool.connection() as connection:
        cursor = await connection.execute("SELECT municipality_id FROM municipality ORDER BY 1")
        municipalities = [row[0] for row in await cursor.fetchall()]
    if municipalities:
        await grant_reader(pool, _READER, municipalities, password)
    url = stack.settings.database_url.get_secret_value()
    console.print(f"\n[bold]Running[/] until Ctrl-C, in {stack.servers.directory}")
    console.print(f"ingest     {stack.ingest_url}/v1/events", highlight=False)
    console.print(f"           {stack.documentation_url}", highlight=False)
    console.print(f"kafka      {stack.settings.kafka.bootstrap_servers}", highlight=False)
    console.print(f"database   {url}", highlight=False, soft_wrap=True)
    if municipalities:
        console.print(
            f"Grafana    data source PostgreSQL at {_host(url)}, database {_database(url)}, "
            f"user {_READER}, password {password}, TLS off; then import "
            "infra/grafana/dashboards/*.json",
            highlight=False,
            soft_wrap=True,
        )
    console.print("\n[bold]In another shell[/], for every command of .venv/bin/fleetpulse:")
    variables = as_environment(stack.settings)
    for name in (
        "FLEETPULSE_DATABASE_URL",
        "FLEETPULSE_KAFKA_BOOTSTRAP_SERVERS",
        "FLEETPULSE_KAFKA_IDEMPOTENCE",
    ):
        console.print(f"export {name}={variables[name]}", highlight=False, soft_wrap=True)
    console.print(
        "fleetpulse key create MUNICIPALITY VENDOR     a key to push with, at the ingest above",
        highlight=False,
    )


def _host(url: str) -> str:
    return url.rpartition("@")[2].partition("/")[0]


def _database(url: str) -> str:
    return url.rpartition("/")[2].partition("?")[0]
