"""From rows or a file to a stored study: read at one instant, solved outside the database, kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from infra.database.planning import database_now, read_inputs
from infra.database.pool import Pool
from infra.database.stream import event_id
from infra.database.studies import read_journeys, store_study
from infra.settings import Settings
from infra.travel import travel_of
from optimizer.assignment.inputs import assignment_inputs
from optimizer.assignment.solve import assign
from optimizer.carpool.inputs import carpool_inputs
from optimizer.carpool.solve import plan_carpool
from optimizer.costs import ROAD_FACTOR
from optimizer.routes.solve import plan_routes
from optimizer.search import Search, Tell
from optimizer.travel import Geodesic
from schemas.carpool import CarpoolRules
from schemas.demand import PlacementInputs
from schemas.journeys import JourneyRows
from schemas.routes import RouteInputs, RouteProgress, RouteSearch
from schemas.study import StudiedPlan, Study, kind_of, seed_of
from schemas.travel import Travel

_DAYS_A_WEEK: Final = 7


@dataclass(frozen=True, slots=True)
class Solved:
    """A plan and what it rests on, not stored yet."""

    plan: StudiedPlan
    basis: str


@dataclass(frozen=True, slots=True)
class Ways:
    """Where ways come from, and that in words."""

    travel: Travel
    told: str


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a carpool study is asked with."""

    agreements: Sequence[tuple[str, str]] = ()
    rules: CarpoolRules = field(default_factory=CarpoolRules)


def ways_of(settings: Settings) -> Ways:
    """Return the ways that `FLEETPULSE_TRAVEL_…` names."""
    service = settings.travel.service
    told = f"Ways as {service} has them."
    if service == "geodesic":
        told = f"Ways as the crow flies, times {ROAD_FACTOR:g}."
    return Ways(travel_of(settings.travel, Geodesic()), told)


async def read_outings(pool: Pool, municipality_id: str, weeks: int) -> PlacementInputs:
    """Read what an assignment is made from. Raises as `read_inputs` does."""
    async with pool.connection() as connection:
        return await read_inputs(connection, municipality_id, weeks * _DAYS_A_WEEK)


async def read_rides(pool: Pool, municipality_id: str, weeks: int) -> JourneyRows:
    """Read what carpooling is made from. Raises as `read_journeys` does."""
    async with pool.connection() as connection:
        return await read_journeys(connection, municipality_id, weeks * _DAYS_A_WEEK)


def solve_assignment(
    rows: PlacementInputs, search: Search, tell: Tell | None = None, *, paid_for: bool = False
) -> Solved:
    """Assign outings to vehicles. Raises as `assignment_inputs` does."""
    posed = assignment_inputs(rows, paid_for=paid_for)
    return Solved(assign(posed.inputs, search, tell), posed.basis)


def solve_carpool(
    rows: JourneyRows, wishes: Wishes, search: Search, ways: Ways, tell: Tell | None = None
) -> Solved:
    """Find who could share. Raises as `carpool_inputs` and `plan_carpool` do."""
    posed = carpool_inputs(rows, wishes.agreements, wishes.rules)
    plan = plan_carpool(posed.inputs, search, ways.travel, tell)
    return Solved(plan, f"{posed.basis} {ways.told}")


def solve_routes(
    inputs: RouteInputs, search: RouteSearch, ways: Ways, tell: Tell | None = None
) -> Solved:
    """Plan the routes of a file. Raises as `plan_routes` does."""

    def told(now: RouteProgress) -> None:
        if tell is not None:
            tell(
                now.share,
                f"{now.iterations:,} tries, best {now.best_dkk:,.0f} DKK, {now.unserved} unserved",
            )

    plan = plan_routes(inputs, search, ways.travel, progress=told)
    return Solved(
        plan,
        f"{len(inputs.visits)} visits, {len(inputs.vehicles)} vehicles and {len(inputs.depots)} "
        f"depots, as a file has them. {ways.told}",
    )


async def keep(pool: Pool, solved: Solved, requested_by: str) -> Study:
    """Store a plan as a study of this instant. Raises `UnknownMunicipalityError`."""
    plan = solved.plan
    async with pool.connection() as connection:
        created_at = await database_now(connection)
        study = Study(
            study_id=event_id(
                "study",
                plan.municipality_id,
                kind_of(plan),
                plan.inputs_hash,
                seed_of(plan),
                created_at.isoformat(),
            ),
            municipality_id=plan.municipality_id,
            created_at=created_at,
            requested_by=requested_by,
            basis=solved.basis,
            plan=plan,
        )
        await store_study(connection, study)
    return study
