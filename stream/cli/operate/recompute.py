"""Recalculate from stored positions, after rules, depots or home depots have changed."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.database.connection.pool import Pool
from infra.settings import Settings
from schemas.ids import scoped
from stream.cli.arguments import instant
from stream.cli.database import with_pool


def recompute(
    municipality: Annotated[str, typer.Argument(help="Id of the municipality.")],
    vehicle: Annotated[
        str | None, typer.Option(help="Only this vehicle, with or without its municipality.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only from this time on, such as 2026-03-01T00:00:00+01:00."),
    ] = None,
) -> None:
    """Recalculate trips and hours from stored positions.

    It uses today's rules, depots and home depots. You can run it while workers run; they use what
    `fleet apply` has changed within half a minute. It reaches as far back as raw positions are
    kept; older rows stay as they are.
    """
    from infra.kafka.client import Topics
    from stream.worker.refold.recompute import recompute as run

    vehicle_id = vehicle if vehicle is None or "/" in vehicle else scoped(municipality, vehicle)
    start = None if since is None else instant("--since", since)
    topics = Topics.named(Settings().kafka.topic_prefix)

    async def work(pool: Pool) -> tuple[int, int]:
        vehicles = fixes = 0
        recomputed = run(pool, topics, municipality, vehicle_id=vehicle_id, since=start)
        async for result in recomputed:
            vehicles += 1
            fixes += result.fixes
            if result.since is None:
                typer.echo(f"{result.vehicle_id}: out of reach, its raw fixes are past their time")
            elif result.short:
                typer.echo(
                    f"{result.vehicle_id}: only from {result.since.isoformat()} on, raw fixes "
                    "before are past their time; rows from before stay"
                )
        return vehicles, fixes

    vehicles, fixes = with_pool(work)
    typer.echo(f"recomputed {vehicles} vehicles from {fixes:,} fixes")
