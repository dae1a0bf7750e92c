"""Studies of each kind that readers see something of, for a sample fleet."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import TupleRow

from schemas.plans.composition import CompositionPlan, CompositionPoint, DepotComposition
from schemas.plans.forecast import Forecast, ForecastBackTest, SeriesForecast
from schemas.plans.plan import SolverStatus
from schemas.plans.sites import SiteFinding, SiteKind, SitesCost, SitesPlan

Connection = psycopg.Connection[TupleRow]

HORIZON_DAYS = 2


def enter_studies(connection: Connection, municipality_id: str, created_at: datetime) -> None:
    """Enter an assignment, and one of the other kinds each hour after."""
    fleets = composition(municipality_id)
    to_come = forecast(municipality_id, created_at)
    to_stand = sites(municipality_id)
    for number, (kind, status, figures, explanation, document) in enumerate(
        (
            (
                "assignment",
                "optimal",
                (4200, 4200),
                "70 of 70 round trips have a vehicle; 3 of 4.",
                {"type": "assignment-plan"},
            ),
            (
                "carpool",
                "feasible",
                (240, 300),
                "4 of 20 journeys ride along in 3 vehicles.",
                {"type": "carpool-plan"},
            ),
            (
                "composition",
                "feasible",
                (120_000, 110_000),
                fleets.explanation,
                fleets.model_dump(mode="json"),
            ),
            (
                "forecast",
                "complete",
                None,
                to_come.explanation,
                to_come.model_dump(mode="json"),
            ),
            (
                "sites",
                "optimal",
                (to_stand.objective_dkk, to_stand.bound_dkk),
                to_stand.explanation,
                to_stand.model_dump(mode="json"),
            ),
        )
    ):
        _enter(
            connection,
            (municipality_id, kind, status, explanation),
            created_at + timedelta(hours=number),
            figures,
            document,
        )


def _enter(
    connection: Connection,
    entries: tuple[str, str, str, str],
    created_at: datetime,
    figures: tuple[float, float] | None,
    document: dict[str, Any],
) -> None:
    municipality_id, kind, status, explanation = entries
    objective_dkk, bound_dkk = figures or (None, None)
    connection.execute(
        "INSERT INTO study (study_id, municipality_id, kind, created_at, requested_by, "
        "inputs_hash, seed, time_limit_s, status, objective_dkk, bound_dkk, gap, basis, "
        "explanation, document) VALUES (%(id)s, %(whose)s, %(kind)s, %(at)s, 'somebody', %(hash)s, "
        "1, 60, %(status)s, %(objective)s, %(bound)s, "
        "abs(%(bound)s::float8 - %(objective)s::float8) / %(bound)s::float8, '14 days.', %(said)s, "
        "%(document)s)",
        {
            "id": uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{municipality_id}"),
            "whose": municipality_id,
            "kind": kind,
            "at": created_at,
            "hash": "0" * 64,
            "status": status,
            "objective": objective_dkk,
            "bound": bound_dkk,
            "said": explanation,
            "document": json.dumps(document),
        },
    )


def composition(municipality_id: str) -> CompositionPlan:
    """Return a front of two fleets, the second one chosen."""
    return CompositionPlan(
        municipality_id=municipality_id,
        inputs_hash="0" * 64,
        seed=1,
        time_limit_s=60,
        status=SolverStatus.FEASIBLE,
        bound_dkk=90_000,
        gap=0.1,
        present=_point(municipality_id, 150_000, 5_000, {"our-petrol-car": 3, "ev-car": 0}),
        points=(
            _point(municipality_id, 100_000, 4_000, {"our-petrol-car": 2, "ev-car": 0}),
            _point(municipality_id, 120_000, 1_000, {"our-petrol-car": 1, "ev-car": 1}),
        ),
        chosen=1,
        proposals=(),
        explanation="With CO2e at its price the cheapest fleet has 1 our-petrol-car, 1 ev-car.",
    )


def _point(
    municipality_id: str, cost_dkk: float, co2e_kg: float, counts: dict[str, int]
) -> CompositionPoint:
    return CompositionPoint(
        co2e_limit_kg=co2e_kg,
        cost_dkk=cost_dkk,
        co2e_kg=co2e_kg,
        status=SolverStatus.FEASIBLE,
        bound_dkk=0.9 * cost_dkk,
        gap=0.1,
        depots=tuple(
            DepotComposition(
                depot_id=f"{municipality_id}/{name}", counts=of_one, served={}, own_car=0
            )
            for name, of_one in (("north", counts), ("south", dict.fromkeys(counts, 1)))
        ),
    )


def forecast(municipality_id: str, created_at: datetime) -> Forecast:
    """Return two days of cars and vans of the north, of which only the cars can be forecast."""
    tested = ForecastBackTest(folds=(), seasonal_wape=0.5, naive_wape=0.7, folds_won=6)
    return Forecast(
        municipality_id=municipality_id,
        inputs_hash="0" * 64,
        seed=1,
        time_limit_s=60,
        status="complete",
        first_day=created_at.date(),
        series=(
            SeriesForecast(
                depot_id=f"{municipality_id}/north",
                trip_class="car",
                used="seasonal",
                reason="It errs by 50% against 70%.",
                back_test=tested,
                hourly=((0.25,) * 24,) * HORIZON_DAYS,
            ),
            SeriesForecast(
                depot_id=f"{municipality_id}/north",
                trip_class="van",
                used="same hour last week",
                reason="There is too little to judge by.",
                back_test=None,
                hourly=((0.0,) * 22 + (1.0, 1.0),) * HORIZON_DAYS,
            ),
        ),
        seasonal_wape=0.5,
        naive_wape=0.7,
        explanation="2 depots and classes had departures on 90 days.",
    )


def sites(municipality_id: str) -> SitesPlan:
    """Return a proposal to keep the north, close the south and open a place in between."""
    closed = SiteFinding(
        site_id="south",
        kind=SiteKind.DEPOT,
        depot_id=f"{municipality_id}/south",
        lat=56.3,
        lon=10.5,
        is_open=False,
        must_stay=False,
        dkk_per_year=25_000,
        round_trips_per_year=1_240,
        way_m=3_000,
        further_m=2_100,
        driving_dkk=9_300,
        vehicles_at_once=0,
        capacity=10,
        reason="Closing south puts 1,240 round trips a year 2.1 km further each way.",
    )
    kept = closed.model_copy(
        update={"site_id": "north", "depot_id": f"{municipality_id}/north", "is_open": True}
    )
    place = closed.model_copy(
        update={"site_id": "place 1", "kind": SiteKind.PLACE, "depot_id": None, "is_open": True}
    )
    return SitesPlan(
        municipality_id=municipality_id,
        inputs_hash="0" * 64,
        seed=1,
        time_limit_s=60,
        status=SolverStatus.OPTIMAL,
        objective_dkk=95_000,
        bound_dkk=95_000,
        gap=0,
        count=None,
        as_driven=_sites_cost(2, 50_000, 100_000),
        nearest=_sites_cost(2, 50_000, 80_000),
        proposed=_sites_cost(2, 55_000, 40_000),
        sites=(kept, closed, place),
        explanation="Keep north; close south; open place 1 (near 56.30, 10.50).",
    )


def _sites_cost(count: int, sites_dkk: float, driving_dkk: float) -> SitesCost:
    return SitesCost(
        sites=count,
        sites_dkk=sites_dkk,
        energy_dkk=0.2 * driving_dkk,
        co2e_dkk=0.1 * driving_dkk,
        staff_dkk=0.7 * driving_dkk,
        cost_dkk=sites_dkk + driving_dkk,
        distance_m=100 * driving_dkk,
        co2e_kg=0.1 * driving_dkk / 1.5,
    )
