"""Studies: the rows that they are made from, and the studies themselves."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow, class_row, dict_row
from psycopg.types.json import Jsonb

from infra.database.fleet import load_fleet
from infra.database.planning import UnknownMunicipalityError
from schemas.ids import MunicipalityId
from schemas.journeys import DrivenRoundTrip, DrivenTrip, JourneyRows
from schemas.study import Study, figures_of, seed_of, time_limit_s_of

Connection = AsyncConnection[TupleRow]

_RECENT: Final = """
WITH ended AS (
    SELECT r.vehicle_id, r.started_at, r.ended_at, r.start_depot_id AS depot_id, r.home_depot_id,
           r.distance_m
    FROM round_trip r JOIN vehicle v USING (vehicle_id)
    WHERE v.municipality_id = %(municipality_id)s AND v.registered AND NOT r.is_open
      AND r.kind = 'complete'
), recent AS (
    SELECT * FROM ended WHERE started_at >= (
        SELECT max(ended_at) FROM ended) - make_interval(days => %(horizon_days)s)
)
"""
_TRIPS: Final = f"""{_RECENT}
SELECT r.vehicle_id, r.started_at AS left_at, t.started_at, t.ended_at, t.end_lat, t.end_lon
FROM recent r
JOIN trip t ON t.vehicle_id = r.vehicle_id AND t.started_at >= r.started_at
    AND t.ended_at <= r.ended_at AND NOT t.is_open
"""


@dataclass(frozen=True, slots=True)
class StudyLine:
    """A study in a list."""

    study_id: UUID
    created_at: datetime
    requested_by: str
    kind: str
    status: str
    objective_dkk: float | None
    gap: float | None
    explanation: str


async def read_journeys(
    connection: Connection, municipality_id: str, horizon_days: int
) -> JourneyRows:
    """Read complete round trips with their trips, depots and vehicles, all of one instant.

    Vehicles that nobody has entered are left out, and so is what they drove. The horizon ends with
    the newest round trip that has ended, not with the clock: the same rows are the same journeys
    whenever they are read. Raises `UnknownMunicipalityError`, and `pydantic.ValidationError` for
    rows that break the schema.
    """
    given = {"municipality_id": municipality_id, "horizon_days": horizon_days}
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        fleet = await load_fleet(connection)
        round_trips = await _rows(connection, f"{_RECENT} SELECT * FROM recent", given)
        trips = await _rows(connection, _TRIPS, given)
    if municipality_id not in fleet.municipalities:
        raise UnknownMunicipalityError(f"municipality {municipality_id} is not entered")
    within: defaultdict[tuple[str, datetime], list[DrivenTrip]] = defaultdict(list)
    for row in trips:
        within[row.pop("vehicle_id"), row.pop("left_at")].append(DrivenTrip(**row))
    wanted = sorted({row["vehicle_id"] for row in round_trips})
    return JourneyRows(
        municipality_id=municipality_id,
        timezone=fleet.municipalities[municipality_id].timezone,
        horizon_days=horizon_days,
        depots=fleet.depots.get(municipality_id, ()),
        vehicles=tuple(fleet.vehicles[one] for one in wanted),
        round_trips=tuple(
            DrivenRoundTrip(**row, trips=tuple(within[row["vehicle_id"], row["started_at"]]))
            for row in round_trips
        ),
    )


async def _rows(connection: Connection, query: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, given)
        return await cursor.fetchall()


async def require_municipality(connection: Connection, municipality_id: MunicipalityId) -> None:
    """Raise `UnknownMunicipalityError` unless a municipality is entered."""
    cursor = await connection.execute(
        "SELECT 1 FROM municipality WHERE municipality_id = %s", [municipality_id]
    )
    if await cursor.fetchone() is None:
        raise UnknownMunicipalityError(f"municipality {municipality_id} is not entered")


async def store_study(connection: Connection, study: Study) -> None:
    """Store a study. Raises `UnknownMunicipalityError`."""
    plan = study.plan
    figures = figures_of(plan) or (None, None, None)
    try:
        await connection.execute(
            "INSERT INTO study (study_id, municipality_id, kind, created_at, requested_by, "
            "inputs_hash, seed, time_limit_s, status, objective_dkk, bound_dkk, gap, basis, "
            "explanation, document) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                study.study_id,
                study.municipality_id,
                study.kind,
                study.created_at,
                study.requested_by,
                plan.inputs_hash,
                seed_of(plan),
                time_limit_s_of(plan),
                plan.status,
                *figures,
                study.basis,
                plan.explanation,
                Jsonb(plan.model_dump(mode="json")),
            ],
        )
    except ForeignKeyViolation as error:
        raise UnknownMunicipalityError(
            f"municipality {study.municipality_id} is not entered"
        ) from error


async def list_studies(connection: Connection, municipality_id: str, limit: int) -> list[StudyLine]:
    """Return the newest studies of a municipality. Raises `UnknownMunicipalityError`."""
    await require_municipality(connection, municipality_id)
    async with connection.cursor(row_factory=class_row(StudyLine)) as cursor:
        await cursor.execute(
            "SELECT study_id, created_at, requested_by, kind, status, objective_dkk, gap, "
            "explanation FROM study WHERE municipality_id = %s "
            "ORDER BY created_at DESC, study_id LIMIT %s",
            [municipality_id, limit],
        )
        return await cursor.fetchall()


async def read_study(connection: Connection, study_id: UUID) -> Study | None:
    """Return a study; None without one of that id.

    Raises `pydantic.ValidationError` when what is stored is not ours.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT study_id, municipality_id, created_at, requested_by, basis, "
            "document AS plan FROM study WHERE study_id = %s",
            [study_id],
        )
        row = await cursor.fetchone()
    return None if row is None else Study.model_validate(row)
