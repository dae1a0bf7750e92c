"""Folding stored fixes again, after rules, depots or homes have changed."""

from __future__ import annotations

from typing import Annotated

import typer

from infra.database.connection.pool import Pool
from infra.settings import Settings
from schemas.ids import scoped
from stream.cli.database import with_pool
from stream.cli.instants import instant


def recompute(
    municipality: Annotated[str, typer.Argument(help="Whose vehicles.")],
    vehicle: Annotated[
        str | None, typer.Option(help="Only this one, with or without its municipality.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only from this instant on, such as 2026-03-01T00:00:00+01:00."),
    ] = None,
) -> None:
    """Fold stored fixes again with the rules, depots and homes of today.

    Safe beside running workers, which take up what `fleet enter` has changed within half a minute.
    Reaches as far back as raw fixes are kept; rows from before that stay as they are.
    """
    from infra.kafka.client import Topics
    from stream.worker.refold.recompute import recompute as run

    vehicle_id = vehicle if vehicle is None or "/" in vehicle else scoped(municipality, vehicle)
    start = None if since is None else instant("--since", since)
    topics = Topics.named(Settings().kafka.topic_prefix)

    async def work(pool: Pool) -> tuple[int, int]:
        vehicles = fixes = 0
        async for one in run(pool, topics, municipality, vehicle_id=vehicle_id, since=start):
            vehicles += 1
            fixes += one.fixes
            if one.since is None:
                typer.echo(f"{one.vehicle_id}: out of reach, its raw fixes are past their time")
            elif one.short:
                typer.echo(
                    f"{one.vehicle_id}: only from {one.since.isoformat()} on, raw fixes before "
                    "are past their time; rows from before stay"
                )
        return vehicles, fixes

    vehicles, fixes = with_pool(work)
    typer.echo(f"recomputed {vehicles} vehicles from {fixes:,} fixes")
