"""From rows or a file to a stored study: read at one instant, solved outside the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from infra.database.connection.pool import Pool
from infra.database.fleet.master_data import UnknownMunicipalityError, load_municipalities
from infra.database.plans.plan_queue import database_now
from infra.database.plans.recorded_demand import (
    read_inputs,
    read_journeys,
)
from infra.database.plans.studies import store_study
from infra.database.stream.progress import event_id
from infra.settings import Settings
from infra.travel import travel_of
from optimizer.assignment.inputs import assignment_inputs
from optimizer.assignment.solve import assign
from optimizer.carpool.inputs import carpool_inputs
from optimizer.carpool.solve import plan_carpool
from optimizer.composition.catalogue import CATALOGUE
from optimizer.composition.inputs import composition_inputs
from optimizer.composition.solve import compose
from optimizer.forecast.inputs import forecast_inputs
from optimizer.forecast.solve import forecast
from optimizer.routes.solve import plan_routes
from optimizer.search import ProgressCallback, Search
from optimizer.sites.candidates import SitesWishes
from optimizer.sites.inputs import sites_inputs
from optimizer.sites.solve import plan_sites
from optimizer.travel import Geodesic
from schemas.fleet.calendar import Calendar
from schemas.fleet.costs import Costs
from schemas.fleet.master_data import Municipality
from schemas.plans.carpool import CarpoolRules
from schemas.plans.composition import CompositionProgress, CompositionRules, VehicleKind
from schemas.plans.demand import PlacementInputs
from schemas.plans.forecast import ForecastProgress
from schemas.plans.journeys import JourneyRows
from schemas.plans.routes import RouteInputs, RouteProgress, RouteSearch
from schemas.plans.study import StudiedPlan, Study, kind_of, seed_of
from schemas.plans.travel import Travel
from stream.calendars import holidays_around

_DAYS_A_WEEK: Final = 7


@dataclass(frozen=True, slots=True)
class Solved:
    """A plan and what it rests on, not stored yet."""

    plan: StudiedPlan
    basis: str


@dataclass(frozen=True, slots=True)
class TravelSource:
    """Where distances and times come from, and that in words."""

    travel: Travel
    description: str


@dataclass(frozen=True, slots=True)
class CarpoolOptions:
    """The options of a carpool study."""

    agreements: Sequence[tuple[str, str]] = ()
    rules: CarpoolRules = field(default_factory=CarpoolRules)


@dataclass(frozen=True, slots=True)
class FleetMixOptions:
    """The options of a study of the fleet mix."""

    rules: CompositionRules = field(default_factory=CompositionRules)
    catalogue: Sequence[VehicleKind] = CATALOGUE
    vans_as_cars: bool = False


def travel_source(settings: Settings, costs: Costs) -> TravelSource:
    """Return the source of distances that `FLEETPULSE_TRAVEL_…` names."""
    service = settings.travel.service
    description = f"Ways as {service} has them."
    if service == "geodesic":
        description = f"Ways as the crow flies, times {costs.road_factor:g}."
    return TravelSource(travel_of(settings.travel, Geodesic(costs)), description)


async def read_placement_inputs(pool: Pool, municipality_id: str, weeks: int) -> PlacementInputs:
    """Read what an assignment is made from. Raises as `read_inputs` does."""
    async with pool.connection() as connection:
        return await read_inputs(connection, municipality_id, weeks * _DAYS_A_WEEK)


async def read_municipality(pool: Pool, municipality_id: str) -> Municipality:
    """Read a municipality. Raises `UnknownMunicipalityError`."""
    async with pool.connection() as connection:
        municipalities = await load_municipalities(connection)
    if municipality_id not in municipalities:
        raise UnknownMunicipalityError(municipality_id)
    return municipalities[municipality_id]


async def read_journey_rows(pool: Pool, municipality_id: str, weeks: int) -> JourneyRows:
    """Read what carpooling and sites are made from. Raises as `read_journeys` does."""
    async with pool.connection() as connection:
        return await read_journeys(connection, municipality_id, weeks * _DAYS_A_WEEK)


def solve_assignment(
    rows: PlacementInputs,
    search: Search,
    tell: ProgressCallback | None = None,
    *,
    paid_for: bool = False,
) -> Solved:
    """Assign round trips to vehicles. Raises as `assignment_inputs` does."""
    question = assignment_inputs(rows, paid_for=paid_for)
    return Solved(assign(question.inputs, search, tell), question.basis)


def solve_carpool(
    rows: JourneyRows,
    options: CarpoolOptions,
    search: Search,
    source: TravelSource,
    tell: ProgressCallback | None = None,
) -> Solved:
    """Find who could share. Raises as `carpool_inputs` and `plan_carpool` do."""
    question = carpool_inputs(rows, options.agreements, options.rules)
    plan = plan_carpool(question.inputs, search, source.travel, tell)
    return Solved(plan, f"{question.basis} {source.description}")


def solve_composition(
    rows: PlacementInputs,
    options: FleetMixOptions,
    search: Search,
    tell: ProgressCallback | None = None,
) -> Solved:
    """Find the fleets between cost and CO2e. Raises as `composition_inputs` does."""
    question = composition_inputs(
        rows, options.rules, options.catalogue, vans_as_cars=options.vans_as_cars
    )

    def report(now: CompositionProgress) -> None:
        if tell is not None:
            tell(
                min(1.0, now.spent_s / now.limit_s),
                f"CO2e at {now.co2e_price_dkk_per_kg:,.2f} DKK/kg, cheapest so far "
                f"{now.cheapest_dkk:,.0f} DKK",
            )

    return Solved(compose(question.inputs, search, report), question.basis)


def solve_forecast(
    rows: PlacementInputs,
    calendar: Calendar,
    horizon_days: int,
    search: Search,
    tell: ProgressCallback | None = None,
) -> Solved:
    """Forecast departures. Raises as `forecast_inputs` does."""
    question = forecast_inputs(rows, holidays_around(calendar, rows), horizon_days)

    def report(now: ForecastProgress) -> None:
        if tell is not None:
            tell(now.done / now.series, f"{now.done} of {now.series} depots and classes")

    return Solved(forecast(question.inputs, search, report), question.basis)


def solve_sites(
    rows: JourneyRows, options: SitesWishes, search: Search, tell: ProgressCallback | None = None
) -> Solved:
    """Find where vehicles should stand. Raises as `sites_inputs` does."""
    question = sites_inputs(rows, options)
    return Solved(plan_sites(question.inputs, search, tell), question.basis)


def solve_routes(
    inputs: RouteInputs,
    search: RouteSearch,
    source: TravelSource,
    tell: ProgressCallback | None = None,
) -> Solved:
    """Plan the routes of a file. Raises as `plan_routes` does."""

    def report(now: RouteProgress) -> None:
        if tell is not None:
            tell(
                now.share,
                f"{now.iterations:,} tries, best {now.best_dkk:,.0f} DKK, {now.unserved} unserved",
            )

    plan = plan_routes(inputs, search, source.travel, progress=report)
    return Solved(
        plan,
        f"{len(inputs.visits)} visits, {len(inputs.vehicles)} vehicles and {len(inputs.depots)} "
        f"depots, as a file has them. {source.description}",
    )


async def store(pool: Pool, solved: Solved, requested_by: str) -> Study:
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
