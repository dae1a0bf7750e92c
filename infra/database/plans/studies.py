"""Stored studies: write, list and read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.errors import ForeignKeyViolation
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from infra.database.connection.pool import Connection
from infra.database.fleet.master_data import UnknownMunicipalityError
from infra.database.plans.recorded_demand import require_municipality
from schemas.plans.study import Study, figures_of, seed_of, time_limit_s_of


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
        raise UnknownMunicipalityError(study.municipality_id) from error


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
