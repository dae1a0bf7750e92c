"""The demo's studies: assignment, carpooling, fleet mix and depot locations."""

from __future__ import annotations

import asyncio
from itertools import combinations
from typing import Final

from rich.console import Console

from infra.database.connection.pool import Pool
from infra.settings import Settings
from optimizer.search import Search
from optimizer.sites.candidates import SitesWishes
from optimizer.study import NothingToStudyError
from schemas.ids import local_part
from schemas.plans.composition import CompositionRules
from stream.demo.follow_up import BY
from stream.studies import run
from stream.studies.render import sentence

_WEEKS: Final = 4
_SEARCH: Final = Search(seed=1, time_limit_s=2.0)
_FLEETS: Final = run.FleetMixOptions(CompositionRules(points=3))
_FLEETS_SEARCH: Final = Search(seed=1, time_limit_s=1.0)  # some three seconds, proposals included


async def study(pool: Pool, settings: Settings, municipality_id: str, console: Console) -> None:
    """Make studies of a municipality: assignment, carpooling, composition, sites; each in a line.

    Who could share a car is asked as if all departments had agreed to share.
    """
    trip_chains = await run.read_placement_inputs(pool, municipality_id, _WEEKS)
    rides = await run.read_journey_rows(pool, municipality_id, _WEEKS)
    ways = run.travel_source(settings, rides.costs)
    departments = combinations([local_part(depot.depot_id) for depot in rides.depots], 2)
    sharing = run.CarpoolOptions(tuple(departments))
    for work in (
        lambda: run.solve_assignment(trip_chains, _SEARCH, paid_for=True),
        lambda: run.solve_carpool(rides, sharing, _SEARCH, ways),
        lambda: run.solve_composition(trip_chains, _FLEETS, _FLEETS_SEARCH),
        lambda: run.solve_sites(rides, SitesWishes(), _SEARCH),
    ):
        try:
            solved = await asyncio.to_thread(work)
        except NothingToStudyError as error:
            console.print(f"[bold]No study:[/] {error}", highlight=False)
            continue
        kept = await run.store(pool, solved, BY)
        console.print(f"[bold]Study[/], {sentence(kept)}", highlight=False)
